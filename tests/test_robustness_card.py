"""tools/robustness_card.py, on results made of counts."""

import json

import numpy as np
import pytest
import yaml

from mmrobust.evaluation.benchmarks.acdc import ACDC
from mmrobust.evaluation.benchmarks.acdc import summarize as summarize_acdc
from mmrobust.evaluation.benchmarks.cityscapes_c import CityscapesC, summarize
from mmrobust.evaluation.cells import CLEAN, Cell
from mmrobust.evaluation.counts import Confidences, Confusion
from mmrobust.evaluation.report import Column, Report
from mmrobust.evaluation.statistics import Bootstrap, confidence_counts, confusion_matrix, interval, mean_iou_of_areas
from tests.test_evaluation.test_results_page import imagenet_c
from tests.tool_loading import load_tool

K = 3
NAMES = ['road', 'car', 'sky']
PROVENANCE = {
    'checkpoint_sha256': 'a1b2',
    'config': 'toy.py',
    'name': 'toy',
    'num_images': 12,
    'seed': 0,
    'split': 'val',
    'trained_on': 'unknown',
}


def counts(wrong, calibrated=True):
    """Twelve images, of whose pixels this share is wrong."""
    rng = np.random.default_rng(int(1000 * wrong))
    matrices, by_image, areas = {}, {}, 0
    for index in range(12):
        label = rng.integers(K, size=(20, 30))
        missed = rng.random(label.shape) < wrong * (0.5 + index / 12)
        prediction = np.where(missed, (label + 1) % K, label)
        levels = np.where(missed, 15_000, 29_000)
        matrices[f'{index}.png'] = confusion_matrix(label, prediction, K)
        by_image[f'{index}.png'], of = confidence_counts(levels, label, prediction, K)
        areas += of
    return Confusion.of_matrices(matrices, Confidences(by_image, areas) if calibrated else None)


CELLS = {
    CLEAN: counts(0.05),
    Cell('fog', 3): counts(0.4),
    Cell('snow', 3): counts(0.2),
    Cell('contrast', 3): counts(0.1),
}


@pytest.fixture(scope='module')
def card():
    return load_tool('robustness_card.py')


@pytest.fixture(scope='module')
def folders(tmp_path_factory):
    """Cityscapes-C, and ACDC without calibration, of one model."""
    root = tmp_path_factory.mktemp('card')
    corrupted = summarize(CELLS, {'weather': ('fog', 'snow'), 'digital': ('contrast',)}, NAMES)
    weather = {Cell('night'): counts(0.5, calibrated=False), Cell('rain'): counts(0.3, calibrated=False)}
    for kind, results in ((CityscapesC, corrupted), (ACDC, summarize_acdc(weather, NAMES))):
        provenance = PROVENANCE | {'protocol': {'data_set': 'MiniCity val'}}
        (root / kind.name).mkdir()
        report = Report(kind.layout(results, provenance), results, provenance, NAMES)
        (root / kind.name / 'results.json').write_text(report.to_json())
    return root


def made(card, folders, *arguments, out='card.md'):
    paths = [str(folders / name) for name in ('cityscapes-c', 'acdc')]
    card.main([*paths, '--out', str(folders / out), *arguments])
    _, head, text = (folders / out).read_text().split('---\n', 2)
    return yaml.safe_load(head), text


def test_card_says_what_is_worst_and_what_is_not_known(card, folders):
    _, text = made(card, folders)
    assert '12 images; 3 corruptions; severity 3' in text
    rows = [line for line in text.splitlines() if line.startswith('| ') and '(mIoU)' in line]
    assert [row.split()[1] for row in rows] == ['fog', 'snow', 'contrast']
    assert 'Worst classes: ' in text and 'below clean images' in text
    unknown = text.partition('## What is not known')[2]
    for said in (
        'not run: gaussian_noise, ',
        'not run: fog, snow.',
        'no cell at severity 1, 2, 4, 5.',
        '12 images only: too few for a verdict.',
        'one training run',
        'what the model was trained on is not recorded',
        'Not run at all: domain, minicity-weather, adversarial.',
        'it has no clean images',
    ):
        assert said in unknown
    assert unknown.count('calibration was not measured') == 1, 'of ACDC only'
    assert unknown.count('too few for a verdict') == 2 and unknown.count('one training run') == 1
    assert 'ECE with its interval: clean ' in text and '; that of fog is the highest.' in text


def test_calibration_may_be_worst_on_clean_images(card):
    results = summarize({CLEAN: counts(0.4), Cell('fog', 3): counts(0.05)}, {'weather': ('fog',)}, NAMES)
    provenance = PROVENANCE | {'protocol': {'data_set': 'MiniCity val'}}
    report = Report(CityscapesC.layout(results, provenance), results, provenance, NAMES)
    assert '; that of clean is the highest.' in '\n'.join(card.section(report))


def test_distance_from_clean_is_paired(card, folders):
    report = Report.read(folders / 'cityscapes-c/results.json')
    table = report.layout.table('conditions')
    found = card.from_clean(report, table, 'fog', table.columns[0])
    draws = Bootstrap(CELLS[CLEAN].images)
    areas = [np.stack([CELLS[cell].images[name] for name in draws.names]) for cell in (CLEAN, Cell('fog', 3))]
    clean, fog = (mean_iou_of_areas(draws.sums(of)) for of in areas)
    total = [mean_iou_of_areas(of.sum(0)) for of in areas]
    assert found.value == pytest.approx(total[1] - total[0])
    assert found[1:3] == pytest.approx(interval(fog - clean, 12), abs=1e-3)
    assert found.low < found.value < found.high < 0
    main = card.from_clean(report, report.headline, '', Column('mPC', 'mPC'))
    assert main.low < main.value < main.high < 0


def test_head_is_a_model_index(card, folders):
    head, _ = made(card, folders, '--name', 'my-model')
    results = head['model-index'][0]['results']
    assert head['model-index'][0]['name'] == 'my-model'
    assert [of['dataset']['type'] for of in results] == ['cityscapes-c', 'acdc']
    values = {of['name']: of['value'] for of in results[0]['metrics']}
    report = Report.read(folders / 'cityscapes-c/results.json')
    assert values['mPC'] == pytest.approx(report.results['mPC'], abs=1e-4)
    assert values['mPC, low end of 95%'] < values['mPC'] < values['mPC, high end of 95%']
    hub = pytest.importorskip('huggingface_hub.repocard_data')
    name, found = hub.model_index_to_eval_results(head['model-index'])
    assert name == 'my-model' and {of.task_type for of in found} == {'image-segmentation'}


def test_page_is_whole_and_nothing_of_a_file_becomes_markup(card, folders):
    made(card, folders, '--name', '<script>alert(1)</script>')
    page = (folders / 'card.html').read_text()
    assert '<script' not in page and '&lt;script&gt;' in page and page.count('<table>') == 2
    assert 'What is not known' in page and 'model-index' not in page


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        ({'checkpoint_sha256': 'other'}, 'a card is of one model, got results of 2 checkpoints'),
        ({}, 'a card takes each benchmark once'),
    ],
)
def test_results_that_do_not_belong_together_are_refused(card, folders, tmp_path, capsys, change, message):
    content = json.loads((folders / 'cityscapes-c/results.json').read_text())
    content['provenance'] |= change
    (tmp_path / 'results.json').write_text(json.dumps(content))
    with pytest.raises(SystemExit):
        card.main([str(folders / 'cityscapes-c'), str(tmp_path), '--out', str(tmp_path / 'card.md')])
    assert message in capsys.readouterr().err and not (tmp_path / 'card.md').exists()


def test_what_is_no_report_is_refused(card, folders, tmp_path, capsys):
    (tmp_path / 'results.json').write_text('{"schema": 2, "results": {}}')
    for path, out, message in (
        (tmp_path, 'card.md', 'is not the results.json of evaluate_robustness.py'),
        (tmp_path / 'none', 'card.md', 'There are no results'),
        (folders / 'acdc', 'card.txt', '--out must end in .md'),
    ):
        with pytest.raises(SystemExit):
            card.main([str(path), '--out', str(tmp_path / out)])
        assert message in capsys.readouterr().err


def test_numbers_of_different_measures_have_no_difference(card):
    """mCE is relative to AlexNet, clean error is not; of a classifier only the mean error is compared with it."""
    text = card.body([imagenet_c()], 'toy')
    rows = {line.split(' | ')[0][2:]: line.split(' | ')[-1] for line in text.splitlines() if line.startswith('| ')}
    assert rows['mCE'] == rows['relative mCE'] == '- |' and rows['mean error'].startswith('+12.00')
    assert 'mCE 50.00 (49.00 to 51.00). ' in text and 'above clean' not in text

"""tools/evaluate_robustness.py --benchmark adversarial with a segmentation model, on MiniCity."""

import csv
import json
import shutil

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample

import mmrobust
from mmrobust.attacks import attack_segmentation, segmentor_logits
from mmrobust.evaluation.comparison import change
from mmrobust.evaluation.counts import Confusion
from mmrobust.evaluation.report import Column, Report
from mmrobust.evaluation.results_page import to_html
from mmrobust.evaluation.statistics import confusion_matrix, mean_iou
from mmrobust.randomness import derive_seed
from tests.test_evaluate_robustness import (  # noqa: F401 (of the fixture tool)
    CONFIG,
    TOOL,
    _contents,
    _finished,
    _start,
    _wait_for,
    files,
)
from tests.tool_loading import load_tool

COMMON = ['--benchmark', 'adversarial', '--num-workers', '0', '--device', 'cpu', '--num-steps', '2']
CELLS = ['--attacks', 'segpgd', 'sea', '--worst', '3']
WORST = 'worst_segpgd+sea_8of255_2steps'
KEYS = [f'{name}_8of255_2steps' for name in ('segpgd', 'sea-js', 'sea-mce', 'sea-mce-bal')]


def _arguments(files, out, *options, cells=CELLS):  # noqa: F811
    return [str(files / 'attacked.py'), str(files / 'attacked.pth'), *COMMON, '--out', str(out), *cells, *options]


@pytest.fixture(scope='module')
def attacked(files):  # noqa: F811
    """A model that finds some of the largest classes, with overlapping windows and padding."""
    text = CONFIG.replace('DATA', str(files / 'minicity')).replace(
        "mode='whole'", "mode='slide', crop_size=(64, 64), stride=(64, 32)"
    )
    text = text.replace('bgr_to_rgb=True', 'bgr_to_rgb=True, test_cfg=dict(size_divisor=32)')
    (files / 'attacked.py').write_text(text)
    model = _model(files, None)
    torch.nn.init.normal_(model.decode_head.conv_seg.weight)
    model.decode_head.conv_seg.bias.data[[0, 2, 8, 10]] += 3
    torch.save({'state_dict': model.state_dict()}, files / 'attacked.pth')
    return files


def _model(files, checkpoint='attacked.pth'):  # noqa: F811
    torch.manual_seed(0)
    model = MODELS.build(Config.fromfile(files / 'attacked.py').model | dict(_scope_='mmseg'))
    if checkpoint:
        model.load_state_dict(torch.load(files / checkpoint, weights_only=True)['state_dict'])
    return model.eval()


@pytest.fixture(scope='module')
def whole(attacked, tool, tmp_path_factory):
    """The results of one undisturbed run."""
    out = tmp_path_factory.mktemp('whole') / 'out'
    tool.main(_arguments(attacked, out))
    return out


def _cell(out, key):
    return Confusion.from_json((out / f'cells/{key}.json').read_text())


def test_a_cell_equals_a_plain_loop(attacked, whole):
    """Image, attack with the seed of its name, the model's own prediction, and a confusion matrix."""
    model, cell = _model(attacked), _cell(whole, 'segpgd_8of255_2steps')
    total = np.zeros((19, 19), int)
    for file in sorted((attacked / 'minicity/leftImg8bit/val').rglob('*.png')):
        name = str(file.relative_to(attacked / 'minicity'))
        image = torch.from_numpy(cv2.resize(cv2.imread(str(file)), (96, 48))).permute(2, 0, 1)
        label = cv2.imread(str(file).replace('leftImg8bit', 'gtFine').replace('.png', '_labelTrainIds.png'), -1)
        sample = SegDataSample(metainfo=dict(ori_shape=label.shape, img_shape=(48, 96)))
        found = attack_segmentation(
            segmentor_logits(model, [sample]),
            image[None] / 255,
            torch.from_numpy(label)[None].long(),
            'segpgd',
            num_steps=2,
            seeds=[derive_seed(0, 'attack', name)],
        )
        with torch.no_grad():
            data = dict(inputs=[255 * found.images[0]], data_samples=[sample])
            (predicted,) = model.test_step(data)
        matrix = confusion_matrix(label, predicted.pred_sem_seg.data[0].numpy(), 19)
        assert np.array_equal(cell.images[name], [np.diagonal(matrix), matrix.sum(0), matrix.sum(1)])
        assert cell.attacked[name] == (float(found.before), float(found.after), 0, 0)
        total += matrix
    assert np.array_equal(cell.confusion, total)


def test_results(whole):
    results = json.loads((whole / 'results.json').read_text())['results']['cells']
    worst = ['sea_8of255_2steps', WORST]
    assert list(results) == ['clean', *KEYS, *worst]
    labelled = _cell(whole, 'clean').confusion.any(1)
    for key in ('clean', *KEYS):
        cell, row = _cell(whole, key), results[key]
        assert row['mIoU'] == mean_iou(cell.confusion, labelled)
        assert row['aAcc'] == pytest.approx(100 * np.trace(cell.confusion) / cell.confusion.sum())
        assert row['mIoU_interval'][0] <= row['mIoU_interval'][1] and len(row['bootstrap']['aAcc']) == 1000
        if key != 'clean':
            assert row['loss_before'] == pytest.approx(np.mean([of.before for of in cell.attacked.values()]))
            assert row['num_blind'] == 0 and results['clean']['aAcc'] > row['aAcc']
    for name, parts in zip(worst, ([1, 2, 3], range(4)), strict=True):
        cells = [_cell(whole, KEYS[part]) for part in parts]
        for measure in ('mIoU', 'aAcc'):
            assert results[name][measure] <= min(results[KEYS[part]][measure] for part in parts)
        right = sum(min(cell.images[image][0].sum() for cell in cells) for image in cells[0].images)
        assert results[name]['aAcc'] == pytest.approx(100 * right / cells[0].confusion.sum())


def test_shown(whole):
    rows = {row['cell']: row for row in csv.DictReader((whole / 'results.csv').open())}
    content = json.loads((whole / 'results.json').read_text())
    assert float(rows[WORST]['mIoU']) == content['results']['cells'][WORST]['mIoU']
    text = (whole / 'results.md').read_text()
    of = WORST.replace('_', ' ')
    assert f'| clean mIoU | clean aAcc | {of} mIoU | {of} aAcc |' in text
    assert '| attack | mIoU | interval | aAcc | interval | loss before | loss after | images |' in text
    page = (whole / 'results.html').read_text()
    assert 'Attacks on segmentation' in page and 'segpgd_8of255_2steps' in page
    assert f'{WORST} is the worst case over all attacks of this run' in page and 'evidence of robustness' not in page
    read_measured = load_tool('reproduction/measured.py').read_measured
    measured = read_measured(whole / 'results.json')  # not as the attacks on classifiers of the same name
    assert (measured.values, measured.remarks) == ({}, ())


def test_compared(attacked, tool, whole, tmp_path):
    """The worst case over other attacks has another name, so no change of it is shown."""
    tool.main(_arguments(attacked, tmp_path, '--worst', '0', cells=['--attacks', 'segpgd', 'pgd']))
    reports = {name: Report.read(folder / 'results.json') for name, folder in (('a', whole), ('b', tmp_path))}
    table, column = reports['a'].layout.tables[1], Column('mIoU', 'mIoU')
    assert change(*reports.values(), table, KEYS[0], column) == (0, 0, 0, None)
    other = 'worst_pgd+segpgd_8of255_2steps'
    assert reports['b'].layout.main == f'cells/{other}/mIoU'
    for name in (WORST, other):
        assert change(*reports.values(), table, name, column).value is None
        assert change(*reports.values(), reports['a'].headline, '', Column(f'cells/{name}/mIoU', '')).value is None
    first, second = (reports[name].layout.sentences[0] for name in 'ab')
    assert first.startswith('Norm linf, steps of 0.01, of sea eps / 4, random start, last point; of sea the point ')
    assert second == 'Norm linf, steps of 0.01, random start, last point.'
    pages = {name: to_html({name: [of]}, None) for name, of in reports.items()}
    assert ' 5 attacks &#183; ' in pages['a'] and ' 2 attacks &#183; ' in pages['b']
    assert 'Worst: ' in pages['a'] and f'Worst: {WORST}' not in pages['a']
    assert 'cells (7 in a, 4 in b, 2 in common)' in to_html({name: [of] for name, of in reports.items()}, 'a')


def test_worst_images_are_shown(attacked, whole):
    first = json.loads((whole / 'results.json').read_text())['worst'][0]
    assert first['cell'] in KEYS
    panels = {path.name for path in (whole / 'worst').glob('0_*')}
    assert panels == {'0_clean.jpg', '0_attacked.jpg', '0_truth.png', '0_prediction.png', '0_errors.png'}
    original = cv2.imread(str(attacked / 'minicity' / first['image']))
    clean, shown = (cv2.imread(str(whole / f'worst/0_{kind}.jpg')).astype(int) for kind in ('clean', 'attacked'))
    assert np.abs(clean - original).mean() < 12 and shown.shape == (48, 96, 3)
    assert np.abs(shown - cv2.resize(original, (96, 48)).astype(int)).mean() < 12 + 8
    assert 'title="attacked"' in (page := (whole / 'results.html').read_text()) or '>attacked<' in page


@pytest.mark.parametrize('options', [['--num-workers', '2'], ['--batch-size', '3']], ids=['workers', 'batches'])
def test_nothing_depends_on_workers_and_batches(attacked, tool, tmp_path, options):
    cells = ['--attacks', 'cospgd', '--worst', '0']
    tool.main(_arguments(attacked, tmp_path / 'one', cells=cells))
    tool.main(_arguments(attacked, tmp_path / 'other', *options, cells=cells))
    assert _contents(tmp_path / 'one') == _contents(tmp_path / 'other')


def test_shards_merge_exactly(attacked, tool, whole, tmp_path):
    for index in (1, 0):
        tool.main(_arguments(attacked, tmp_path, '--shard', f'{index}/2'))
    assert _contents(tmp_path) == _contents(whole)


def test_more_cells_in_the_same_folder(attacked, tool, whole, tmp_path, capsys):
    """Sizes and steps are cells, so a finished one is not run again; another step size is another run."""
    shutil.copytree(whole, tmp_path / 'out')
    times = {path: path.stat().st_mtime_ns for path in (tmp_path / 'out/cells').iterdir()}
    options = ['--attacks', 'segpgd', '--eps', '2/255', '8/255', '--num-steps', '1', '2', '--worst', '0']
    tool.main(_arguments(attacked, tmp_path / 'out', cells=options))
    assert all(path.stat().st_mtime_ns == time for path, time in times.items())
    rows = json.loads((tmp_path / 'out/results.json').read_text())['results']['cells']
    names = [f'segpgd_{eps}of255_{steps}steps' for eps in (2, 8) for steps in (1, 2)]
    assert list(rows) == ['clean', *names, 'worst_segpgd_2+8of255_1+2steps']
    assert rows[names[3]]['loss_after'] > rows[names[1]]['loss_after'] > rows[names[1]]['loss_before']
    assert rows[KEYS[0]] == json.loads((whole / 'results.json').read_text())['results']['cells'][KEYS[0]]
    for option in (['--step-size', '1/255'], ['--seed', '1'], ['--norm', 'l2']):
        with pytest.raises(SystemExit):
            tool.main(_arguments(attacked, tmp_path / 'out', *option))
        assert f'another run ({option[0][2:].replace("-", "_")} ' in capsys.readouterr().err


def test_l2_in_python_with_a_model_in_memory(attacked, tmp_path):
    options = dict(attacks=['pgd'], norm='l2', num_steps=2, max_images=2, worst=0, num_workers=0, quiet=True)
    config = Config.fromfile(attacked / 'attacked.py')
    report = mmrobust.evaluate(_model(attacked), 'adversarial', data=config.test_dataloader.dataset, **options)
    assert list(report.results['cells']) == ['clean', 'pgd_l2_64of255_2steps']
    assert report.layout.main == 'cells/pgd_l2_64of255_2steps/mIoU' and report.provenance['num_images'] == 2
    row = report.results['cells']['pgd_l2_64of255_2steps']
    assert row['loss_after'] > row['loss_before']
    same = mmrobust.evaluate(config, 'adversarial', checkpoint=str(attacked / 'attacked.pth'), **options)
    assert same.results == report.results


def test_attacks_say_where_they_had_no_gradient(attacked, tool, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr('mmrobust.evaluation.models.segmentation.segmentor_logits', _steps_of_pixels)
    tool.main(_arguments(attacked, tmp_path, cells=['--attacks', 'pgd', '--worst', '0']))
    printed = ' '.join(capsys.readouterr().out.split())
    said = (
        'pgd_8of255_2steps had no gradient for 4 of 4 images, and left them as they were: its mIoU is not evidence of '
        'robustness.'
    )
    assert said in printed
    assert all(said in (tmp_path / f'results.{end}').read_text() for end in ('md', 'html'))
    row = json.loads((tmp_path / 'results.json').read_text())['results']['cells']['pgd_8of255_2steps']
    assert (row['num_blind'], row['num_by_margin']) == (4, 4)


def _steps_of_pixels(segmentor, samples):
    logits_of = segmentor_logits(segmentor, samples)
    return lambda images: logits_of(images.round() + 0 * images)


@pytest.mark.parametrize(
    ('options', 'said'),
    [
        (['--attacks', 'fgsm'], "attacks on a segmentor must be some of pgd, segpgd, cospgd, sea, got 'fgsm'"),
        (['--eps', '1'], 'eps must be 0 to less than 1, the whole range of a pixel, such as 1/255, got 1'),
        (['--step-size', '2'], 'step_size must be 0 to less than 1'),
        (['--num-steps', '3', '0'], 'num_steps must be 1 or more, got 0'),
        (['--norm', 'l2', '--eps', '-1'], 'eps must be 0 or more, the length of a change of the whole image, got -1'),
        (['--amp'], 'amp is not for the benchmark adversarial'),
        (['--preset', 'kamann'], 'preset is for the benchmark cityscapes-c, not adversarial'),
        (['--max-images', '0'], 'max_images must be 1 or more, got 0'),
    ],
)
def test_one_sentence(attacked, tool, tmp_path, capsys, options, said):
    with pytest.raises(SystemExit) as error:
        tool.main(_arguments(attacked, tmp_path / 'out', *options, cells=[]))
    assert error.value.code == 2
    assert said in capsys.readouterr().err.strip().splitlines()[-1]
    assert not (tmp_path / 'out').exists()


def test_images_without_labels_cannot_be_attacked(attacked, tool, tmp_path, capsys):
    text = (attacked / 'attacked.py').read_text().replace("dict(type='LoadAnnotations'), ", '')
    (tmp_path / 'bare.py').write_text(text)
    with pytest.raises(SystemExit):
        tool.main([str(tmp_path / 'bare.py'), *_arguments(attacked, tmp_path / 'out')[1:]])
    assert 'no pixel is labelled in the 4 images of clean' in capsys.readouterr().err

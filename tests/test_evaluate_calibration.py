"""--calibration of tools/evaluate_robustness.py: against the softmax of every pixel, over shards, and on the page."""

import json
import shutil

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from torch import nn

from mmrobust.evaluation.counts import Confusion
from mmrobust.evaluation.models.segmentation import SegmentationModel
from mmrobust.evaluation.report import Report
from mmrobust.evaluation.results_page import to_html
from mmrobust.evaluation.statistics import LEVELS, mean_iou
from tests.test_evaluate_robustness import TOOL, _acdc_arguments, _arguments, _contents, files  # noqa: F401

ON = '--calibration'


@pytest.fixture(scope='module')
def whole(files, tool, tmp_path_factory):  # noqa: F811
    out = tmp_path_factory.mktemp('calibration')
    tool.main(_arguments(files, out, ON))
    return out


def test_clean_cell_equals_the_softmax_of_every_pixel(files, whole):  # noqa: F811
    from mmseg.apis import inference_model, init_model

    config = Config.fromfile(files / 'toy.py')
    config.test_pipeline = config.test_dataloader.dataset.pipeline
    model = init_model(config, None, 'cpu')
    model.load_state_dict(torch.load(files / 'toy.pth', weights_only=True)['state_dict'])
    confidences, right = [], []
    for file in sorted((files / 'minicity/leftImg8bit/val').rglob('*.png')):
        found = inference_model(model, cv2.imread(str(file)))
        label = cv2.imread(str(file).replace('leftImg8bit', 'gtFine').replace('.png', '_labelTrainIds.png'), -1)
        confidence, classes = found.seg_logits.data.softmax(0).max(0)
        confidences.append(confidence.numpy()[label != 255])
        right.append((classes.numpy() == label)[label != 255])
    confidence, right = np.concatenate(confidences), np.concatenate(right)
    places = np.minimum((confidence * 15).astype(int), 14)
    gaps = [abs((right[places == i] - confidence[places == i]).sum()) for i in range(15)]
    row = json.loads((whole / 'results.json').read_text())['results']['calibration']['clean']
    assert row['ECE'] == pytest.approx(100 * sum(gaps) / len(right), abs=0.01)
    assert row['confidence'] == pytest.approx(100 * confidence.mean(), abs=0.01)
    assert row['aAcc'] == pytest.approx(100 * right.mean())
    # pixels of a step of confidence are not told apart, which is why this is not exact
    kept = right[np.argsort(confidence, kind='stable')[round(0.2 * len(right)) :]]
    assert row['aAcc_kept'] == pytest.approx(100 * kept.mean(), abs=0.5)
    low, high = row['ECE_interval']
    assert low < high


def test_numbers_without_it_stay_the_same(files, tool, whole, tmp_path):  # noqa: F811
    tool.main(_arguments(files, tmp_path))
    off, on = (json.loads((folder / 'results.json').read_text()) for folder in (tmp_path, whole))
    new = {'calibration', 'reliability', 'rejection'}
    assert on['results'].keys() - off['results'].keys() == new
    assert {name: value for name, value in on['results'].items() if name not in new} == off['results']
    assert 'curves' not in off['layout'] and 'calibration' not in off['provenance']
    assert 'confidences' not in (tmp_path / 'cells/clean.json').read_text()
    with pytest.raises(SystemExit):
        tool.main(_arguments(files, tmp_path, ON))  # the folder is of a run without


def test_shards_and_resume_merge_exactly(files, tool, whole, tmp_path):  # noqa: F811
    for index in (1, 0):
        tool.main(_arguments(files, tmp_path, ON, '--shard', f'{index}/2'))
    assert _contents(tmp_path) == _contents(whole)
    (tmp_path / 'cells/contrast_5.json').unlink()
    tool.main(_arguments(files, tmp_path, ON))
    assert _contents(tmp_path) == _contents(whole)


def test_a_damaged_cell_is_refused(whole, tmp_path):
    text = (whole / 'cells/clean.json').read_text()
    cell = Confusion.from_json(text)
    assert cell.to_json() == text
    for place, message in (('areas', 'not those of the confusion'), ('images', 'contradict its counts')):
        content = json.loads(text)
        counts = content['confidences'][place]
        one = counts[-1][0] if place == 'areas' else next(iter(counts.values()))[0]
        one[0] += 1
        with pytest.raises(ValueError, match=message):
            Confusion.from_json(json.dumps(content))
    content = json.loads(text)
    content['confidences']['images'] = {}
    with pytest.raises(ValueError, match='not those of the confusion'):
        Confusion.from_json(json.dumps(content))


def test_page_shows_reliability_and_rejection(whole, tmp_path):
    report = Report.read(whole / 'results.json')
    page = to_html({'one': [report], 'two': [report]}, reference='one')
    for said in ('Calibration', 'Reliability', 'Rejection: mIoU', 'Rejection: accuracy', 'mIoU, 20% rejected'):
        assert said in page
    for row in ('clean', 'gaussian_noise', 'contrast'):
        assert f'aria-label="accuracy of {row} by confidence"' in page
    (curve,) = (curve for curve in report.layout.curves if curve.section == 'reliability')
    report.results['reliability']['clean'] = {'confidence': [10, 'x', 1e9, 30], 'accuracy': [20, 5, 5, None]}
    assert report.points(curve, 'clean') == {10: 20}
    assert '## Calibration' in (whole / 'results.md').read_text()


def test_acdc(files, tool, tmp_path, capsys):  # noqa: F811
    tool.main(_acdc_arguments(files, tmp_path / 'out', ON, '--conditions', 'fog', 'rain'))
    results = json.loads((tmp_path / 'out/results.json').read_text())['results']
    assert list(results['calibration']) == ['fog', 'rain', 'pooled']
    assert results['calibration']['fog']['mIoU'] == pytest.approx(results['conditions']['fog']['mIoU'])
    assert results['calibration']['pooled']['mIoU'] == pytest.approx(results['pooled_mIoU'])
    cells = [Confusion.from_json((tmp_path / f'out/cells/{name}.json').read_text()) for name in ('fog', 'rain')]
    assert results['calibration']['pooled']['mIoU'] == pytest.approx(mean_iou(sum(of.confusion for of in cells)))
    shutil.rmtree(tmp_path / 'out')
    capsys.readouterr()
    with pytest.raises(SystemExit):
        tool.main(_acdc_arguments(files, tmp_path / 'out', ON, '--split', 'test'))
    assert 'calibration needs labels, and split test has none' in capsys.readouterr().err


def test_sliding_windows_are_averaged_before_the_softmax(files):  # noqa: F811
    config = Config.fromfile(files / 'toy.py')
    config.model.test_cfg = dict(mode='slide', crop_size=(32, 48), stride=(16, 24))
    model = SegmentationModel(config, str(files / 'toy.pth'), num_workers=0)
    kept = []
    whole_step = model.model.test_step
    model.model.test_step = lambda batch: kept.append(whole_step(batch)) or kept[-1]
    found = next(model.predict(config.test_dataloader.dataset, confidence=True))
    expected = kept[0][0].seg_logits.data.softmax(0).amax(0).numpy() * LEVELS
    assert np.abs(found.confidence + 0.5 - expected).max() < 1
    assert next(model.predict(config.test_dataloader.dataset)).confidence is None


def test_outputs_that_are_no_logits_are_refused(files):  # noqa: F811
    config = Config.fromfile(files / 'toy.py')
    model = SegmentationModel(config, str(files / 'toy.pth'), num_workers=0)
    model.model.decode_head = nn.Identity()
    with pytest.raises(ValueError, match='whose head returns logits, got Identity'):
        next(model.predict(config.test_dataloader.dataset, confidence=True))

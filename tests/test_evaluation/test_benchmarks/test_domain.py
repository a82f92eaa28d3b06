"""The benchmark of domain shift: numbers against plain formulas, and whole runs on tiny folders."""

import csv
import dataclasses
import io
import json
import re
from pathlib import Path

import cv2
import numpy as np
import pytest
from mmengine.config import Config

import mmrobust
from mmrobust.datasets.domains import CLASSES, choose_domains
from mmrobust.evaluation.benchmarks.domain import DomainShift, summarize
from mmrobust.evaluation.counts import Confusion
from mmrobust.evaluation.renderers import to_csv, to_markdown
from mmrobust.evaluation.report import Report
from mmrobust.evaluation.results_page import to_html
from tests.test_evaluate_robustness import write_toy

TOOL = 'evaluate_robustness.py'


def confusion(*pixels: tuple[int, int, int]) -> np.ndarray:
    """(19, 19) from label, prediction and how many."""
    found = np.zeros((19, 19), np.int64)
    for label, prediction, count in pixels:
        found[label, prediction] += count
    return found


@pytest.fixture
def summary():
    """Muses, two conditions of three recordings, and BDD100K, of which an image is all predicted as train."""
    domains = [
        dataclasses.replace(choose_domains(['muses'])[0], conditions={'fog-day': 'fog/day', 'fog-night': 'fog/night'}),
        choose_domains(['bdd100k'])[0],
    ]
    day = {'REC1_a': confusion((0, 0, 60), (0, 1, 40)), 'REC1_b': confusion((1, 1, 50))}
    night = {'REC2_c': confusion((0, 0, 30)), 'REC3_d': confusion((0, 16, 10))}
    bdd = {'x': confusion((0, 0, 80), (0, 16, 20)), 'y': confusion((0, 0, 100))}
    clean = {'z': confusion((0, 0, 90), (0, 2, 10), (1, 1, 50), (16, 16, 7))}
    counts = {'clean': clean, 'muses-fog-day': day, 'muses-fog-night': night, 'bdd100k': bdd}
    return summarize({name: Confusion.of_matrices(of) for name, of in counts.items()}, domains)


def test_mean_over_the_classes_in_the_labels(summary):
    day = (100 * 60 / 100 + 100 * 50 / 90) / 2
    night = 100 * 30 / 40  # train is predicted, and in no label
    muses = (100 * 90 / 140 + 100 * 50 / 90) / 2
    assert summary['cells']['muses-fog-day']['mIoU'] == pytest.approx(day)
    assert summary['cells']['muses-fog-night']['mIoU'] == pytest.approx(night)
    assert summary['datasets']['muses']['mIoU'] == pytest.approx(muses)
    assert summary['datasets']['bdd100k']['mIoU'] == pytest.approx(90)
    assert summary['mean_mIoU'] == pytest.approx((muses + 90) / 2)
    assert [summary['datasets'][name]['num_classes'] for name in ('muses', 'bdd100k')] == [2, 1]
    assert summary['classes']['train'] == {'clean': 100, 'muses': None, 'bdd100k': None}
    assert summary['classes']['sidewalk']['muses'] == pytest.approx(100 * 50 / 90)


def test_retention_over_the_classes_of_both(summary):
    assert summary['clean_mIoU'] == pytest.approx((90 + 100 + 100) / 3)
    assert summary['datasets']['bdd100k']['retention'] == pytest.approx(100 * 90 / 90)
    muses = (100 * 90 / 140 + 100 * 50 / 90) / 2
    assert summary['datasets']['muses']['retention'] == pytest.approx(100 * muses / 95)


def test_sequences_are_units(summary):
    """Both images of the day are of one recording: there is no interval. Two images of BDD100K: 80, 90 or 100."""
    assert summary['cells']['muses-fog-day']['mIoU_interval'] == (None, None)
    assert summary['datasets']['bdd100k']['mIoU_interval'] == (80, 100)
    assert summary['datasets']['muses']['bootstrap']['units'] == 3
    low, high = summary['mean_mIoU_interval']
    assert low < summary['mean_mIoU'] < high


def test_no_interval_of_a_mean_with_a_data_set_of_one_sequence():
    domains = choose_domains(['dark-zurich', 'bdd100k'])
    night = {f'rgb_anon/val/night/GOPR0356/{name}': confusion((0, 0, 1), (0, 1, 1)) for name in 'ab'}
    day = {'x': confusion((0, 0, 80), (0, 16, 20)), 'y': confusion((0, 0, 100))}
    found = summarize({'dark-zurich': Confusion.of_matrices(night), 'bdd100k': Confusion.of_matrices(day)}, domains)
    assert found['datasets']['dark-zurich']['mIoU'] == 50
    assert found['datasets']['dark-zurich']['mIoU_interval'] == found['mean_mIoU_interval'] == (None, None)
    assert 'clean_mIoU' not in found and 'retention' not in found['datasets']['bdd100k']


def test_tables(summary):
    report = Report(DomainShift.layout(summary, {'trained_on': 'Cityscapes train'}), summary, {}, CLASSES)
    rows = list(csv.DictReader(io.StringIO(to_csv(report))))
    assert [row['condition'] for row in rows] == ['muses-fog-day', 'muses-fog-night', 'bdd100k']
    assert (rows[2]['mIoU'], rows[2]['num_classes'], rows[2]['num_images']) == ('90.0', '1', '2')
    page = to_markdown(report, 'model')
    assert '| data set | mIoU | interval | retention | classes | images |' in page
    assert '| bdd100k | 90.00 | 80.00 to 100.00 | 100.00 | 1 | 2 |' in page
    assert 'bdd100k: 2 images, and BDD100K has 1,000; these are a subset.' in page
    assert 'muses: 4 images, and MUSES has 250; these are a subset.' in page
    assert 'The model was trained on: Cityscapes train.' in page
    assert 'BDD100K has 1,000' in to_html({'model': [report]})


@pytest.fixture(scope='module')
def files(tmp_path_factory):
    """A model, its clean images, and a folder with three data sets: images of two sizes, and two conditions."""
    folder = tmp_path_factory.mktemp('domain')
    write_toy(folder, num_val=3, num_acdc=1)
    rng = np.random.default_rng(0)

    def write(image, label, ids, size=(32, 64)):
        for path, content in (
            (image, rng.integers(0, 256, (*size, 3), np.uint8)),
            (label, rng.choice(np.array(ids, np.uint8), size)),
        ):
            path = folder / 'data' / path
            path.parent.mkdir(parents=True, exist_ok=True)
            assert cv2.imwrite(str(path), content)

    for index, size in enumerate([(32, 64), (48, 40), (20, 90)]):
        name = f'7d06fefd-{index}'
        paths = f'bdd100k/images/10k/val/{name}.jpg', f'bdd100k/labels/sem_seg/masks/val/{name}.png'
        write(*paths, [0, 2, 10, 255], size)
    for drive in (119, 513):
        stem = f'{drive}/903127'
        paths = f'idd/leftImg8bit/val/{stem}_leftImg8bit.png', f'idd/gtFine/val/{stem}_gtFine_labellevel3Ids.png'
        write(*paths, [0, 8, 9, 22, 25])
    for weather in ('FOG', 'LOWLIGHT', 'RAIN', 'SNOW'):
        paths = f'idd_aw/val/{weather}/rgb/46/1_rgb.png', f'idd_aw/val/{weather}/gt_labels/46/1_labellevel3Ids.png'
        write(*paths, [0, 14, 22])
    return folder


def arguments(files, out, *options):
    sets = ['--datasets', 'bdd100k', 'idd', 'idd-aw', '--clean', '--data-root', str(files / 'data')]
    common = ['--num-workers', '0', '--device', 'cpu', '--out', str(out), '--benchmark', 'domain', *sets]
    return [str(files / 'toy.py'), str(files / 'toy.pth'), *common, *options]


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob('*')) if path.is_file()}


@pytest.fixture(scope='module')
def whole(files, tool, tmp_path_factory):
    out = tmp_path_factory.mktemp('whole') / 'out'
    tool.main(arguments(files, out))
    return out


def test_several_data_sets_on_one_page(files, whole):
    report = Report.read(whole / 'results.json')
    results = report.results
    assert list(results['datasets']) == ['bdd100k', 'idd', 'idd-aw']
    assert list(results['cells']) == ['bdd100k', 'idd', *(f'idd-aw-{of}' for of in ('fog', 'lowlight', 'rain', 'snow'))]
    assert [row['num_classes'] for row in results['datasets'].values()] == [3, 4, 3]
    assert [row['num_images'] for row in results['datasets'].values()] == [3, 2, 4]
    assert set(report.provenance['images_sha256']) == {'clean', *results['cells']}
    page = (whole / 'results.html').read_text()
    assert 'Domain shift' in page and 'idd-aw: 4 images, and IDD-AW has 475' in page
    # the numbers of one data set alone are the same
    alone = mmrobust.evaluate(
        str(files / 'toy.py'),
        'domain',
        checkpoint=str(files / 'toy.pth'),
        datasets=['idd'],
        data=files / 'data',
        num_workers=0,
        device='cpu',
        quiet=True,
    )
    assert alone.results['datasets']['idd']['mIoU'] == results['datasets']['idd']['mIoU']
    assert alone.first('mean_mIoU').value == results['datasets']['idd']['mIoU']


def test_folder_of_another_run_is_refused(files, tool, whole, tmp_path, capsys):
    """Other ids on the same files."""
    table = 'tables: {other: {last: 25, road: [0], car: [9], building: [22], sky: [25], bus: [8]}}\n'
    entry = """datasets:
  idd:
    title: IDD
    root: idd
    image: leftImg8bit/val/{name}_leftImg8bit.png
    label: gtFine/val/{name}_gtFine_labellevel3Ids.png
    ids: other
    get: ask us.
"""
    own = tmp_path / 'my.yml'
    own.write_text(table + entry)
    options = [str(files / 'toy.py'), str(files / 'toy.pth'), '--num-workers', '0', '--device', 'cpu']
    options += ['--benchmark', 'domain', '--data-root', str(files / 'data'), '--out', str(tmp_path / 'out')]
    tool.main([*options, '--datasets', 'idd'])
    with pytest.raises(SystemExit) as caught:
        tool.main([*options, '--datasets', str(own)])
    said = capsys.readouterr().err
    assert caught.value.code == 2 and 'holds results of another run' in said and 'ids.idd.bus' in said
    tool.main([*options[:-1], str(tmp_path / 'own'), '--datasets', str(own), 'bdd100k'])
    first, second = (json.loads((tmp_path / of / 'results.json').read_text()) for of in ('out', 'own'))
    hashes = [content['provenance']['images_sha256']['idd'] for content in (first, second)]
    assert hashes[0] != hashes[1]
    assert [content['results']['datasets']['idd']['num_classes'] for content in (first, second)] == [4, 5]


@pytest.mark.parametrize(
    ('options', 'said'),
    [
        ([], r'datasets must be a list of some of bdd100k, .*, or of YAML files, got \(\)'),
        (['--datasets', 'kitti'], "datasets must be some of bdd100k, .*, got 'kitti'"),
        (['--datasets', 'muses'], 'There is no MUSES in .*/data/muses: download the frame camera'),
        (['--datasets', 'bdd100k', '--batch-size', '2'], 'size'),
    ],
)
def test_what_is_wrong_is_one_sentence(files, tool, tmp_path, capsys, options, said):
    common = [str(files / 'toy.py'), str(files / 'toy.pth'), '--num-workers', '0', '--device', 'cpu']
    common += ['--benchmark', 'domain', '--data-root', str(files / 'data'), '--out', str(tmp_path)]
    with pytest.raises(SystemExit) as caught:
        tool.main([*common, *options])
    error = capsys.readouterr().err
    assert caught.value.code == 2 and len(error.strip().splitlines()) == 1, error
    assert re.search(said, error), error


def test_clean_images_must_have_the_classes(files, tmp_path):
    config = Config.fromfile(files / 'toy.py')
    config.test_dataloader.dataset.metainfo = dict(classes=('road', 'car'), palette=[[0, 0, 0], [1, 1, 1]])
    with pytest.raises(ValueError, match=r'clean must be images with the 19 classes of Cityscapes, .* have road, car'):
        DomainShift(config, ['bdd100k'], str(files / 'data'), clean=True)

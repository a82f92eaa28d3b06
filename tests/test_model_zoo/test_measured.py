"""What of a run may stand beside the paper's numbers, and what is left out."""

import math

import pytest

from mmrobust.evaluation.benchmarks.presets import select_cells
from tests.reports import report_of
from tests.tool_loading import load_tool

read_measured = load_tool('reproduction/measured.py').read_measured
KAMANN = {cell.key: {'mIoU': 50.0} for cell in select_cells('kamann')}
# what else the results of a benchmark have, beside what a test is about
COMPLETE = {
    'cityscapes-c': {'retention': 70.0, 'ungrouped': [], 'classes': {}},
    'acdc': {'pooled_mIoU': 60.0, 'conditions': {}, 'classes': {}},
    'imagenet-c': {'mean_error': 30.0, 'relative_mCE': None, 'cells': {}},
    'imagenet-p': {'perturbations': {}},
}
PGD = {'eps': 1 / 255, 'step_size': 0.5 / 255, 'num_steps': 5}


@pytest.fixture
def read(tmp_path):
    def read(benchmark: str, results: dict, **provenance):
        path = tmp_path / 'results.json'
        provenance = {'config': 'configs/zoo/some_net.py', **provenance}
        path.write_text(report_of(benchmark, COMPLETE.get(benchmark, {}) | results, provenance).to_json())
        return read_measured(path)

    return read


def test_cityscapes_c(read):
    results = {
        'clean_mIoU': 70.0,
        'mPC': 51.0,
        'retention': 70.0,
        'corruptions': {'fog': 60.0, 'snow': 42.0},
        'cells': KAMANN,
    }
    run = read('cityscapes-c', results, num_images=500)
    assert run.config == 'some_net' and run.remarks == ()
    assert run.values == {
        'cityscapes': 70.0,
        'cityscapes-c': 51.0,
        'cityscapes-c/fog': 60.0,
        'cityscapes-c/snow': 42.0,
    }


def test_cityscapes_c_with_other_cells_or_too_few_images(read):
    results = {
        'clean_mIoU': 70.0,
        'mPC': 51.0,
        'retention': 70.0,
        'corruptions': {'fog': 60.0},
        'cells': {'fog_5': {'mIoU': 60.0}},
    }
    run = read('cityscapes-c', results, num_images=500)
    assert run.values == {'cityscapes': 70.0} and 'not those of --preset kamann' in run.remarks[0]
    run = read('cityscapes-c', results, num_images=10)
    assert run.values == {} and run.remarks == ('left out: 10 images, not all 500',)


def test_imagenet_c(read):
    rows = {'fog': {'CE': 40.5, 'extra': False}, 'spatter': {'CE': None, 'extra': True}}
    results = {'clean_error': 20.0, 'mCE': 45.0, 'normalised_by': 'AlexNet', 'corruptions': rows}
    run = read('imagenet-c', results, num_images=50_000, corrupted='official')
    assert run.values == {'imagenet': 80.0, 'mce': 45.0, 'ce/fog': 40.5} and run.remarks == ()
    run = read('imagenet-c', results, num_images=50_000, corrupted='on the fly')
    assert run.values['mce'] == 45.0 and 'on the fly' in run.remarks[0]
    for other in ({'mCE': None}, {'normalised_by': 'resnet.py'}):
        assert read('imagenet-c', results | other, num_images=50_000, corrupted='official').values == {'imagenet': 80.0}
    assert read('imagenet-c', results, num_images=99, corrupted='official').values == {}


def test_imagenet_variants(read):
    results = {
        'cells': {
            name: {'error': 10.0, 'num_images': 1} for name in ('clean', 'imagenet-a', 'imagenet-r', 'imagenet-v2')
        }
    }
    sizes = {'clean': 50_000, 'imagenet-a': 7_500, 'imagenet-r': 100, 'imagenet-v2': 10_000}
    run = read('imagenet-variants', results, num_images=sizes)
    assert run.values == {'imagenet': 90.0, 'imagenet-a': 90.0}
    assert run.remarks == ('imagenet-r left out: 100 images, not all 30000',)


def test_imagenet_p(read):
    run = read('imagenet-p', {'mFR': 31.5}, num_images={'tilt': 9, 'snow': 8})
    assert run.values == {'mfr': 31.5} and run.remarks == ('mFR is of 8 videos of each perturbation',)
    assert read('imagenet-p', {'mFR': None}, num_images={'tilt': 9}).values == {}


def test_adversarial(read):
    results = {'cells': {name: {'error': error, 'num_images': 1} for name, error in (('clean', 20.0), ('pgd', 70.0))}}
    assert read('adversarial', results, num_images=50_000, **PGD).values == {'imagenet': 80.0, 'pgd': 30.0}
    stronger = PGD | {'num_steps': 50}
    assert read('adversarial', results, num_images=50_000, **stronger).values == {'imagenet': 80.0}
    assert read('adversarial', results, num_images=5, **PGD).values == {}


def test_acdc_is_the_servers(read):
    run = read('acdc', {'mean_mIoU': 60.0}, split='val', num_images=3, trained_on='unknown')
    assert run.values == {} and 'split val' in run.remarks[0]


def test_another_file_is_refused(tmp_path):
    (tmp_path / 'other.json').write_text('[]')
    with pytest.raises(ValueError, match=r'other\.json is not'):
        read_measured(tmp_path / 'other.json')


@pytest.mark.parametrize('value', ['50', -1.0, 1e300, math.nan, [50.0]])
def test_what_is_no_percentage_is_refused(read, value):
    with pytest.raises(ValueError, match=r'results\.json is not the results\.json'):
        read('imagenet-p', {'mFR': value}, num_images={'tilt': 2})

from itertools import islice

import numpy as np
import pytest
from mmengine.registry import TRANSFORMS
from mmengine.runner import Runner

from mmrobust.corruptions import GROUPS, corrupt
from mmrobust.datasets.minicity import MiniCityParams, write_minicity
from mmrobust.datasets.transforms import Corrupt, CorruptRegion, RandomCorrupt
from mmrobust.datasets.transforms.corrupt import region_mask, region_of
from mmrobust.randomness import derive_seed
from mmrobust.registry import TRANSFORMS as OWN_TRANSFORMS


def _results(path='/data/a/b/street.png'):
    image = np.random.default_rng(0).integers(0, 256, (40, 48, 3), dtype=np.uint8)
    return {'img': image, 'img_path': path}


def test_is_the_corruption_of_the_rgb_image():
    results = _results()
    rng = np.random.default_rng(derive_seed(7, 'gaussian_noise', 3, 'b/street.png'))
    expected = corrupt(results['img'][..., ::-1], 'gaussian_noise', 3, rng)[..., ::-1]
    transform = Corrupt('gaussian_noise', 3, data_root='/data/a', seed=7)
    assert np.array_equal(transform(results)['img'], expected)


def test_pixels_depend_on_the_name_below_the_root_only():
    def pixels(path, root, **options):
        return Corrupt('shot_noise', 2, data_root=root, **options)(_results(path))['img']

    here = pixels('/data/a/b/street.png', '/data/a')
    assert np.array_equal(here, pixels('/elsewhere/b/street.png', '/elsewhere/'))
    assert np.array_equal(here, pixels('relative/b/street.png', 'relative'))
    assert not np.array_equal(here, pixels('/data/a/c/street.png', '/data/a'))
    assert not np.array_equal(here, pixels('/data/a/b/street.png', '/data/a', seed=1))


def test_global_randomness_is_not_touched():
    np.random.seed(5)
    expected = np.random.rand()
    np.random.seed(5)
    Corrupt('impulse_noise', 4)(_results())
    assert np.random.rand() == expected


def test_from_a_config():
    transform = TRANSFORMS.build(dict(type='mmrobust.Corrupt', corruption='fog', severity=2, profile='bgr'))
    assert repr(transform) == "Corrupt(corruption='fog', severity=2, seed=0, profile='bgr')"


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (('dust', 1), "'dust'"),
        (('fog', 0), '1 to 5, got 0'),
        (('fog', 6), '1 to 5, got 6'),
        (('fog', 1, None, 0, 'gbr'), 'gbr'),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        Corrupt(*arguments)


def test_a_numpy_severity_draws_as_the_integer():
    expected = Corrupt('shot_noise', 2)(_results())['img']
    assert np.array_equal(Corrupt('shot_noise', np.int64(2))(_results())['img'], expected)


BAD_IMAGES = [
    (np.zeros((40, 48), np.uint8), ValueError, r'shape \(40, 48\) \(greyscale\)'),
    (np.zeros((40, 48, 4), np.uint8), ValueError, r'shape \(40, 48, 4\) \(RGBA\)'),
    (np.zeros((40, 48, 3), np.uint16), TypeError, 'uint8 .*, got uint16'),
    (np.zeros((40, 48, 3), np.float32), TypeError, 'uint8 .*, got float32'),
    (np.zeros((20, 48, 3), np.uint8), ValueError, 'got 48 x 20'),
]


@pytest.mark.parametrize('transform', [Corrupt('fog', 1, '/data'), RandomCorrupt(prob=1)], ids=['fixed', 'random'])
@pytest.mark.parametrize(('image', 'kind', 'message'), BAD_IMAGES)
def test_an_image_that_cannot_be_corrupted_is_named(transform, image, kind, message):
    with pytest.raises(kind, match=rf'^/data/a/street\.png: image must be .*{message}'):
        transform({'img': image, 'img_path': '/data/a/street.png'})


def test_never_and_always():
    clean = _results()['img']
    never = RandomCorrupt(prob=0)
    always = RandomCorrupt(('gaussian_noise',), (5,), prob=1)
    for _ in range(20):
        assert np.array_equal(never(_results())['img'], clean)
        assert not np.array_equal(always(_results())['img'], clean)


def test_draws_are_those_of_the_global_state_and_nothing_else():
    def draws(seed):
        np.random.seed(seed)
        transform = RandomCorrupt(('fog', 'gaussian_noise'), (1, 3), prob=0.5)
        return [transform(_results())['img'].tobytes() for _ in range(12)]

    first = draws(1)
    assert first == draws(1)
    assert first != draws(2)
    clean = _results()['img'].tobytes()
    assert 0 < first.count(clean) < 12
    corrupted = [pixels for pixels in first if pixels != clean]
    assert len(set(corrupted)) == len(corrupted)  # the Generator is drawn anew, too


def test_what_is_drawn():
    np.random.seed(0)
    transform = RandomCorrupt(prob=1)
    drawn = [transform.draw() for _ in range(400)]
    assert {corruption for corruption, _, _ in drawn} == {name for group in GROUPS.values() for name in group}
    assert {severity for _, severity, _ in drawn} == {1, 2, 3, 4, 5}
    assert len({seed for _, _, seed in drawn}) == 400
    transform = RandomCorrupt(['spatter'], [4], prob=0.25)
    drawn = [transform.draw() for _ in range(400)]
    assert 60 < 400 - drawn.count(None) < 140
    assert {(corruption, severity) for corruption, severity, _ in filter(None, drawn)} == {('spatter', 4)}


def test_random_corruption_is_that_of_what_was_drawn():
    transform = RandomCorrupt(prob=1, profile='bgr')
    np.random.seed(3)
    corruption, severity, seed = transform.draw()
    rgb = np.ascontiguousarray(_results()['img'][..., ::-1])
    expected = corrupt(rgb, corruption, severity, np.random.default_rng(seed), 'bgr')[..., ::-1]
    np.random.seed(3)
    assert np.array_equal(transform(_results())['img'], expected)


@pytest.fixture(scope='module')
def minicity(tmp_path_factory):
    root = tmp_path_factory.mktemp('data') / 'minicity'
    write_minicity(root, MiniCityParams(num_train=3, num_val=1, num_acdc=0, size=(64, 32)))
    return root


def test_augmentation_does_not_depend_on_workers(minicity):
    def images(num_workers):
        np.random.seed(num_workers)
        loader = dict(
            batch_size=2,
            num_workers=num_workers,
            sampler=dict(type='mmrobust.SeededInfiniteSampler'),
            dataset=dict(
                type='mmrobust.CityscapesDataset',
                data_root=str(minicity),
                data_prefix=dict(img_path='leftImg8bit/train', seg_map_path='gtFine/train'),
                pipeline=[
                    dict(type='mmrobust.LoadImageFromFile'),
                    dict(type='mmrobust.RandomCorrupt', prob=0.8),
                    dict(type='PackSegInputs'),
                ],
            ),
        )
        batches = islice(Runner.build_dataloader(loader, seed=7), 6)
        return [image.numpy().tobytes() for batch in batches for image in batch['inputs']]

    first = images(0)
    assert first == images(2)
    assert len(set(first)) > 6  # of 3 clean images


@pytest.mark.parametrize(
    ('arguments', 'kind', 'message'),
    [
        (dict(corruptions=('fog', 'dust')), ValueError, "'dust'"),
        (dict(corruptions=()), ValueError, 'corruptions must have one or more'),
        (dict(corruptions='fog'), TypeError, "corruptions must be a list, got 'fog'"),
        (dict(severities=(1, 6)), ValueError, '1 to 5, got 6'),
        (dict(severities=(1.5,)), TypeError, r'1 to 5, got 1\.5'),
        (dict(severities=3), TypeError, 'severities must be a list, got 3'),
        (dict(severities=[]), ValueError, 'severities must have one or more'),
        (dict(prob=1.1), ValueError, r'prob must be 0 to 1, got 1\.1'),
        (dict(prob=-0.1), ValueError, r'prob must be 0 to 1, got -0\.1'),
        (dict(prob=float('nan')), ValueError, 'prob must be 0 to 1, got nan'),
        (dict(profile='gbr'), ValueError, 'gbr'),
    ],
)
def test_bad_arguments_of_the_augmentation(arguments, kind, message):
    with pytest.raises(kind, match=message):
        RandomCorrupt(**arguments)


LABEL = np.random.default_rng(1).integers(0, 3, (40, 64)).astype(np.uint8)


@OWN_TRANSFORMS.register_module(force=True)
class LoadTestLabel:
    def __init__(self, **kwargs):
        pass

    def __call__(self, results):
        return dict(results, gt_seg_map=LABEL)


@pytest.mark.parametrize('region', [(5, 3, 40, 30), 2])
@pytest.mark.parametrize('corruption', ['gaussian_noise', 'snow', 'glass_blur'])
def test_inside_is_the_full_corruption_and_outside_the_clean_image(region, corruption):
    image = np.random.default_rng(0).integers(0, 256, (40, 64, 3), dtype=np.uint8)
    sample = dict(img=image.copy(), img_path='a/b.png', seg_map_path='a/b_label.png')
    how = dict(data_root='a', seed=4)
    load = dict(type='mmrobust.LoadTestLabel')
    found = CorruptRegion(corruption, 4, region=region, load_labels=load, **how)(dict(sample))
    full = Corrupt(corruption, 4, **how)(dict(sample))['img']
    mask = LABEL == 2 if region == 2 else np.zeros((40, 64), bool)
    if region != 2:
        mask[3:30, 5:40] = True
    np.testing.assert_array_equal(found['img'][mask], full[mask])
    np.testing.assert_array_equal(found['img'][~mask], image[~mask])
    assert (full[~mask] != image[~mask]).any() and found['img'].dtype == np.uint8 and 'gt_seg_map' not in found


def test_regions_by_name():
    names = ['road', 'car']
    assert region_of('car', names) == 1 and region_of('1,2,3,4', names) == (1, 2, 3, 4)
    for text in ('boat', '1,2,3', '3,2,1,4', '1,4,3,4', '-1,0,3,4'):
        with pytest.raises(ValueError, match=f'x0 < x1 and y0 < y1, or one of road, car, got {text!r}'):
            region_of(text, names)


def test_a_region_must_be_in_the_image():
    with pytest.raises(ValueError, match=r'must lie in the image a.png, 64 x 40, got \(0, 0, 65, 40\)'):
        region_mask((0, 0, 65, 40), (40, 64), image='a.png')
    with pytest.raises(ValueError, match=r'must have a label of its size \(40, 64\), got None'):
        region_mask(1, (40, 64), image='a.png')

"""MiniCity: deterministic, complete, laid out like Cityscapes and ACDC, and never half written."""

import json

import cv2
import numpy as np
import pytest

from mmrobust.datasets import DrawWeather
from mmrobust.datasets.minicity import (
    CLASSES,
    CONDITIONS,
    IGNORE,
    LABEL_IDS,
    SPLITS,
    STRENGTHS,
    MiniCityParams,
    draw_scene,
    label_map,
    lay_out,
    overview,
    render,
    to_color,
    to_label_ids,
    write_minicity,
)
from mmrobust.datasets.minicity import writer as writer_module
from mmrobust.datasets.minicity.street import turns

WIDTH, HEIGHT = 128, 64
SMALL = MiniCityParams(num_train=2, num_val=2, num_acdc=1, size=(WIDTH, HEIGHT))


def scene(index, seed=0, split='train', size=(WIDTH, HEIGHT)):
    street = lay_out(seed, split, index)
    return street, draw_scene(street, *size)


def image_and_label(*args, **kwargs):
    street, canvas = scene(*args, **kwargs)
    return render(canvas, street), label_map(canvas)


@pytest.fixture(scope='module')
def dataset(tmp_path_factory):
    root = tmp_path_factory.mktemp('data') / 'minicity'
    assert write_minicity(root, SMALL)
    return root


def read(path):
    return cv2.imread(str(path), cv2.IMREAD_UNCHANGED)


def test_same_seed_same_image_whatever_was_drawn_before():
    first = image_and_label(3)
    image_and_label(4)
    again = image_and_label(3)
    np.testing.assert_array_equal(first[0], again[0])
    np.testing.assert_array_equal(first[1], again[1])


@pytest.mark.parametrize('other', [dict(index=4), dict(index=3, seed=1), dict(index=3, split='val')])
def test_another_scene_seed_or_split_is_another_street(other):
    image, label = image_and_label(3)
    other_image, other_label = image_and_label(**other)
    assert (image != other_image).any()
    assert (label != other_label).any()


def test_image_and_label_have_the_asked_size():
    image, label = image_and_label(0, size=(97, 65))
    assert image.shape == (65, 97, 3) and image.dtype == np.uint8
    assert label.shape == (65, 97) and label.dtype == np.uint8


@pytest.mark.parametrize(('split', 'first'), [('train', 0), ('train', 5), ('val', 2)])
def test_eight_consecutive_scenes_hold_every_class(split, first):
    area = np.zeros(256, int)
    for index in range(first, first + 8):
        area += np.bincount(image_and_label(index, split=split)[1].ravel(), minlength=256)
    assert set(np.flatnonzero(area)) <= {*range(19), IGNORE}
    missing = [name for name, pixels in zip(CLASSES, area, strict=False) if pixels < 12]
    assert not missing


def test_rare_things_take_turns():
    for first in range(6):
        shown = [turns(0, 'train', index) for index in range(first, first + 8)]
        assert {'bus', 'train', 'truck'} <= {turn['heavy'] for turn in shown}
        assert {'cyclist', 'motorcyclist', 'parked'} <= {turn['wheels'] for turn in shown}
        assert {'wall', 'fence', 'lawn'} <= {turn['border'] for turn in shown}


@pytest.mark.parametrize('heavy', ['bus', 'train', 'truck'])
def test_a_heavy_vehicle_that_must_show_is_large(heavy):
    index = next(i for i in range(8) if turns(0, 'train', i)['heavy'] == heavy)
    label = image_and_label(index)[1]
    assert (label == CLASSES.index(heavy)).mean() > 0.01


def test_the_street_is_seen_in_perspective():
    for index in range(8):
        street, canvas = scene(index)
        label = label_map(canvas)
        horizon = round(street.pitch * HEIGHT)
        assert not (label[horizon + 2 :] == CLASSES.index('sky')).any()
        assert not (label[: horizon - 2] == CLASSES.index('road')).any()
        ahead = label[int(HEIGHT * 0.82) : int(HEIGHT * 0.9), WIDTH // 2 - 4 : WIDTH // 2 + 4]
        assert np.isin(ahead, (CLASSES.index('road'), IGNORE)).mean() > 0.5
        road = canvas.label == CLASSES.index('road')
        depth = np.array([canvas.depth[row][road[row]].mean() for row in np.flatnonzero(road.any(1))])
        assert (np.diff(depth) < 0).all()  # the lower in the image, the nearer


def test_conditions_change_the_image_and_nothing_else():
    contrast, light = [], []
    for index in range(3):
        street, canvas = scene(index)
        before = label_map(canvas).copy()
        clear = render(canvas, street).astype(float)
        images = {name: render(canvas, street, name).astype(float) for name in CONDITIONS}
        np.testing.assert_array_equal(label_map(canvas), before)
        for image in images.values():
            assert np.abs(image - clear).mean() > 10
        contrast.append(images['fog'].std() / clear.std())
        light.append(images['night'].mean() / clear.mean())
        walk = before == CLASSES.index('sidewalk')
        assert images['snow'][walk].mean() > images['rain'][walk].mean()
    assert np.mean(contrast) < 0.8
    assert np.mean(light) < 0.6


def test_fog_hides_what_is_far():
    street, canvas = scene(0)
    fog = render(canvas, street, 'fog').astype(float)
    depth, label = canvas.depth[1::2, 1::2], label_map(canvas)
    far = fog[(depth > 80) & (label != CLASSES.index('sky'))]
    near = fog[depth < 20]
    assert far.std() < 0.6 * near.std()


def test_label_encodings():
    label = np.array([[0, 7, 18, IGNORE]], np.uint8)
    assert to_label_ids(label).tolist() == [[7, 20, 33, 1]]
    assert to_color(label).tolist() == [[[128, 64, 128], [220, 220, 0], [119, 11, 32], [0, 0, 0]]]


def test_cityscapes_layout(dataset):
    assert json.loads((dataset / 'minicity.json').read_text()) == SMALL.as_json()
    for split in SPLITS:
        images = sorted((dataset / 'leftImg8bit' / split).rglob('*.png'))
        assert len(images) == 2
        for path in images:
            city = path.parent.name
            assert path.name.startswith(f'{city}_') and path.name.endswith('_000019_leftImg8bit.png')
            stem = path.name.removesuffix('_leftImg8bit.png')
            folder = dataset / 'gtFine' / split / city
            train_ids = read(folder / f'{stem}_gtFine_labelTrainIds.png')
            ids = read(folder / f'{stem}_gtFine_labelIds.png')
            color = read(folder / f'{stem}_gtFine_color.png')
            assert read(path).shape == (HEIGHT, WIDTH, 3)
            assert train_ids.shape == ids.shape == (HEIGHT, WIDTH)
            assert set(np.unique(train_ids)) <= {*range(19), IGNORE}
            assert set(np.unique(ids)) <= {*LABEL_IDS, 1}
            np.testing.assert_array_equal(color[..., ::-1], to_color(train_ids))


def test_images_are_stored_as_rgb(dataset):
    path = next((dataset / 'leftImg8bit' / 'train').rglob('*_000000_000019_leftImg8bit.png'))
    np.testing.assert_array_equal(read(path)[..., ::-1], image_and_label(0)[0])


def test_acdc_layout(dataset):
    for split in SPLITS:
        original = next((dataset / 'gtFine' / split).rglob('*_000000_000019_gtFine_labelTrainIds.png'))
        for sequence, condition in zip(('GOPR1001', 'GOPR2001', 'GOPR3001', 'GOPR4001'), CONDITIONS, strict=True):
            images = sorted((dataset / 'acdc/rgb_anon' / condition / split).rglob('*.png'))
            assert [path.name for path in images] == [f'{sequence}_frame_000001_rgb_anon.png']
            assert images[0].parent.name == sequence
            reference = dataset / f'acdc/rgb_anon/{condition}/{split}_ref/{sequence}'
            assert [path.name for path in reference.iterdir()] == [f'{sequence}_frame_000001_rgb_ref_anon.png']
            gt = dataset / f'acdc/gt/{condition}/{split}/{sequence}/{sequence}_frame_000001_gt_labelTrainIds.png'
            assert gt.read_bytes() == original.read_bytes()
            ids = read(gt.with_name(f'{sequence}_frame_000001_gt_labelIds.png'))
            np.testing.assert_array_equal(ids, to_label_ids(read(gt)))


def test_writing_again_does_nothing_and_other_parameters_need_overwrite(dataset, tmp_path):
    assert not write_minicity(dataset, SMALL)
    root = tmp_path / 'again'
    tiny = MiniCityParams(1, 1, 0, (64, 32))
    assert write_minicity(root, tiny)
    other = MiniCityParams(1, 1, 0, (64, 32), seed=5)
    with pytest.raises(ValueError, match='pass --overwrite'):
        write_minicity(root, other)
    assert write_minicity(root, other, overwrite=True)
    assert json.loads((root / 'minicity.json').read_text())['seed'] == 5
    assert [path.name for path in tmp_path.iterdir()] == ['again']


def test_interrupted_writing_leaves_nothing(tmp_path, monkeypatch):
    def interrupt(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(writer_module, 'render', interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_minicity(tmp_path / 'minicity', SMALL)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ('wrong', 'message'),
    [
        (dict(num_train=0), 'num_train must be 1 or more, got 0'),
        (dict(num_val=-1), 'num_val must be 1 or more, got -1'),
        (dict(num_acdc=41), r'num_acdc must lie in 0\.\.40 .* got 41'),
        (dict(size=(32, 32)), r'size must be .* got \(32, 32\)'),
        (dict(seed=-3), 'seed must be 0 or more, got -3'),
    ],
)
def test_bad_parameters(wrong, message):
    with pytest.raises(ValueError, match=message):
        MiniCityParams(**wrong)


def test_bad_split_and_condition():
    with pytest.raises(ValueError, match=r"split must be one of .* got 'test'"):
        lay_out(0, 'test', 0)
    street, canvas = scene(0, size=(64, 32))
    with pytest.raises(ValueError, match=r"condition must be .* got 'hail'"):
        render(canvas, street, 'hail')


def test_overview_shows_six_images_per_street():
    height, *others = overview(size=(64, 32), indices=(0, 1)).shape
    assert others == [6 * 64, 3]  # clear, label and four conditions
    assert 0 < height - 2 * 32 < 32  # and heads


@pytest.mark.parametrize('condition', CONDITIONS)
def test_severities_of_weather(condition):
    """3 is what the data set is written with; the further from it, the other the image; night gets darker."""
    street, canvas = scene(0, size=(64, 32))
    usual = render(canvas, street, condition)
    found = {level: render(canvas, street, condition, level).astype(float) for level in STRENGTHS}
    np.testing.assert_array_equal(found[3], usual)
    assert STRENGTHS[3] == 1 and list(STRENGTHS.values()) == sorted(STRENGTHS.values())
    gap = {level: abs(of - usual).mean() for level, of in found.items()}
    assert gap[1] > gap[2] > gap[3] == 0 < gap[4] < gap[5]
    if condition in ('night', 'fog'):
        means = [of.mean() for of in found.values()]
        assert means == sorted(means, reverse=condition == 'night')
    with pytest.raises(ValueError, match='severity must be 1 to 5, got 6'):
        render(canvas, street, condition, 6)


def test_drawn_again_from_the_files(dataset):
    """An image of ACDC's layout is severity 3 of the same street; the clear one is the file itself."""
    (image,) = sorted((dataset / 'leftImg8bit/val').glob('*/*_000000_*.png'))
    loaded = dict(img_path=str(image), img=read(image), gt_seg_map='as it was')
    for condition, severity in (('clear', 1), ('fog', 3)):
        drawn = DrawWeather(condition, severity, str(dataset))(dict(loaded))
        other = image if condition == 'clear' else next((dataset / 'acdc/rgb_anon/fog/val').glob('*/*.png'))
        np.testing.assert_array_equal(drawn['img'], read(other))
        assert drawn['gt_seg_map'] == 'as it was'


def test_weather_only_over_minicity(dataset, tmp_path):
    with pytest.raises(ValueError, match=r'must be those of a MiniCity folder, got .* without minicity\.json'):
        DrawWeather('fog', 1, str(tmp_path))
    (tmp_path / 'minicity.json').write_text(json.dumps(SMALL.as_json() | {'version': 1}))
    with pytest.raises(ValueError, match='must be a MiniCity of version 2, got 1: write it again'):
        DrawWeather('fog', 1, str(tmp_path))
    with pytest.raises(ValueError, match='condition must be clear, fog, night, rain, snow, got'):
        DrawWeather('hail', 1, str(dataset))
    with pytest.raises(ValueError, match='must be <split>/<city>/<city>_<street>_'):
        DrawWeather('fog', 1, str(dataset))(dict(img_path='a/b/c.png', img=np.zeros((1, 1, 3), np.uint8)))

import numpy as np
import pytest
from mmengine.registry import TRANSFORMS

from mmrobust.corruptions import corrupt
from mmrobust.datasets.transforms import Corrupt
from mmrobust.randomness import derive_seed


def _results(path='/data/a/b/street.png'):
    image = np.random.default_rng(0).integers(0, 256, (40, 48, 3), dtype=np.uint8)
    return {'img': image, 'img_path': path}


def test_is_the_corruption_of_the_rgb_picture():
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
        (('fog', 0), '0.*1 to 5'),
        (('fog', 6), '6.*1 to 5'),
        (('fog', 1, None, 0, 'gbr'), 'gbr'),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        Corrupt(*arguments)

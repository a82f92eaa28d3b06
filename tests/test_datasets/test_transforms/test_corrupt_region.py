import numpy as np
import pytest

from mmrobust.datasets.transforms import Corrupt, CorruptRegion
from mmrobust.datasets.transforms.corrupt import region_mask, region_of
from mmrobust.registry import TRANSFORMS

LABEL = np.random.default_rng(1).integers(0, 3, (40, 64)).astype(np.uint8)


@TRANSFORMS.register_module(force=True)
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

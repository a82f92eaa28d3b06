import cv2
import numpy as np
import pytest

from mmrobust.corruptions.kernels import (
    disk_kernel,
    gaussian_kernel,
    motion_blur_along,
    motion_kernel,
    motion_path,
    smooth,
)


@pytest.mark.parametrize(('radius', 'side', 'pixels'), [(3, 17, 29), (8, 17, 197), (10, 21, 317)])
def test_disk_kernel_is_a_filled_circle(radius, side, pixels):
    kernel = disk_kernel(radius, alias_blur=0.01)
    assert kernel.shape == (side, side)
    assert kernel.dtype == np.float32
    assert np.count_nonzero(kernel) == pixels
    assert np.allclose(kernel[kernel > 0], 1 / pixels)


def test_disk_kernel_meets_its_frame():
    assert disk_kernel(6, 0.5).sum(dtype=np.float64) == pytest.approx(1, abs=1e-6)
    # mirrored at the border of the array by the smoothing, and so published
    assert disk_kernel(8, 0.5).sum(dtype=np.float64) == pytest.approx(1.012975, abs=1e-6)
    assert disk_kernel(10, 0.5).sum(dtype=np.float64) == pytest.approx(1.010786, abs=1e-6)


def test_gaussian_kernel():
    kernel = gaussian_kernel(1.5)
    assert len(kernel) == 13
    assert kernel.sum() == pytest.approx(1)
    assert kernel[6] / kernel[5] == pytest.approx(np.exp(0.5 / 1.5**2))
    assert len(gaussian_kernel(1.5, truncate=3)) == 11


@pytest.mark.parametrize('border', ['nearest', 'reflect'])
@pytest.mark.parametrize('shape', [(33, 40), (33, 40, 3)])
def test_smooth_is_scipys_filter(shape, border):
    ndimage = pytest.importorskip('scipy.ndimage')
    image = np.random.default_rng(0).random(shape, dtype=np.float32)
    sigma = (4.0, 12.0)  # the kernel is longer than the image
    expected = ndimage.gaussian_filter(image, sigma + (0,) * (len(shape) - 2), mode=border, truncate=3)
    cv2_border = {'nearest': cv2.BORDER_REPLICATE, 'reflect': cv2.BORDER_REFLECT}[border]
    assert np.allclose(smooth(image, sigma, truncate=3, border=cv2_border), expected, atol=1e-6)


def test_motion_kernel_is_half_a_gaussian():
    weights = motion_kernel(radius=10, sigma=3)
    assert len(weights) == 21
    assert weights.sum() == pytest.approx(1)
    assert weights[0] / weights[3] == pytest.approx(np.exp(0.5))


@pytest.mark.parametrize(
    ('angle', 'end'), [(0, (0, 20)), (90, (20, 0)), (-90, (-20, 0)), (45, (14, 14)), (-135, (-14, -14))]
)
def test_motion_path_direction(angle, end):
    path = motion_path(21, angle, (50, 50))
    assert len(path) == 21
    assert path[0] == (0, 0)
    assert path[-1] == end


def test_motion_path_ends_before_it_leaves_the_image():
    assert motion_path(41, 0, (32, 32))[-1] == (0, 31)


@pytest.mark.parametrize('dtype', [np.float32, np.float64])
def test_motion_blur_of_a_point(dtype):
    image = np.zeros((40, 41), np.float32)
    image[20, 30] = 1
    blurred = motion_blur_along(image, radius=5, sigma=3, angle=0, dtype=dtype)
    assert blurred.dtype == dtype
    # a pixel takes its light from the right, so the point is smeared to the left
    assert np.allclose(blurred[20, 20:31], motion_kernel(5, 3)[::-1])
    assert blurred.sum() == pytest.approx(1)

import pytest
import torch

from mmrobust.models.layers import PatchAugmentation

ONLY_MIRROR = dict(min_area=1.0, noise_std=0.0)


def _patches(images, size=16):
    return images.unfold(2, size, size).unfold(3, size, size).permute(0, 2, 3, 1, 4, 5).flatten(0, 2)


def _smooth(batch=2, height=64, width=96):
    """Images whose values lie well inside what a normalised image can hold."""
    return torch.rand(batch, 3, height, width) - 0.5


def test_probability_0_is_the_identity():
    images = _smooth()
    assert torch.equal(PatchAugmentation(prob=0.0)(images), images)


def test_whole_cut_out_and_no_noise_is_the_mirror():
    images = _smooth(1, 32, 48)
    out = PatchAugmentation(prob=1.0, **ONLY_MIRROR)(images)
    torch.testing.assert_close(_patches(out), _patches(images).flip(-1))


def test_each_patch_draws_for_itself():
    images = _smooth(4, 128, 128)
    before, after = _patches(images), _patches(PatchAugmentation(prob=0.25, **ONLY_MIRROR)(images))
    mirrored = (after - before.flip(-1)).abs().amax((1, 2, 3)) < 1e-5
    kept = (after - before).abs().amax((1, 2, 3)) < 1e-5
    assert (mirrored ^ kept).all()
    assert 0.15 < mirrored.float().mean() < 0.35  # of 256 patches; the standard deviation is 0.027


def test_zoom_shows_a_part_of_its_own_patch():
    """On a ramp, whatever is cut out is a ramp with less slope, within the patch's own values."""
    ramp = torch.linspace(-1, 1, 64).expand(1, 3, 64, 64).clone()
    zoom = PatchAugmentation(prob=1.0, min_area=0.5)
    before = _patches(ramp)
    after = zoom._zoom(before)
    slope = after[..., 1:-1].diff(dim=-1)
    full = before.diff(dim=-1).mean()
    assert (slope > 0.7 * full).all() and (slope < 1.001 * full).all()
    torch.testing.assert_close(slope, slope[:, :1, :1, :1].expand_as(slope), rtol=1e-3, atol=1e-5)
    assert (after.amax((1, 2, 3)) <= before.amax((1, 2, 3)) + 1e-5).all()
    assert slope[:, 0, 0, 0].std() > 0


def test_noise_has_the_strength_asked_for():
    images = _smooth()
    noise = PatchAugmentation(prob=1.0, noise_std=0.2)._noise(images) - images
    assert noise.std() == pytest.approx(0.2, rel=0.02) and abs(noise.mean()) < 0.01


def test_result_is_a_possible_image():
    augment = PatchAugmentation(prob=1.0, noise_std=50.0)
    out = augment(_smooth())
    mean, std = torch.tensor([123.675, 116.28, 103.53]), torch.tensor([58.395, 57.12, 57.375])
    pixels = out * std.view(3, 1, 1) + mean.view(3, 1, 1)
    assert pixels.min() == pytest.approx(0, abs=1e-3) and pixels.max() == pytest.approx(255, abs=1e-3)


def test_same_seed_same_images():
    images, augment = _smooth(), PatchAugmentation(prob=0.5)
    outs = []
    for seed in (3, 3, 4):
        torch.manual_seed(seed)
        outs.append(augment(images))
    assert torch.equal(outs[0], outs[1]) and not torch.equal(outs[0], outs[2])
    assert not augment.state_dict()


def test_dtype_is_kept():
    assert PatchAugmentation(prob=1.0)(_smooth().bfloat16()).dtype == torch.bfloat16


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(prob=1.5), r'prob .* in \[0, 1\], got 1.5'),
        (dict(min_area=0.0), r'min_area .* in \(0, 1\], got 0.0'),
        (dict(noise_std=-1.0), 'noise_std .* at least 0, got -1.0'),
    ],
)
def test_bad_arguments(options, message):
    with pytest.raises(ValueError, match=message):
        PatchAugmentation(**options)


def test_patches_must_fill_the_image():
    with pytest.raises(ValueError, match='multiples of patch_size=16, got 40 x 64'):
        PatchAugmentation()(_smooth(1, 40, 64))

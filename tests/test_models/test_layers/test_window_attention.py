import pytest
import torch

from mmrobust.models import AttentionDiversificationLoss
from mmrobust.models.layers import WindowAttention
from mmrobust.ops import attention_diversification_reference


def _layer(window_size, shifted, dims=8, heads=2):
    torch.manual_seed(0)
    layer = WindowAttention(dims, heads, window_size, shifted).double()
    torch.nn.init.normal_(layer.relative_position_bias_table)
    torch.nn.init.normal_(layer.qkv.weight, std=1.5)
    torch.nn.init.normal_(layer.qkv.bias)
    return layer


def _windows_of_the_paper(hw_shape, side, shifted):
    """The tokens ``[(y, x), ...]`` of every window, of which a shifted grid has smaller ones at its border (Fig. 2)."""
    windows = {}
    for y in range(hw_shape[0]):
        for x in range(hw_shape[1]):
            # an axis with a single window is not shifted
            before = [side - side // 2 if shifted and length > side else 0 for length in hw_shape]
            windows.setdefault(((y + before[0]) // side, (x + before[1]) // side), []).append((y, x))
    return list(windows.values())


def _attention_of_the_paper(layer, tokens, places):
    """Probabilities and values of one window: ``tokens`` ``(n, C)`` at ``places`` ``[(y, x), ...]``."""
    heads, side = layer.num_heads, layer.window_size
    query, key, value = (part.unflatten(-1, (heads, -1)).transpose(0, 1) for part in layer.qkv(tokens).chunk(3, dim=-1))
    bias = torch.stack(
        [
            torch.stack(
                [
                    layer.relative_position_bias_table[(yq - yk + side - 1) * (2 * side - 1) + xq - xk + side - 1]
                    for yk, xk in places
                ]
            )
            for yq, xq in places
        ]
    ).permute(2, 0, 1)
    scores = query @ key.transpose(-2, -1) * query.size(-1) ** -0.5 + bias
    return scores.softmax(-1), value


@pytest.mark.parametrize('shifted', [False, True])
@pytest.mark.parametrize(('hw_shape', 'side'), [((8, 12), 4), ((10, 5), 5), ((6, 9), 3)])
def test_equals_the_windows_of_the_paper(hw_shape, side, shifted):
    """In what it puts out, and in ADL: a window cut by the mask counts as the smaller windows that it stands for."""
    layer = _layer(side, shifted)
    x = torch.randn(2, hw_shape[0] * hw_shape[1], 8, dtype=torch.float64)
    adl = AttentionDiversificationLoss(tau=1.5)
    y, term = layer(x, hw_shape, observe=adl.layer_term)
    expected, expected_term = torch.empty_like(x), 0
    for places in _windows_of_the_paper(hw_shape, side, shifted):
        index = torch.tensor([y * hw_shape[1] + x for y, x in places])
        for image in range(2):
            probs, value = _attention_of_the_paper(layer, x[image, index], places)
            expected[image, index] = layer.proj((probs @ value).transpose(0, 1).flatten(1))
            part = attention_diversification_reference(probs[None], tau=1.5)
            expected_term = expected_term + part * len(places) / (2 * x.size(1))
    torch.testing.assert_close(y, expected)
    torch.testing.assert_close(term, expected_term)
    assert 0.1 < term < 0.9
    wanted = torch.autograd.grad(expected_term, list(layer.parameters())[:3])
    for got, want in zip(torch.autograd.grad(term, list(layer.parameters())[:3]), wanted, strict=True):
        torch.testing.assert_close(got, want, rtol=1e-7, atol=1e-10)


@pytest.mark.parametrize('shifted', [False, True])
@pytest.mark.parametrize('hw_shape', [(7, 9), (3, 10), (2, 3), (8, 5)])
def test_padding(hw_shape, shifted):
    """Zeros at the bottom and on the right are keys like all others; ADL does not ask what they attend to."""
    layer = _layer(4, shifted)
    height, width = hw_shape
    padded = (height + -height % 4, width + -width % 4)
    x = torch.randn(1, height, width, 8, dtype=torch.float64)
    zeros = torch.zeros(1, *padded, 8, dtype=torch.float64)
    zeros[:, :height, :width] = x
    y, view = layer(x.flatten(1, 2), hw_shape, observe=lambda view: view)
    whole = layer(zeros.flatten(1, 2), padded)[0].unflatten(1, padded)
    torch.testing.assert_close(y.unflatten(1, hw_shape), whole[:, :height, :width])
    query_regions, key_regions = view.attention[-2:]
    assert query_regions.sum() == height * width and key_regions.sum() == padded[0] * padded[1]

    term = AttentionDiversificationLoss(tau=1.5).layer_term(view)
    expected = 0
    for places in _windows_of_the_paper(padded, 4, shifted):
        real = torch.tensor([y < height and x < width for y, x in places])
        index = torch.tensor([y * padded[1] + x for y, x in places])
        probs, _ = _attention_of_the_paper(layer, zeros.flatten(1, 2)[0, index], places)
        if real.any():
            rows = probs.mean(0)[real]
            kept = rows * (rows >= 1.5 / len(places))
            expected = expected + torch.cosine_similarity(kept, kept.mean(0, keepdim=True), dim=-1).sum()
    torch.testing.assert_close(term, expected / (height * width))


def test_view_has_an_entry_for_every_window():
    layer = _layer(4, True)
    _, view = layer(torch.randn(2, 8 * 12, 8, dtype=torch.float64), (8, 12), observe=lambda view: view)
    query, _, _, bias, query_regions, key_regions = view.attention
    assert query.shape == (2 * 6, 2, 16, 4) and bias.shape == (2 * 6, 2, 16, 16)
    assert query_regions.shape == key_regions.shape == (2 * 6, 4, 16)
    assert view.hw_shape == (4, 4) and view.num_prefix_tokens == 0 and view.num_windows == 6
    view.check_grid()
    # the mask is -inf, and only between regions
    together = (query_regions.unsqueeze(-1) & key_regions.unsqueeze(-2)).any(1, keepdim=True)
    assert torch.equal(bias.isfinite(), together.expand(-1, 2, -1, -1))
    torch.testing.assert_close(view.rows(3, 7), view.probs()[:, :, 3:7])
    # raster order over windows, images first
    assert together[:6].flatten(1).all(1).tolist() == [True, True, False, False, False, False]


def test_without_mask_and_padding_there_are_no_regions():
    _, view = _layer(4, False)(torch.randn(2, 8 * 12, 8, dtype=torch.float64), (8, 12), observe=lambda view: view)
    assert view.attention.bias.shape == (1, 2, 16, 16)
    assert view.attention.query_regions is None and view.attention.key_regions is None


@pytest.mark.parametrize('hw_shape', [(8, 12), (7, 9)])
def test_adl_is_the_mean_over_images(hw_shape):
    layer = _layer(4, True)
    adl = AttentionDiversificationLoss(tau=1.5)
    x = torch.randn(3, hw_shape[0] * hw_shape[1], 8, dtype=torch.float64)
    alone = [layer(x[image : image + 1], hw_shape, observe=adl.layer_term)[1] for image in range(3)]
    torch.testing.assert_close(layer(x, hw_shape, observe=adl.layer_term)[1], torch.stack(alone).mean())


@pytest.mark.parametrize('hw_shape', [(8, 12), (7, 9)])
def test_uniform_attention_has_no_adl(hw_shape):
    """Also in a small region of a window, whose entries are far above 1 / n."""
    layer = WindowAttention(8, 2, 4, shifted=True)
    for weight in (layer.qkv.weight, layer.qkv.bias, layer.relative_position_bias_table):
        torch.nn.init.zeros_(weight)
    x = torch.randn(1, hw_shape[0] * hw_shape[1], 8)
    assert layer(x, hw_shape, observe=AttentionDiversificationLoss(tau=2.0).layer_term)[1] == 0


def test_heads_must_divide_channels():
    with pytest.raises(ValueError, match='got 10 and 4'):
        WindowAttention(10, 4, 7, False)

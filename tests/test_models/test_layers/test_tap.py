import pytest
import torch

from mmrobust.models.layers import MultiKernelTokenAwareAvgPool, TokenAvgPool, TokenAwareAvgPool, TokenConv
from mmrobust.ops import dilated_windows, kernel_windows, weighted_avg_pool_reference


@pytest.mark.parametrize('num_branches', [2, 4, 6])
@pytest.mark.parametrize('hw_shape', [(1, 1), (2, 9), (5, 4)])
@pytest.mark.parametrize(
    ('layer_type', 'windows'), [(TokenAwareAvgPool, dilated_windows), (MultiKernelTokenAwareAvgPool, kernel_windows)]
)
def test_is_the_sum_of_its_branches(num_branches, hw_shape, layer_type, windows):
    torch.manual_seed(0)
    layer = layer_type(8, num_branches).eval()
    height, width = hw_shape
    x = torch.randn(2, height * width, 8)
    planes = x.transpose(1, 2).reshape(2, 8, height, width)
    weights = layer.predictor(planes).softmax(1).permute(0, 2, 3, 1)
    expected = weighted_avg_pool_reference(planes.permute(0, 2, 3, 1), weights, windows(num_branches)).flatten(1, 2)
    torch.testing.assert_close(layer(x, hw_shape), expected)
    torch.testing.assert_close(layer.weights(x, hw_shape).sum(-1), torch.ones(2, height, width))


def test_autocast_gives_its_output_the_dtype_of_a_convolution():
    layer = TokenAwareAvgPool(8, num_branches=3)
    x = torch.randn(2, 20, 8, requires_grad=True)
    with torch.autocast('cpu', torch.bfloat16):
        out = layer(x, (4, 5))
    assert out.dtype == torch.bfloat16
    out.float().square().sum().backward()
    assert x.grad.dtype == torch.float32
    expected = layer(x.detach().requires_grad_(), (4, 5))
    torch.testing.assert_close(out.float(), expected, rtol=0.02, atol=0.02)


@pytest.mark.parametrize('autocast', [False, True])
def test_compiled_like_eager(autocast):
    """The compiler predicts the weights once more in the backward pass; running statistics count a step once."""
    results = []
    for compiled in (False, True):
        torch.manual_seed(0)
        layer, x = TokenAwareAvgPool(8, num_branches=3), torch.randn(2, 20, 8, requires_grad=True)
        run = torch.compile(layer, backend='aot_eager', fullgraph=True) if compiled else layer
        with torch.autocast('cpu', torch.bfloat16, enabled=autocast):
            run(x, (4, 5)).float().square().sum().backward()
        results.append([x.grad, *(one.grad for one in layer.parameters()), *layer.buffers()])
    torch.testing.assert_close(*results)


def test_one_branch_is_no_tap():
    layer = TokenAwareAvgPool(8, num_branches=1)
    x = torch.randn(2, 6, 8)
    assert layer(x, (2, 3)) is x
    assert not list(layer.parameters())
    assert layer.weights(x, (2, 3)).eq(1).all()


def test_constant_map_is_a_fixed_point_away_from_the_border():
    layer = TokenAwareAvgPool(4, num_branches=3).eval()
    out = layer(torch.ones(1, 81, 4), (9, 9)).view(9, 9, 4)
    torch.testing.assert_close(out[2:-2, 2:-2], torch.ones(5, 5, 4))
    assert out[0, 0, 0] < 1  # outside the map lies zero


def test_parameter_count_of_the_paper():
    """9 C K + 2 K + 9 K^2: 16280 per block of FAN-B."""
    assert sum(p.numel() for p in TokenAwareAvgPool(448, 4).parameters()) == 16280


def test_norm_is_configurable():
    layer = TokenAwareAvgPool(8, 4, norm_cfg=dict(type='GN', num_groups=2))
    assert isinstance(layer.predictor[1], torch.nn.GroupNorm)


@pytest.mark.parametrize('num_branches', [0, -3])
def test_too_few_branches(num_branches):
    with pytest.raises(ValueError, match=rf'at least 1, got {num_branches}'):
        TokenAwareAvgPool(8, num_branches)


@pytest.mark.parametrize('kernel_size', [3, 5])
def test_fixed_average(kernel_size):
    x = torch.randn(2, 20, 3)
    planes = x.transpose(1, 2).reshape(2, 3, 4, 5)
    expected = torch.nn.functional.avg_pool2d(planes, kernel_size, 1, kernel_size // 2).flatten(2).transpose(1, 2)
    torch.testing.assert_close(TokenAvgPool(3, kernel_size)(x, (4, 5)), expected)


@pytest.mark.parametrize('kernel_size', [3, 5])
def test_dense_convolution(kernel_size):
    layer = TokenConv(3, kernel_size)
    x = torch.randn(2, 20, 3)
    expected = layer.conv(x.transpose(1, 2).reshape(2, 3, 4, 5)).flatten(2).transpose(1, 2)
    torch.testing.assert_close(layer(x, (4, 5)), expected)
    assert sum(p.numel() for p in layer.parameters()) == 9 * kernel_size**2


@pytest.mark.parametrize('layer_type', [TokenAvgPool, TokenConv])
@pytest.mark.parametrize('kernel_size', [0, 4, -1])
def test_even_kernels_are_refused(layer_type, kernel_size):
    with pytest.raises(ValueError, match=f'odd and at least 1, got {kernel_size}'):
        layer_type(8, kernel_size)


@pytest.mark.parametrize('num_branches', [1, 3])
def test_tokens_that_are_no_grid(num_branches):
    with pytest.raises(ValueError, match=r'must multiply to 13 tokens, got \(3, 4\)'):
        TokenAwareAvgPool(8, num_branches)(torch.randn(1, 13, 8), (3, 4))

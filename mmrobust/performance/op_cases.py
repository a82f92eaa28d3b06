"""Forward and backward of TAP's pooling and of attention with ADL, in each of their forms."""

# B batch, H W token grid or H heads, N tokens, C channels, D channels per head, K branches

from collections.abc import Callable

import torch
from mmengine.device import get_device
from torch import Tensor

from mmrobust.models.layers import AttentionView, attend
from mmrobust.models.losses import AttentionDiversificationLoss
from mmrobust.ops import dilated_windows, weighted_avg_pool
from mmrobust.performance.measure import Measurement, measure
from mmrobust.performance.released_form import full_map_attend, unfold_pool

TAP_FORMS = ('copy', 'released', 'ours', 'ours compiled')
ADL_FORMS = ('attention alone', 'released', 'ours')


def tap(
    form: str,
    shape: tuple[int, int, int, int],
    num_branches: int,
    repeats: int,
    dtype: torch.dtype = torch.float32,
) -> Measurement:
    """Weigh and pool ``shape`` = (B, C, H, W), gradients of tokens and weights included; or copy the tokens once.

    Each form gets the tokens in the memory layout that it wants.
    """
    torch.manual_seed(0)
    batch, channels, height, width = shape
    device = get_device()
    if form == 'released':
        x, grad = (torch.randn(shape, device=device, dtype=dtype).permute(0, 2, 3, 1) for _ in range(2))
    else:
        x, grad = (torch.randn(batch, height, width, channels, device=device, dtype=dtype) for _ in range(2))
    weights = torch.randn(batch, height, width, num_branches, device=device, dtype=dtype).softmax(-1)
    if form == 'copy':
        return measure(x.clone, repeats, warmup=2)
    pool = {'released': unfold_pool, 'ours': weighted_avg_pool, 'ours compiled': torch.compile(weighted_avg_pool)}[form]
    windows = dilated_windows(num_branches)
    return measure(lambda: _gradients(lambda x, weights: pool(x, weights, windows), (x, weights), grad), repeats, 2)


def adl(
    form: str, heads: int, head_dims: int, num_tokens: int, repeats: int, dtype: torch.dtype = torch.float32
) -> Measurement:
    """One layer's attention of one image, its output included, with ADL or alone; and all gradients."""
    torch.manual_seed(0)
    shape = (1, heads, num_tokens, head_dims)
    query, key, value, grad = (torch.randn(shape, device=get_device(), dtype=dtype) for _ in range(4))
    query *= 0.5  # attention sharp enough for entries above the threshold, and flat enough for some below
    observe = None if form == 'attention alone' else AttentionDiversificationLoss().layer_term
    form_of_attention = full_map_attend if form == 'released' else attend

    def function(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        out, term = form_of_attention(AttentionView(query, key), value, observe=observe)
        return (out * grad).sum() + (0 if term is None else term)

    return measure(lambda: _gradients(function, (query, key, value), None), repeats)


def _gradients(function: Callable[..., Tensor], inputs: tuple[Tensor, ...], grad: Tensor | None) -> None:
    leaves = [tensor.detach().requires_grad_() for tensor in inputs]
    function(*leaves).backward(grad)

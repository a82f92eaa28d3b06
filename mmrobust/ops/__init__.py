"""Functions on tensors. Each has a plain reference and faster forms that recompute instead of keeping."""

from mmrobust.ops.attention import Attention, attention_output, attention_probs
from mmrobust.ops.attention_diversification import (
    ADL_MODES,
    KeptRows,
    attention_diversification,
    attention_diversification_reference,
    diversified_attention,
    kept_rows,
)
from mmrobust.ops.attention_diversification_kernels import gradients_made
from mmrobust.ops.contiguous_gradient import contiguous_gradient
from mmrobust.ops.token_pooling import (
    dilated_windows,
    kernel_windows,
    weighted_avg_pool,
    weighted_avg_pool_reference,
)

__all__ = [
    'ADL_MODES',
    'Attention',
    'KeptRows',
    'attention_diversification',
    'attention_diversification_reference',
    'attention_output',
    'attention_probs',
    'contiguous_gradient',
    'dilated_windows',
    'diversified_attention',
    'gradients_made',
    'kept_rows',
    'kernel_windows',
    'weighted_avg_pool',
    'weighted_avg_pool_reference',
]

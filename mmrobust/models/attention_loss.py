"""Shared by the task models with a loss on attention."""

import inspect

from torch import nn

from mmrobust.registry import MODELS


def build_attention_loss(loss_attn: dict | None, backbone: nn.Module) -> nn.Module | None:
    """Build a loss on the attention of a backbone; None stays None.

    Raises:
        TypeError: the backbone's attention cannot be observed.
    """
    if loss_attn is None:
        return None
    if 'observe' not in inspect.signature(backbone.forward).parameters:
        raise TypeError(
            f'loss_attn needs a backbone whose attention can be observed, such as mmrobust.FAN; '
            f'{type(backbone).__name__} has no `observe` argument'
        )
    return MODELS.build(loss_attn)

"""Parameters and multiply-accumulate operations (MACs) of a model.

One MAC is one multiplication and one addition, that is two FLOPs; papers on vision transformers print MACs under the
name FLOPs. PyTorch counts them from shapes alone: convolutions and matrix products, attention's two included; not
pooling, normalisation, activations and resizing.
"""

import torch
from mmengine.config import Config
from mmengine.model import revert_sync_batchnorm
from mmengine.registry import MODELS, DefaultScope
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode


def build(config: Config) -> nn.Module:
    """The model of a config, with random weights."""
    with DefaultScope.overwrite_default_scope(config.get('default_scope') or 'mmseg'):
        return MODELS.build(config.model)


def count(model: nn.Module, shape: tuple[int, int]) -> dict[str, tuple[int, int]]:
    """Return ``(parameters, MACs)`` of each direct part of a model, and of the ``'whole'``, for one RGB input.

    Args:
        model (nn.Module): a model whose ``forward`` takes a batch of images.
        shape (tuple[int, int]): height and width in pixels.
    """
    model = revert_sync_batchnorm(model).to('meta').eval().requires_grad_(False)  # or PyTorch's counter fails on PiT
    # every fused attention kernel has a formula on some devices only; the plain one is two matrix products everywhere
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), counter:
        model(torch.empty(1, 3, *shape, device='meta'))
    flops = {name: sum(counts.values()) for name, counts in counter.get_flop_counts().items()}

    def flops_of(module: nn.Module, path: str) -> int:
        # MMSegmentation calls ``decode_head.forward``, past the hooks that count for a module: sum its parts instead
        if path in flops:
            return flops[path]
        return sum(flops_of(child, f'{path}.{name}') for name, child in module.named_children())

    rows = {}
    for name, part in model.named_children():
        rows[name] = parameters_of(part), flops_of(part, f'{type(model).__name__}.{name}') // 2
    rows['whole'] = parameters_of(model), flops['Global'] // 2
    return rows


def parameters_of(module: nn.Module) -> int:
    """Number of parameters, trained or not."""
    return sum(parameter.numel() for parameter in module.parameters())

"""Half the bits and compiled code: what makes a network faster and changes its numbers by rounding at most."""

import warnings
from collections.abc import Callable

import torch
from torch import nn
from torch._dynamo.exc import TorchDynamoException

__all__ = ['compile_forward', 'low_precision']


def low_precision(device: str | torch.device) -> torch.dtype:
    """The type for autocast on a device: bfloat16, or float16 on a GPU whose arithmetic has no bfloat16."""
    device = torch.device(device)
    if device.type != 'cuda':
        return torch.bfloat16
    with torch.cuda.device(device):
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16


def compile_forward(model: nn.Module) -> None:
    """Compile backbone and decode heads of a model, or the network of MMPretrain's ``TimmClassifier``, in place.

    Names of weights stay what they are. ``nn.Module.compile`` would not do: it replaces ``__call__``, and
    MMSegmentation calls a decode head's ``forward``. A deep copy that is made afterwards computes with the weights of
    the original.

    Every shape of the input is compiled anew, at its first call. If that fails, there is one warning, and the part goes
    on as it was.

    Raises:
        TypeError: the model has none of these parts.
    """
    parts = []
    for name in ('backbone', 'decode_head') if hasattr(model, 'backbone') else ('model',):
        part = getattr(model, name, None)
        parts += part if isinstance(part, nn.ModuleList) else [part]  # a cascade has several heads
    parts = [part for part in parts if isinstance(part, nn.Module)]
    if not parts:
        raise TypeError(f'a model to compile must have a backbone, got {type(model).__name__}: leave compiling out')
    for part in parts:
        part.forward = _compiled(part.forward, type(part).__name__)


def _compiled(eager: Callable, name: str) -> Callable:
    """A function that is compiled at its first call, or given up with one warning if it cannot be."""
    run = eager

    def give_up(error: Exception) -> None:
        nonlocal run
        run = eager
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        warnings.warn(f'{name} cannot be compiled ({reason}): it runs as it is, slower.', stacklevel=3)

    try:
        run = torch.compile(eager, dynamic=False)
    except RuntimeError as error:  # there is no compiler for this system or this Python
        give_up(error)

    def forward(*args, **kwargs):
        try:
            return run(*args, **kwargs)
        except TorchDynamoException as error:
            give_up(error)
            return eager(*args, **kwargs)

    return forward

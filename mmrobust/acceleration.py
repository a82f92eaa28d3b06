"""Autocast and compiled code: faster networks whose numbers change by rounding at most."""

import functools
import itertools
import warnings
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import _dynamo as dynamo
from torch import nn
from torch._dynamo.exc import TorchDynamoException

_VARIANTS = 64  # of a method, until torch.compile gives up and runs it as it is


def computes_in_bfloat16(device: str | torch.device) -> bool:
    """Whether a device computes in bfloat16: an older GPU of NVIDIA emulates it, slower than float32."""
    if torch.device(device).type != 'cuda' or torch.version.hip is not None:
        return True
    return torch.cuda.get_device_capability(device) >= (8, 0)


def low_precision(device: str | torch.device) -> torch.dtype:
    """The type for autocast on a device: bfloat16, or float16 on a GPU whose arithmetic has no bfloat16."""
    return torch.bfloat16 if computes_in_bfloat16(device) else torch.float16


def networks(model: nn.Module, names: Iterable[str]) -> dict[str, list[nn.Module]]:
    """The parts of a model by name, without those that it does not have; a list of modules, one by one."""
    found = {name: getattr(model, name, None) for name in names}
    return {
        name: [*part] if isinstance(part, nn.ModuleList) else [part]  # a cascade has several heads
        for name, part in found.items()
        if isinstance(part, nn.Module)
    }


def compile_forward(model: nn.Module) -> None:
    """Compile backbone and decode heads of a model, or the network of MMPretrain's ``TimmClassifier``, in place.

    Names of weights stay what they are, and copies that are made afterwards are not compiled. ``nn.Module.compile``
    would not do: it replaces ``__call__``, and MMSegmentation calls a decode head's ``forward``.

    Every shape of the input is compiled anew, at its first call. If that fails, there is one warning, and the part goes
    on as it was.

    Raises:
        TypeError: the model has none of these parts.
    """
    parts = networks(model, ('backbone', 'decode_head') if hasattr(model, 'backbone') else ('model',))
    if not parts:
        raise TypeError(f'a model to compile must have a backbone, got {type(model).__name__}: leave compiling out')
    for part in itertools.chain(*parts.values()):
        part.forward = _Replacement(part.forward, _compiled_if_possible(part.forward, type(part).__name__))


def compile_in_training(module: nn.Module, whole: bool = False, **options: Any) -> None:
    """Compile ``module.forward`` in place, for calls in training mode.

    A module with ``methods_to_compile()``, which gives pairs of a module and the name of a method, gets these compiled
    in place of its ``forward``: blocks that are alike are compiled once, and not once each.

    The module stays what it was: of the same class, keys and signature, and its copies are not compiled.

    Args:
        module: nothing happens where this was done before.
        whole: compile ``forward`` in any case: blocks are fused with each other, and compiling takes several times as
            long.
        **options: of ``torch.compile``.
    """
    methods = [(module, 'forward')]
    if not whole and hasattr(module, 'methods_to_compile'):
        methods = module.methods_to_compile()
        # blocks that differ in a number, such as their drop path rate, are compiled one by one after all
        dynamo.config.recompile_limit = max(dynamo.config.recompile_limit, _VARIANTS)
    for owner, name in methods:
        eager = getattr(owner, name)
        if not isinstance(eager, _Replacement):
            setattr(owner, name, _Replacement(eager, _in_training(eager, torch.compile(eager, **options))))


def _in_training(eager: Callable[..., Any], compiled: Callable[..., Any]) -> Callable[..., Any]:
    return lambda *args, **kwargs: (compiled if eager.__self__.training else eager)(*args, **kwargs)


class _Replacement:
    """Stands in for a bound method; copied or pickled, it becomes the plain method again."""

    def __init__(self, method: Callable[..., Any], run: Callable[..., Any]) -> None:
        functools.update_wrapper(self, method)
        self._method, self._run = method, run

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._run(*args, **kwargs)

    def __reduce__(self) -> tuple:
        return self._method.__reduce__()


def _compiled_if_possible(eager: Callable[..., Any], name: str) -> Callable[..., Any]:
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

    def forward(*args: Any, **kwargs: Any) -> Any:
        try:
            return run(*args, **kwargs)
        except TorchDynamoException as error:
            give_up(error)
            return eager(*args, **kwargs)

    return forward

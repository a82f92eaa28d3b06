"""Recomputes activations in the backward pass instead of keeping them."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint

from mmrobust.ops import gradients_made


def recompute(
    function: Callable[..., Any], *args: Any, norms: nn.Module | None = None, random: bool = True, **kwargs: Any
) -> Any:
    """``function(*args, **kwargs)``, of which only the arguments are kept, and which each backward pass runs again.

    Non-reentrant activation checkpointing: the reentrant kind gives an observed loss a gradient of exactly zero.
    Differs from plain ``torch.utils.checkpoint`` in that later runs leave the running statistics of batch norms as they
    are; there every step would count twice in them.

    Args:
        function: a module, or a function of tensors.
        *args: its arguments.
        norms: the module in which ``function`` may use batch norms.
        random: whether ``function`` draws random numbers, as dropout does; they are the same in every run.
        **kwargs: its keyword arguments.
    """
    if not torch.is_grad_enabled() or torch.jit.is_tracing():  # a trace keeps its own activations
        return function(*args, **kwargs)
    run = function
    # the compiler needs no context: it stores what batch norms found in the first run only
    if not torch.compiler.is_compiling():
        runs = count()

        def run(*args: Any, **kwargs: Any) -> Any:
            # a context for each run: with retain_graph there are several backward passes
            later = next(runs) > 0
            with gradients_made(later), _running_statistics_kept(norms if later else None):
                return function(*args, **kwargs)

    return checkpoint(run, *args, use_reentrant=False, preserve_rng_state=random, **kwargs)


@contextmanager
def _running_statistics_kept(module: nn.Module | None) -> Iterator[None]:
    """Batch norms within normalise by the batch as before, and do not count it."""
    modules = () if module is None else module.modules()
    norms = [one for one in modules if isinstance(one, _BatchNorm) and one.training]
    before = [(one.momentum, one.num_batches_tracked) for one in norms]
    for one in norms:
        one.momentum, one.num_batches_tracked = 0.0, None
    try:
        yield
    finally:
        for one, (momentum, num_batches_tracked) in zip(norms, before, strict=True):
            one.momentum, one.num_batches_tracked = momentum, num_batches_tracked

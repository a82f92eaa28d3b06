"""The model that a run trains, for hooks that look at it."""

from collections.abc import Iterator
from contextlib import contextmanager

from mmengine.model import is_model_wrapper
from mmengine.runner import Runner
from torch import nn


def trained_model(runner: Runner) -> nn.Module:
    """The model of a run, out of the wrapper that a distributed run puts around it."""
    return runner.model.module if is_model_wrapper(runner.model) else runner.model


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Put a model in evaluation mode, and afterwards back in the mode that it was in."""
    was_training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(was_training)

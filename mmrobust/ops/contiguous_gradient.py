"""A guard against a wrong gradient of PyTorch."""

import torch
from torch import Tensor


class _ContiguousGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor) -> Tensor:
        return x.view_as(x)

    @staticmethod
    def backward(ctx, grad: Tensor) -> Tensor:
        return grad.clone(memory_format=torch.contiguous_format)


def contiguous_gradient(x: Tensor) -> Tensor:
    """``x`` itself, whose gradient is copied into contiguous memory: between a batch norm and a change to tokens.

    On a CPU the backward pass of ``BatchNorm2d`` in evaluation mode is wrong for a single image if the gradient comes
    with the memory of ``(1, N, C)`` tokens (seen with torch 2.14). Frozen norms at batch 1 and attacks would suffer.
    """
    return _ContiguousGradient.apply(x)

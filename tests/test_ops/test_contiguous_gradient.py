import pytest
import torch
from torch import nn

from mmrobust.ops import contiguous_gradient


@pytest.mark.parametrize('batch', [1, 2])
def test_batch_norm_in_evaluation_mode(batch):
    """The gradient of a frozen norm is the incoming one times weight / sqrt(var + eps), whatever its memory."""
    norm = nn.BatchNorm2d(16).double().eval()
    norm.running_var.uniform_(0.5, 2)
    nn.init.uniform_(norm.weight)
    images = torch.randn(batch, 16, 3, 5, dtype=torch.float64, requires_grad=True)
    incoming = torch.randn(batch, 15, 16, dtype=torch.float64)
    out = contiguous_gradient(norm(images))
    assert torch.equal(out, norm(images))
    out.flatten(2).transpose(1, 2).backward(incoming)
    factor = (norm.weight / (norm.running_var + norm.eps).sqrt()).view(-1, 1, 1)
    torch.testing.assert_close(images.grad, incoming.transpose(1, 2).unflatten(2, (3, 5)) * factor)


def test_gradients_of_gradients():
    x = torch.randn(2, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(contiguous_gradient, x) and torch.autograd.gradgradcheck(contiguous_gradient, x)

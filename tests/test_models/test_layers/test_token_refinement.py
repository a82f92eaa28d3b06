import pytest
import torch
from torch import nn

from mmrobust.models.layers import TokenRefinement

DIMS, BLOCKS, TOKENS, RANK = 6, 3, 5, 2


def _layer(fresh=False):
    torch.manual_seed(0)
    layer = TokenRefinement(DIMS, BLOCKS, TOKENS, RANK)
    if not fresh:
        for parameter in layer.parameters():
            nn.init.normal_(parameter, std=1.0)
    return layer.double()


def _plain(layer, x, block):
    """The formula, patch by patch and token by token."""
    w = dict(layer.named_parameters())
    tokens = [sum(w['factors_a'][block, m, r] * w['factors_b'][block, r] for r in range(RANK)) for m in range(TOKENS)]
    out = []
    for image in x:
        for feature in image:
            scores = torch.stack([(feature * token).sum() / DIMS**0.5 for token in tokens]).exp()
            shares = scores / scores.sum()
            message = 0
            for m in range(1, TOKENS):
                message = message + shares[m] * (w['to_message.weight'] @ tokens[m] + w['to_message.bias'])
            out.append(feature + w['to_change.weight'] @ (message + feature) + w['to_change.bias'])
    return torch.stack(out).view_as(x)


@pytest.mark.parametrize('block', range(BLOCKS))
def test_value_and_gradient_of_the_plain_formula(block):
    layer = _layer()
    x = torch.randn(2, 4, DIMS, dtype=torch.float64, requires_grad=True)
    results = []
    for forward in (layer, lambda *args: _plain(layer, *args)):
        out = forward(x, block)
        results.append((out, *torch.autograd.grad((out**2).sum(), [x, *layer.parameters()])))
    torch.testing.assert_close(results[0], results[1])
    of_other_blocks = torch.arange(BLOCKS) != block
    for gradient in results[0][2:4]:  # of the factors
        assert not gradient[of_other_blocks].any() and gradient[block].abs().sum() > 0


def test_a_new_layer_changes_nothing_and_learns_with_all_of_its_parts():
    layer = _layer(fresh=True)
    x = torch.randn(2, 4, DIMS, dtype=torch.float64)
    before = [parameter.detach().clone() for parameter in layer.parameters()]
    assert all(torch.equal(layer(x, block), x) for block in range(BLOCKS))
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.1)
    for _ in range(2):
        optimizer.zero_grad()
        out = x
        for block in range(BLOCKS):
            out = layer(out, block)
        out.sin().sum().backward()
        optimizer.step()
    assert not any((old == new).all() for old, new in zip(before, layer.parameters(), strict=True))
    assert not torch.equal(layer(x, 0), x)


def test_tokens_start_with_a_length_near_1():
    torch.manual_seed(0)
    layer = TokenRefinement(256, 2, 50, 16)
    lengths = (layer.factors_a @ layer.factors_b).norm(dim=-1)
    assert 0.8 < lengths.mean() < 1.2


def test_number_of_parameters():
    """Of the paper's numbers of tokens and ranks in a ViT-L."""
    with torch.device('meta'):
        layer = TokenRefinement(1024, 24, 100, 16)
    expected = 24 * 16 * (100 + 1024) + 2 * (1024 * 1024 + 1024)
    assert sum(parameter.numel() for parameter in layer.parameters()) == expected == 2_530_816


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        ({'num_tokens': 1}, 'num_tokens of TokenRefinement must be at least 2, got 1'),
        ({'rank': 0}, 'rank of TokenRefinement must be at least 1, got 0'),
    ],
)
def test_bad_arguments(options, message):
    with pytest.raises(ValueError, match=message):
        TokenRefinement(8, 2, **options)

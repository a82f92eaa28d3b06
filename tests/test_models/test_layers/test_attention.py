import pytest
import torch

from mmrobust.models.layers import AttentionView, ClassAttentionBlock, PatchTokenPath, SelfAttention, attend
from mmrobust.models.losses import AttentionDiversificationLoss
from mmrobust.ops import Attention


def test_output_equals_explicit_attention():
    torch.manual_seed(0)
    layer = SelfAttention(12, num_heads=3)
    x = torch.randn(2, 7, 12)
    y, view = layer(x, (1, 7), observe=lambda view: view)
    value = layer.kv(x)[..., 12:].view(2, 7, 3, 4).transpose(1, 2)
    expected = layer.proj((view.probs() @ value).transpose(1, 2).flatten(2))
    torch.testing.assert_close(y, expected)
    torch.testing.assert_close(layer(x, (1, 7))[0], y)


@pytest.mark.parametrize('dtype', [torch.float32, torch.float64, torch.bfloat16])
def test_gate_is_multiplied_onto_the_scores(dtype):
    layer = SelfAttention(12, num_heads=3).to(dtype)
    torch.nn.init.normal_(layer.q.weight)
    x = torch.randn(2, 7, 12, dtype=dtype)
    gate = torch.rand(3, 7, 7, dtype=dtype)
    y, view = layer(x, (1, 7), observe=lambda view: view, gate=gate)
    value = layer.kv(x)[..., 12:].view(2, 7, 3, 4).transpose(1, 2)
    probs = ((view.attention.query @ view.attention.key.transpose(2, 3)) * gate).softmax(-1)
    assert y.dtype == dtype
    tolerance = dict(rtol=5e-2, atol=5e-2) if dtype == torch.bfloat16 else {}
    torch.testing.assert_close(y, layer.proj((probs @ value).transpose(1, 2).flatten(2)), **tolerance)
    torch.testing.assert_close(view.probs().to(dtype), probs, **tolerance)
    assert torch.equal(layer(x, (1, 7), gate=gate)[0], y)
    assert not torch.allclose(layer(x, (1, 7))[0], y, atol=1e-2)


def test_gate_of_ones_equals_no_gate():
    layer = SelfAttention(12, num_heads=3)
    x = torch.randn(2, 7, 12)
    torch.testing.assert_close(layer(x, (1, 7), gate=torch.ones(3, 7, 7))[0], layer(x, (1, 7))[0])


def test_view_rows_are_rows_of_the_map():
    torch.manual_seed(0)
    tokens, gate, bias = torch.randn(2, 2, 3, 6, 4), torch.rand(3, 6, 6), torch.randn(3, 6, 6)
    view = AttentionView(Attention(*tokens, gate, bias), (2, 3))
    torch.testing.assert_close(view.rows(2, 5), view.probs()[:, :, 2:5])
    torch.testing.assert_close(view.probs().sum(-1), torch.ones(2, 3, 6))


def test_view_is_scaled():
    layer = SelfAttention(8, num_heads=2)
    x = torch.randn(1, 3, 8)
    _, view = layer(x, (1, 3), observe=lambda view: view)
    torch.testing.assert_close(view.attention.query, layer.q(x).view(1, 3, 2, 4).transpose(1, 2) / 2)


@pytest.mark.parametrize(('hw_shape', 'num_prefix_tokens'), [((2, 3), 0), ((3, 3), 1), ((2, 3), 2)])
def test_grid_that_is_not_that_of_the_tokens(hw_shape, num_prefix_tokens):
    attention = Attention(*torch.randn(2, 1, 1, 7, 4))
    AttentionView(attention, (2, 3), 1).check_grid()
    AttentionView(attention, (1, 7)).check_grid()
    rows, columns = hw_shape
    with pytest.raises(ValueError, match=f'make up its 7 tokens, got {num_prefix_tokens} and {rows} x {columns};'):
        AttentionView(attention, hw_shape, num_prefix_tokens).check_grid()


def test_not_observed_is_none():
    assert SelfAttention(8, 2)(torch.randn(1, 3, 8), (1, 3))[1] is None


def test_heads_must_divide_channels():
    with pytest.raises(ValueError, match='got 10 and 4'):
        SelfAttention(10, 4)


class _WithOutput:
    """Like ADL's ``layer_term``: takes over the output as well."""

    def __call__(self, view):
        return 'observed'

    def with_output(self, view, value):
        return view.probs() @ value + 1, 'both'


def test_an_observer_may_make_the_output_too():
    query, key, value = torch.randn(3, 2, 3, 6, 4)
    view = AttentionView(Attention(query, key), (2, 3))
    out, aux = attend(view, value, observe=_WithOutput())
    assert aux == 'both'
    torch.testing.assert_close(out - 1, attend(view, value)[0])


def test_with_dropout_the_observer_makes_no_output():
    """It could not know what is dropped."""
    query, key, value = torch.randn(3, 2, 3, 6, 4)
    view = AttentionView(Attention(query, key), (2, 3))
    out, aux = attend(view, value, dropout=0.5, observe=_WithOutput())
    assert aux == 'observed'
    assert not torch.allclose(out, attend(view, value)[0])


@pytest.mark.parametrize('gate', [None, torch.linspace(0.5, 1.5, 147).view(3, 7, 7)])
def test_adl_changes_nothing_of_the_output(gate):
    torch.manual_seed(0)
    layer = SelfAttention(12, num_heads=3)
    torch.nn.init.normal_(layer.q.weight)
    x = torch.randn(2, 7, 12)
    y, term = layer(x, (1, 7), observe=AttentionDiversificationLoss(tau=1.0).layer_term, gate=gate)
    torch.testing.assert_close(y, layer(x, (1, 7), gate=gate)[0])
    assert term > 0


def test_patch_path_is_what_the_block_does_to_patches():
    torch.manual_seed(0)
    block = ClassAttentionBlock(8, num_heads=2, mlp_ratio=4)
    torch.nn.init.normal_(block.gamma1)
    path = PatchTokenPath(8)
    path.load_state_dict({key: block.state_dict()[key] for key in path.state_dict()})
    x = torch.randn(2, 5, 8)
    torch.testing.assert_close(path(x[:, 1:]), block(x)[:, 1:])


def test_class_token_attends_to_all_tokens():
    torch.manual_seed(0)
    attention = ClassAttentionBlock(8, num_heads=2, mlp_ratio=4).attn
    x = torch.randn(1, 5, 8)
    query, key, value = attention.q(x[:, :1]), attention.k(x), attention.v(x)
    heads = []
    for head in (slice(0, 4), slice(4, 8)):
        probs = (query[..., head] @ key[..., head].transpose(1, 2) / 2).softmax(-1)
        heads.append(probs @ value[..., head])
    torch.testing.assert_close(attention(x), attention.proj(torch.cat(heads, -1)))

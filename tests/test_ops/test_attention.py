import torch

from mmrobust.ops import Attention, attention_probs


def test_gate_multiplies_and_bias_adds():
    torch.manual_seed(0)
    query, key = torch.randn(2, 3, 4, 5), torch.randn(2, 3, 6, 5)
    gate, bias = torch.rand(3, 4, 6), torch.randn(3, 4, 6)
    expected = torch.exp(torch.einsum('bhqd,bhkd->bhqk', query, key) * gate + bias)
    expected = expected / expected.sum(-1, keepdim=True)
    torch.testing.assert_close(attention_probs(Attention(query, key, gate, bias)), expected)


def test_is_float32_inside_autocast():
    with torch.autocast('cpu', torch.bfloat16):
        probs = attention_probs(Attention(*torch.randn(2, 1, 1, 3, 2).bfloat16()))
    assert probs.dtype == torch.float32
    torch.testing.assert_close(probs.sum(-1), torch.ones(1, 1, 3))

"""Activation checkpointing, gradient accumulation, channels-last memory, bfloat16 and compilation, all at once."""

import pytest
import torch

from mmrobust.models import FAN, AttentionDiversificationLoss

ARCH = dict(embed_dims=16, depth=2, num_heads=2, stem_depths=(1, 1), feature_blocks=(1,))


def _gradients(with_cp=False, accumulate=1, channels_last=False, bfloat16=False, compiled=False):
    """Of a loss on the features and ADL, over a batch of four."""
    torch.manual_seed(0)
    # norms of fixed statistics: else the parts of a batch would be normed differently
    backbone = FAN(ARCH, dict(num_branches=3), with_cp=with_cp, norm_eval=True)
    for block in backbone.blocks:
        for projection in (block.attn.q, block.attn.kv):
            torch.nn.init.normal_(projection.weight)
    images = torch.randn(4, 3, 64, 96)
    if channels_last:
        backbone, images = backbone.to(memory_format=torch.channels_last), images.to(memory_format=torch.channels_last)
    forward = torch.compile(backbone, backend='aot_eager', fullgraph=True) if compiled else backbone
    adl, terms_of_parts = AttentionDiversificationLoss(tau=1.0), []
    for part in images.chunk(accumulate):
        with torch.autocast('cpu', torch.bfloat16, enabled=bfloat16):
            outs, terms = forward(part, adl.layer_term)
        loss = adl(terms) + sum(out.float().square().mean() for out in outs)
        (loss / accumulate).backward()
        terms_of_parts.append(torch.stack(terms).detach())
    assert torch.stack(terms_of_parts).min() > 0.01
    return {name: parameter.grad for name, parameter in backbone.named_parameters()}


def _assert_equal(got, wanted, bfloat16):
    if bfloat16:  # the direction of the whole gradient survives 8 bits, that of a part which is next to 0 does not
        both = [torch.cat([grads[name].flatten() for name in wanted]) for grads in (got, wanted)]
        assert torch.cosine_similarity(*both, dim=0) > 0.995
        return
    for name, want in wanted.items():
        torch.testing.assert_close(got[name], want, rtol=1e-3, atol=1e-4 * want.abs().max().item() + 1e-7)


@pytest.fixture(scope='module')
def plain():
    return _gradients()


@pytest.mark.parametrize('with_cp', [False, True])
@pytest.mark.parametrize('accumulate', [1, 2, 4])
@pytest.mark.parametrize('channels_last', [False, True])
@pytest.mark.parametrize('bfloat16', [False, True])
def test_eager(plain, with_cp, accumulate, channels_last, bfloat16):
    _assert_equal(_gradients(with_cp, accumulate, channels_last, bfloat16), plain, bfloat16)


@pytest.mark.slow
@pytest.mark.parametrize('with_cp', [False, True])
@pytest.mark.parametrize('bfloat16', [False, True])
def test_compiled(plain, with_cp, bfloat16):
    torch._dynamo.reset()
    _assert_equal(_gradients(with_cp, 2, True, bfloat16, compiled=True), plain, bfloat16)

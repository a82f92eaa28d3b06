"""The analysis of 1024 x 1024 images takes little memory besides the model's own."""

import os

import pytest
import torch

from mmrobust.analysis import AttentionStatistics
from mmrobust.models import FAN
from performance.measure import in_own_process, measure


def _peaks() -> tuple[int, int]:
    """Peak bytes of a pass without the analysis, and with it."""
    arch = dict(embed_dims=448, depth=2, num_heads=8, stem_depths=(1, 1), feature_blocks=(1,))
    backbone = FAN(arch, dict(num_branches=4)).eval().requires_grad_(False)
    images = torch.randn(2, 3, 1024, 1024)
    statistics = AttentionStatistics(paired=True)
    own = measure(lambda: backbone(images, lambda view: None), repeats=1).peak_bytes
    return own, measure(lambda: backbone(images, statistics), repeats=1, warmup=0).peak_bytes


@pytest.mark.slow
@pytest.mark.skipif(not os.access('/proc/self/clear_refs', os.W_OK), reason='the system does not tell peak memory')
@pytest.mark.skipif(torch.cuda.is_available(), reason='counts the memory of the device instead')
def test_4096_tokens_take_less_than_half_a_gib():
    """A whole map of the 2 x 8 heads alone would be 1 GiB, and every statistic would need several."""
    own, analysed = in_own_process(_peaks)
    assert own > 2**28  # it has been measured
    assert analysed - own < 2**29

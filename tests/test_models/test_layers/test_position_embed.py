import math

import torch

from mmrobust.models.layers import FourierPositionEmbed


def test_equals_the_formula_pairwise():
    torch.manual_seed(0)
    for paired in (True, False):
        layer = FourierPositionEmbed(64, paired)
        layer.token_projection.weight.data = torch.eye(64).view(64, 64, 1, 1)
        layer.token_projection.bias.data.zero_()
        code = layer((3, 5))[0].view(3, 5, 64)
        for row, column, channel in ((0, 0, 0), (2, 4, 7), (1, 3, 30), (1, 3, 31), (2, 1, 37), (0, 4, 62)):
            index, position = channel % 32, (row + 1) / 3 if channel < 32 else (column + 1) / 5
            exponent = 2 * (index // 2) / 32 if paired else index / 32
            angle = position * 2 * math.pi / 10000**exponent
            expected = math.sin(angle) if index % 2 == 0 else math.cos(angle)
            assert abs(code[row, column, channel].item() - expected) < 1e-5

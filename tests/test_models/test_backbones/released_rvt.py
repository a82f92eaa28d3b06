"""The released layout of RVT's weights, spelled out the other way round than the converter does."""

import torch

# two stages and every option, for images of a few dozen pixels
TINY_RVT = dict(embed_dims=(16, 32), depth=(2, 1), num_heads=(2, 4), scaled_blocks=1)


def as_released_rvt(state_dict, depths):
    """Our names and values as in a released classifier; inverse of the converter, written independently."""
    released = {}
    for key, value in state_dict.items():
        parts = key.split('.')
        if parts[0] == 'patch_embed':
            parts.insert(1, 'proj')
        elif parts[0] == 'blocks':
            stage, index = 0, int(parts[1])
            while index >= depths[stage]:
                index -= depths[stage]
                stage += 1
            parts[:2] = ['transformers', str(stage), 'blocks', str(index)]
            if parts[4] == 'position_scaling':
                parts[4:] = ['attn', 'att_mask']
            elif parts[4] == 'tap':
                parts[4:6] = ['dilation_predictor', 'proj']
            elif parts[4:6] == ['attn', 'kv']:
                continue
            elif parts[4:6] == ['attn', 'q']:
                parts[5] = 'qkv'
                value = torch.cat((value, state_dict[key.replace('.q.', '.kv.')]))
        released['.'.join(parts)] = value
    return released

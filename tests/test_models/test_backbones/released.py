"""The released layout of FAN's weights, spelled out the other way round than the converter does."""

import math


def as_released(state_dict):
    """Our names and values as in a released classifier; inverse of the converter, written independently."""
    released = {}
    for key, value in state_dict.items():
        parts = key.split('.')
        if key.startswith('patch_embed.stem'):
            parts.insert(1, 'backbone')
        elif key.startswith('patch_embed.downsample'):
            parts[1:2] = ['backbone', 'stages', '1', 'downsample']
            if parts[-2:] == ['0', 'weight']:
                value = value / math.sqrt((value.numel() - 1) / value.numel())
        elif key.startswith('patch_embed.stages'):
            parts = ['patch_embed', 'backbone', 'stages', parts[2], 'blocks', *parts[3:]]
            if 'fc1' in parts or 'fc2' in parts:
                parts.insert(6, 'mlp')
                value = value[..., None, None] if value.dim() == 2 else value
            elif parts[-2:] == ['norm', 'weight']:
                value = value / math.sqrt((value.numel() - 1) / value.numel())
        elif key.startswith('patch_embed.') and parts[1].isdigit():
            parts.insert(1, 'proj')
        elif '.tap.predictor.' in key:
            parts[2:4] = ['dilation_predictor', 'proj']
        elif key.startswith('cls_attn_blocks') and parts[2] == 'mlp':
            parts[3] = {'0': 'fc1', '2': 'fc2'}[parts[3]]
        released['.'.join(parts)] = value
    return released

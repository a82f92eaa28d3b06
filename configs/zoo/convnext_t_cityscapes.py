"""ConvNeXt-T with UPerNet on Cityscapes: paper Table IV, row "ConvNeXt-T".

The paper does not say which head; UPerNet is the one of ConvNeXt's paper, which publishes no weights for Cityscapes.
"""

_base_ = 'swin_t_cityscapes.py'

model = dict(
    backbone=dict(
        _delete_=True,
        type='mmpretrain.ConvNeXt',
        arch='tiny',
        out_indices=(0, 1, 2, 3),
        drop_path_rate=0.4,
        layer_scale_init_value=1.0,
        gap_before_final_norm=False,
    ),
)

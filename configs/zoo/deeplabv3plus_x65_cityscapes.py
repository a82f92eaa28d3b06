"""DeepLabv3+ with Xception-65 on Cityscapes: paper Table IV, row "DeepLabv3+ (X65)".

The network of DeepLab's model zoo at output stride 16, with timm's Xception and MMSegmentation's ASPP. Its published
weights are for TensorFlow 1.
"""

_base_ = [
    'mmseg::_base_/models/deeplabv3plus_r50-d8.py',
    '../_base_/datasets/cityscapes_1024x1024.py',
    '../_base_/schedules/adamw_160k.py',
    '../_base_/runtime_seg.py',
]

model = dict(
    data_preprocessor=dict(size=(1024, 1024)),
    pretrained=None,
    backbone=dict(
        _delete_=True,
        type='TIMMBackbone',
        model_name='xception65',
        pretrained=False,
        features_only=True,
        output_stride=16,
        out_indices=(1, 4),  # stride 4 for the decoder, stride 16
    ),
    decode_head=dict(in_index=1, channels=256, dilations=(1, 6, 12, 18), c1_in_channels=256),
    auxiliary_head=None,
)

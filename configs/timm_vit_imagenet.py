r"""Any VisionTransformer of timm on ImageNet: to train from its weights, with TAP and ADL, and to observe it.

Another network, and its weights as timm saves them, or `model.backbone.pretrained=True` for what timm downloads:

    python tools/train.py configs/timm_vit_imagenet.py --cfg-options model.backbone.model_name=deit3_small_patch16_224 \
        model.backbone.init_cfg.type=Pretrained model.backbone.init_cfg.checkpoint=PATH \
        model.backbone.tap_cfg.type=mmrobust.TokenAwareAvgPool \
        model.loss_attn.type=mmrobust.AttentionDiversificationLoss
    python tools/test.py configs/timm_vit_imagenet.py PATH --cfg-options model.backbone.model_name=vit_tiny_patch16_224

Mean, std and the test's size are those that timm says for the network. The rest is DeiT's recipe from random
weights, as in deit_imagenet.py: to fine-tune, take a smaller learning rate. No run has been made with it.
"""

_base_ = './deit_imagenet.py'

model = dict(
    data_preprocessor=dict(mean='timm', std='timm'),
    backbone=dict(
        _delete_=True,
        type='mmrobust.TimmViT',
        model_name='vit_tiny_patch16_224',
        out_type='cls_token',
        drop_path_rate=0.1,
    ),
    head=dict(in_channels=None),  # the backbone's
)
test_pipeline = [
    dict(type='mmrobust.LoadImageFromFile'),
    dict(type='mmrobust.ResizeAndCropOfTimm'),
    dict(type='PackInputs'),
]
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = dict(dataset=dict(pipeline=test_pipeline))

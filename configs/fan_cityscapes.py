"""FAN-B-Hybrid on Cityscapes, the baseline: paper Table 4, row "FAN-B-Hybrid" (82.2 mIoU published).

Starts from ImageNet weights; give them with
    --cfg-options model.backbone.init_cfg.type=Pretrained model.backbone.init_cfg.checkpoint=PATH
(a released checkpoint or one of your own). The paper does not state its hardware; the released command uses 4 GPUs of
one 1024 x 1024 crop each.

    tools/dist_train.sh configs/fan_cityscapes.py 4
"""

_base_ = [
    '_base_/models/fan_base_hybrid_segformer.py',
    '_base_/datasets/cityscapes_1024x1024.py',
    '_base_/schedules/adamw_160k.py',
    '_base_/runtime_seg.py',
]

"""XCiT-S24/16 on ImageNet, trained without a teacher: paper Table III, row "XCiT-S24"."""

_base_ = '../timm_imagenet.py'

model = dict(model_name='xcit_small_24_p16_224.fb_in1k')
test_pipeline = [step if step.type != 'ResizeEdge' else dict(step, scale=224) for step in _base_.test_pipeline]
test_dataloader = dict(dataset=dict(pipeline=test_pipeline))

"""scikit-learn's handwritten digits at 128 x 128 pixels: 1442 images to train, 355 to test, 10 classes."""

data_root = 'data/digits/'
size = 128  # 8 x 8 tokens of 16 x 16 pixels

train_pipeline = [
    dict(type='mmrobust.LoadImageFromFile'),
    dict(type='RandomResizedCrop', scale=size, crop_ratio_range=(0.7, 1.0), interpolation='bicubic'),
    dict(type='PackInputs'),
]
test_pipeline = [
    dict(type='mmrobust.LoadImageFromFile'),
    dict(type='Resize', scale=(size, size), interpolation='bicubic'),
    dict(type='PackInputs'),
]

train_dataloader = dict(
    batch_size=32,
    num_workers=1,
    persistent_workers=True,
    drop_last=True,
    sampler=dict(type='mmrobust.SeededEpochSampler', shuffle=True),
    dataset=dict(
        type='mmrobust.ImageFolder', data_root=data_root + 'train', expected_classes=10, pipeline=train_pipeline
    ),
)
val_dataloader = dict(
    batch_size=64,
    num_workers=1,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(type='mmrobust.ImageFolder', data_root=data_root + 'val', expected_classes=10, pipeline=test_pipeline),
)
test_dataloader = val_dataloader

val_evaluator = dict(type='Accuracy', topk=(1,))
test_evaluator = val_evaluator

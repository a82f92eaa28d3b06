"""What an experiment consists of: images, model, recipe, arms, and what is measured. Fixed before the runs."""

import copy
from pathlib import Path
from typing import Any

from mmengine.config import Config

from experiment.arms import ADL, BASELINE, POOLING

CONFIGS = Path(__file__).resolve().parents[3] / 'configs'

#: The one number that decides, written down before the first run.
PRIMARY = 'change of the mean corrupted error against the baseline, seed by seed'

# The baseline has to show what TAP and ADL are against. Means over the last third of the layers, held-out images:
GATE_ADL = 0.3  # Eq. (2) of the paper at tau = 2
GATE_ACTIVE = 0.5  # share of rows with an entry above the threshold

SIZE = (512, 256)  # width and height of images of a config

#: ViT on 8 x 8 tokens; minutes a run on one CPU core.
CROPS = dict(
    model=dict(
        type='mmrobust.RobustImageClassifier',
        data_preprocessor=dict(num_classes=11, mean=[127.5] * 3, std=[127.5] * 3, to_rgb=True),
        backbone=dict(
            type='mmrobust.TimmViT',
            model_name='vit_tiny_patch16_224',
            img_size=32,
            patch_size=4,
            embed_dim=96,
            depth=6,
            num_heads=3,
            class_token=False,
            global_pool='avg',
            out_type='cls_token',
        ),
        head=dict(
            type='LinearClsHead',
            num_classes=11,
            in_channels=96,
            init_cfg=dict(type='TruncNormal', layer='Linear', std=0.02),
            loss=dict(type='CrossEntropyLoss'),
        ),
    ),
    recipe=dict(iters=300, batch_size=32, lr=1e-3, weight_decay=0.05, clip=1.0),
    data=dict(kind='crops', train_scenes=400, val_scenes=150, train_per_class=500, val_per_class=30),
    severities=(3,),
    attention_images=128,
    first=(BASELINE, *ADL),
    second=tuple(POOLING),
    follow_up=True,  # TAP + best ADL, and lambda 10 where ADL has little of the gradient
    seeds=5,
)

#: FAN-T on 128 tokens, for a GPU.
SCENES = dict(
    model=None,  # of a config
    recipe=dict(iters=2500, batch_size=32, lr=2e-3, weight_decay=0.01, clip=1.0),
    data=dict(kind='scenes', train_scenes=8000, val_scenes=200),
    severities=(3,),
    attention_images=64,
    first=(BASELINE, 'ADL official', 'TAP'),
    second=(),
    follow_up=False,
    seeds=3,
)

PROFILES = {'crops': CROPS, 'scenes': SCENES}


def profile_of(name: str, config: Config | None, overrides: dict[str, Any]) -> dict[str, Any]:
    """A profile with what the command line changes.

    Args:
        name: a name in ``PROFILES``.
        config: model and data set of one's own, or None.
        overrides: keys of ``recipe``, ``data`` or the profile itself; None leaves a value.

    Raises:
        ValueError: the profile has no such setting.
    """
    profile = copy.deepcopy(PROFILES[name])
    if config is not None:
        profile['data'] = dict(kind='config', train_images=None, val_images=None, size=list(SIZE))
    for key, value in overrides.items():
        part = next((part for part in (profile['recipe'], profile['data'], profile) if key in part), None)
        if value is not None and part is None:
            raise ValueError(f'the profile {name!r} has no setting {key!r}; leave it out')
        if value is not None:
            part[key] = value
    if profile['model'] is None:
        profile['model'] = (config or Config.fromfile(CONFIGS / 'fan_minicity.py')).model.to_dict()
    if config is not None:
        width, height = profile['data']['size']
        profile['model']['data_preprocessor']['size'] = (height, width)
        profile['model']['test_cfg'] = dict(mode='whole')
    return profile

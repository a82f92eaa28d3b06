"""Tiny robust models in float64, and one training step of them on this rank's share of a batch."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from mmengine.config import ConfigDict
from mmengine.dist import get_dist_info, is_distributed
from mmengine.model import BaseDataPreprocessor
from mmengine.registry import MODELS, DefaultScope
from mmengine.structures import PixelData
from mmpretrain.structures import DataSample
from mmseg.structures import SegDataSample
from torch import Tensor, nn

from mmrobust.engine.any_device import AnyDeviceDataParallel, BFloat16OptimWrapper

NUM_CLASSES = 5
SHARPENING = 6.0  # fresh weights attend almost uniformly, where ADL is 0
SIZE = (32, 64)


@dataclass(frozen=True)
class Case:
    """What is trained.

    ``norm`` is the type of every norm layer that could see the batch: GN does not, BN sees that of its rank.
    """

    task: str = 'segmentation'
    norm: str = 'GN'
    with_cp: bool = False
    dtype: torch.dtype = torch.float64
    autocast: bool = False
    adl: dict[str, Any] = field(default_factory=dict)
    decode: dict[str, Any] = field(default_factory=dict)
    num_images: int = 4


def build(case: Case) -> nn.Module:
    """The same weights on every rank and in every process, with attention that is sharp enough for ADL to see."""
    backbone = {
        'type': 'mmrobust.FAN',
        'tap_cfg': {'num_branches': 2, 'norm_cfg': _norm(case, num_groups=1)},
        'norm_cfg': _norm(case, num_groups=4),
        'with_cp': case.with_cp,
    }
    arch = {'embed_dims': 16, 'depth': 2, 'num_heads': 2, 'stem_depths': (1, 1)}
    adl = {'type': 'mmrobust.AttentionDiversificationLoss', 'tau': 1.0, **case.adl}
    if case.task == 'segmentation':
        head = {
            'type': 'mmrobust.FANSegformerHead',
            'in_channels': [128, 256, 16, 16],
            'in_index': [0, 1, 2, 3],
            'channels': 8,
            'num_classes': NUM_CLASSES,
            'norm_cfg': _norm(case, num_groups=4),
            'dropout_ratio': 0,
            'align_corners': False,
            'loss_decode': {'type': 'CrossEntropyLoss', **case.decode},
        }
        config = {
            'type': 'mmrobust.RobustEncoderDecoder',
            'backbone': backbone | {'arch': arch | {'feature_blocks': (1,)}},
            'decode_head': head,
            'train_cfg': {},
            'test_cfg': {'mode': 'whole'},
        }
    else:
        config = {
            'type': 'mmrobust.RobustImageClassifier',
            'backbone': backbone | {'arch': arch | {'feature_blocks': (0, 1)}, 'out_type': 'cls_token'},
            'head': {'type': 'LinearClsHead', 'num_classes': NUM_CLASSES, 'in_channels': 16},
        }
    torch.manual_seed(0)
    # MMEngine's data preprocessor leaves images in float64
    with DefaultScope.overwrite_default_scope('mmseg' if case.task == 'segmentation' else 'mmpretrain'):
        model = MODELS.build(ConfigDict(config, data_preprocessor=BaseDataPreprocessor(), loss_attn=adl))
    with torch.no_grad():
        for block in model.backbone.blocks:
            block.attn.q.weight *= SHARPENING
            block.attn.kv.weight *= SHARPENING
    model.is_init = True  # the runner would start from other weights
    return model.to(case.dtype).train()


def _norm(case: Case, num_groups: int) -> dict[str, Any]:
    return {'type': 'GN', 'num_groups': num_groups} if case.norm == 'GN' else {'type': case.norm}


def sample(task: str, index: int, ignored: float = 0.0) -> tuple[Tensor, SegDataSample | DataSample]:
    """An image ``(3, H, W)`` and its label, a function of ``index``; a share of the pixels is to be ignored."""
    rng = torch.Generator().manual_seed(index)
    image = torch.randn(3, *SIZE, generator=rng, dtype=torch.float64)
    if task == 'classification':
        return image, DataSample().set_gt_label(index % NUM_CLASSES)
    label = torch.randint(0, NUM_CLASSES, (1, *SIZE), generator=rng)
    label[torch.rand(1, *SIZE, generator=rng) < ignored] = 255
    return image, SegDataSample(
        gt_sem_seg=PixelData(data=label), metainfo={'img_shape': SIZE, 'ori_shape': SIZE, 'index': index}
    )


def share(case: Case, device: str = 'cpu') -> tuple[Tensor, list]:
    """This rank's images of the joint batch, every ``world_size``-th. The later ones have more pixels to ignore."""
    rank, world_size = get_dist_info()
    indices = range(rank, case.num_images, world_size)
    images, labels = zip(*(sample(case.task, index, 0.1 + 0.2 * index) for index in indices), strict=True)
    return torch.stack(images).to(device, case.dtype), [label.to(device) for label in labels]


def step(case: Case, device: str = 'cpu') -> tuple[dict[str, float], dict[str, np.ndarray]]:
    """The losses of this rank, and the gradients after the exchange."""
    model = build(case).to(device)
    wrapped = AnyDeviceDataParallel(model, device_ids=[0], broadcast_buffers=False) if is_distributed() else model
    images, labels = share(case, device)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    context = BFloat16OptimWrapper(optimizer=optimizer).optim_context(wrapped) if case.autocast else torch.enable_grad()
    with context:
        losses = wrapped(images, labels, mode='loss')
    total, log = model.parse_losses(losses)
    total.backward()
    gradients = {name: parameter.grad.cpu().numpy() for name, parameter in model.named_parameters()}
    return {name: value.item() for name, value in log.items() if 'loss' in name}, gradients

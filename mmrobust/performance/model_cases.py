"""A training step and a prediction of a segmentation config, on random pictures."""

from contextlib import nullcontext
from typing import Any, NamedTuple

import torch
from mmengine.device import get_device
from mmengine.model import revert_sync_batchnorm
from mmengine.registry import init_default_scope
from mmengine.structures import PixelData
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample
from torch import nn

from mmrobust import cli
from mmrobust.performance.measure import Measurement, measure
from mmrobust.performance.released_form import released_form

# A fresh network attends almost uniformly, where ADL is 0: its query and key weights are multiplied with this.
SHARPENING = 6.0


class Step(NamedTuple):
    """A training step, without the optimizer, and what shows that it was a real one."""

    measurement: Measurement
    losses: dict[str, float]
    without_gradient: list[str]  # parameters


def training_step(
    config: str, cfg_options: dict[str, Any], crop: int, batch_size: int, form: str, repeats: int, bf16: bool = False
) -> Step:
    """Forward and backward of ``batch_size`` random crops of ``crop`` x ``crop``.

    Args:
        config: config file of a segmentation model.
        cfg_options: settings to override.
        crop: pixels.
        batch_size: crops.
        form: ``'ours'``, ``'released'``, or ``'compiled'`` for ours with the backbone under ``torch.compile``.
        repeats: times to run it, after a first one that does not count.
        bf16: under autocast to bfloat16.
    """
    model = _model(config, cfg_options)
    if form == 'compiled':
        model.backbone.compile()
    model.data_preprocessor.size = (crop, crop)
    torch.manual_seed(0)
    pictures, labels = zip(
        *(_sample(model.decode_head.num_classes, crop, crop) for _ in range(batch_size)), strict=True
    )
    batch = model.data_preprocessor(dict(inputs=list(pictures), data_samples=list(labels)), True)
    losses = {}

    def step() -> None:
        model.zero_grad()
        with torch.autocast(get_device(), torch.bfloat16, enabled=bf16):
            found = model(**batch, mode='loss')
        model.parse_losses(found)[0].backward()
        losses.update({name: float(value.detach()) for name, value in found.items() if torch.is_tensor(value)})

    with released_form() if form == 'released' else nullcontext():
        measurement = measure(step, repeats)
    without = [name for name, parameter in model.named_parameters() if parameter.grad is None]
    return Step(measurement, losses, without)


def prediction(config: str, cfg_options: dict[str, Any], height: int, width: int, repeats: int) -> Measurement:
    """Prediction of one random picture, as at test time."""
    model = _model(config, cfg_options).eval()
    torch.manual_seed(0)
    picture, label = _sample(model.decode_head.num_classes, height, width)
    return measure(lambda: model.test_step(dict(inputs=[picture], data_samples=[label])), repeats)


def _model(config: str, cfg_options: dict[str, Any]) -> nn.Module:
    config = cli.load_config(config, cfg_options)
    init_default_scope(config.default_scope)
    torch.manual_seed(0)
    model = MODELS.build(config.model)
    if not torch.distributed.is_initialized():
        model = revert_sync_batchnorm(model)
    with torch.no_grad():
        for block in getattr(model.backbone, 'blocks', ()):
            block.attn.q.weight *= SHARPENING
            block.attn.kv.weight[: len(block.attn.q.weight)] *= SHARPENING
    return model.to(get_device())


def _sample(num_classes: int, height: int, width: int) -> tuple[torch.Tensor, SegDataSample]:
    """A random picture ``(3, H, W)`` in 0 to 255, and its random label."""
    label = PixelData(data=torch.randint(0, num_classes, (1, height, width)))
    metainfo = dict(img_shape=(height, width), ori_shape=(height, width))
    sample = SegDataSample(gt_sem_seg=label, metainfo=metainfo)
    return torch.randint(0, 256, (3, height, width), dtype=torch.uint8), sample

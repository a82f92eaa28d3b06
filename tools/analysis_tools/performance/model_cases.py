"""A training step and a prediction of a segmentation config, on random images."""

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
from mmrobust.acceleration import compile_in_training
from performance.measure import Measurement, measure
from performance.released_form import released_form

# A fresh network attends almost uniformly, where ADL is 0: its query and key weights are multiplied with this.
SHARPENING = 6.0


class Step(NamedTuple):
    """A training step, without the optimizer, and what shows that it was a real one."""

    measurement: Measurement
    losses: dict[str, float]
    without_gradient: list[str]  # parameters


class PreparedStep:
    """Forward and backward of ``batch_size`` random crops, ready to be called again and again.

    Args:
        config: config file of a segmentation model.
        cfg_options: settings to override.
        crop: pixels of a side.
        batch_size: crops.
        amp: dtype of autocast, or None.

    Attributes:
        model: on the device; its gradients are those of the last call.
    """

    def __init__(
        self, config: str, cfg_options: dict[str, Any], crop: int, batch_size: int, amp: torch.dtype | None = None
    ) -> None:
        self.model = _model(config, cfg_options)
        self.amp = amp
        self.model.data_preprocessor.size = (crop, crop)
        torch.manual_seed(0)
        num_classes = self.model.decode_head.num_classes
        images, labels = zip(*(_sample(num_classes, crop, crop) for _ in range(batch_size)), strict=True)
        self._batch = self.model.data_preprocessor(dict(inputs=list(images), data_samples=list(labels)), True)

    def compile(self, **options: Any) -> None:
        """Compile backbone and head, as ``tools/train.py --compile`` does; options of ``compile_in_training``."""
        for part in (self.model.backbone, self.model.decode_head):
            compile_in_training(part, **options)

    def __call__(self) -> None:
        self.model.zero_grad()
        with torch.autocast(get_device(), self.amp, enabled=self.amp is not None):
            found = self.model(**self._batch, mode='loss')
        # float16 loses small gradients, which a factor keeps, as loss scaling does in training
        scale = 1024.0 if self.amp is torch.float16 else 1.0
        (self.model.parse_losses(found)[0] * scale).backward()
        if scale != 1:
            for parameter in self.model.parameters():
                if parameter.grad is not None:
                    parameter.grad /= scale
        self._found = found

    def read_losses(self) -> dict[str, float]:
        """Of the last call. Reading waits for the GPU, which a call does not."""
        return {name: float(value.detach()) for name, value in self._found.items() if torch.is_tensor(value)}


def training_step(
    config: str, cfg_options: dict[str, Any], crop: int, batch_size: int, form: str, repeats: int, bf16: bool = False
) -> Step:
    """Forward and backward of ``batch_size`` random crops of ``crop`` x ``crop``.

    Args:
        config: config file of a segmentation model.
        cfg_options: settings to override.
        crop: pixels.
        batch_size: crops.
        form: ``'ours'``, ``'released'``, or ``'compiled'`` for ours with backbone and head under ``torch.compile``.
        repeats: times to run it, after a first one that does not count.
        bf16: under autocast to bfloat16.
    """
    step = PreparedStep(config, cfg_options, crop, batch_size, torch.bfloat16 if bf16 else None)
    if form == 'compiled':
        step.compile()
    with released_form() if form == 'released' else nullcontext():
        measurement = measure(step, repeats)
    without = [name for name, parameter in step.model.named_parameters() if parameter.grad is None]
    return Step(measurement, step.read_losses(), without)


def prediction(config: str, cfg_options: dict[str, Any], height: int, width: int, repeats: int) -> Measurement:
    """Prediction of one random image, as at test time."""
    model = _model(config, cfg_options).eval()
    torch.manual_seed(0)
    image, label = _sample(model.decode_head.num_classes, height, width)
    return measure(lambda: model.test_step(dict(inputs=[image], data_samples=[label])), repeats)


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
    """A random image ``(3, H, W)`` in 0 to 255, and its random label."""
    label = PixelData(data=torch.randint(0, num_classes, (1, height, width)))
    metainfo = dict(img_shape=(height, width), ori_shape=(height, width))
    sample = SegDataSample(gt_sem_seg=label, metainfo=metainfo)
    return torch.randint(0, 256, (3, height, width), dtype=torch.uint8), sample

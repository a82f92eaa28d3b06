"""A trained model whose attention is observed image by image."""

import copy
import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from mmengine.config import Config
from torch import Tensor, nn
from torch.utils.data import DataLoader, StackDataset, Subset

from mmrobust.checkpoint import weights_of
from mmrobust.evaluation.images import evenly
from mmrobust.evaluation.models.evaluated_model import EvaluatedModel
from mmrobust.models.layers import Observe
from mmrobust.registry import MODELS


class ObservedModel(EvaluatedModel):
    """A model of MMSegmentation or MMPretrain on a backbone of this project, in evaluation mode.

    A segmentation model that predicts in a sliding window never sees a whole image: its attention is that in one
    window, the one in the centre of the image. Weights of a backbone alone are taken as its ``init_cfg`` takes them,
    such as those of timm, or released ones: the head is not looked at. A network of timm in a ``TimmClassifier`` is
    taken as the backbone that it would be in :class:`~mmrobust.models.TimmViT`.

    Args:
        config: of the model; its ``test_dataloader`` names images and pipeline.
        checkpoint: weights, or None where the config brings its own.
        device: such as ``'cpu'`` or ``'cuda:0'``.
        num_workers: processes that load and corrupt; 0 is this process.
        crop: height and width of the part in the centre to look at; None takes the sliding window, or everything.

    Raises:
        TypeError: the attention of the backbone cannot be observed.
        ValueError, FileNotFoundError: those of the base class.
    """

    def __init__(
        self,
        config: Config,
        checkpoint: str | None,
        device: str = 'cpu',
        num_workers: int = 0,
        crop: tuple[int, int] | None = None,
    ) -> None:
        super().__init__(config, checkpoint, device, num_workers)
        self.backbone = require_observable(self.model)
        test_cfg = self.config.model.get('test_cfg') or {}
        if crop is None and test_cfg.get('mode') == 'slide':
            crop = tuple(test_cfg['crop_size'])
        self.crop = crop

    def batches(
        self, corruption: str | None = None, severity: int = 3, num_images: int | None = None, batch_size: int = 1
    ) -> DataLoader:
        """Batches of the test images: lists of clean ones, and after them the same ones corrupted, if asked for.

        Args:
            corruption: a name of ``mmrobust.corruptions.CORRUPTIONS``, or None.
            severity: 1 to 5.
            num_images: this many, spread evenly over the data set; None takes all.
            batch_size: images of a batch, their corrupted copies not counted.

        Raises:
            ValueError: a number or the corruption is not allowed; there are no images.
        """
        if batch_size < 1:
            raise ValueError(f'batch_size must be 1 or more, got {batch_size}')
        clean = self.config.test_dataloader.dataset
        try:
            datasets = [self.build_dataset(clean)]
        except RuntimeError as error:  # MMPretrain's, for a folder without images
            raise ValueError(
                f'the test set must have images, got none in {clean.get("data_root")!r} ({error})'
            ) from error
        if corruption is not None:
            how = dict(type='mmrobust.CorruptedDataset', corruption=corruption, severity=severity)
            datasets.append(self.build_dataset(dict(**how, dataset=clean)))
        stacked = Subset(StackDataset(*datasets), evenly(len(datasets[0]), num_images))
        return DataLoader(stacked, batch_size, num_workers=self.loader_cfg['num_workers'], collate_fn=_kind_by_kind)

    def seen(self, sample: dict) -> Tensor:
        """The part of a loaded image that is looked at: ``(3, h, w)``, 0 to 255."""
        image = sample['inputs']
        if self.crop is None:
            return image
        top, left = (max(0, length - crop) // 2 for length, crop in zip(image.shape[1:], self.crop, strict=True))
        return image[:, top : top + self.crop[0], left : left + self.crop[1]].contiguous()

    def inputs(self, samples: Sequence[dict]) -> Tensor:
        """Input of the backbone for these images: ``(I, 3, H, W)``, normalised.

        Raises:
            ValueError: the images differ in size.
        """
        seen = [self.seen(sample) for sample in samples]
        sizes = sorted({tuple(image.shape[1:]) for image in seen})
        if len(sizes) > 1:
            raise ValueError(f'images of different sizes, such as {sizes[0]} and {sizes[1]}, take batches of 1')
        return preprocess(self.model, seen, [sample['data_samples'] for sample in samples])

    @torch.no_grad()
    def observe(self, inputs: Tensor, observe: Observe) -> tuple[Any, ...]:
        """Result of a function for each attention layer, first layer first."""
        return self.backbone(inputs, observe)[1]

    def _is_built_with_weights(self, model: nn.Module) -> bool:
        part = self.config.model.get('backbone') or self.config.model
        return bool(part.get('pretrained'))  # the head is not looked at

    def _take_weights(self, model: nn.Module, checkpoint: Mapping[str, Any]) -> None:
        backbone, weights = require_observable(model), weights_of(checkpoint, self.checkpoint)
        if hasattr(backbone, 'load_pretrained') and not any(key.startswith('backbone.') for key in weights):
            backbone.load_pretrained(weights, self.checkpoint)
        else:
            super()._take_weights(model, checkpoint)


def _kind_by_kind(batch: list[tuple[dict, ...]]) -> list[dict]:
    return [sample for kind in zip(*batch, strict=True) for sample in kind]


def require_observable(model: nn.Module) -> nn.Module:
    """The backbone of a task model; of MMPretrain's ``TimmClassifier`` one around its network, in the same mode.

    Raises:
        TypeError: its attention cannot be observed.
        ValueError: the network of timm is of a kind that is not run here.
    """
    if type(model).__name__ in ('TimmClassifier', 'NetworkOfTimm'):
        return MODELS.build(dict(type='mmrobust.TimmViT', model_name=model.model)).train(model.training)
    backbone = getattr(model, 'backbone', None)
    if backbone is None or 'observe' not in inspect.signature(backbone.forward).parameters:
        raise TypeError(
            f'attention can be observed in backbones of this project, such as mmrobust.FAN or mmrobust.TimmViT, but '
            f'not in {type(backbone or model).__name__}'
        )
    return backbone


def preprocess(
    model: nn.Module, images: Sequence[Tensor], data_samples: Sequence[Any], training: bool = False
) -> Tensor:
    """Input of a task model's backbone for images: ``(I, 3, H, W)``, normalised.

    Args:
        model: of MMSegmentation or MMPretrain.
        images: I of ``(3, h, w)``, 0 to 255, in the channel order of the data pipeline.
        data_samples: theirs; they are not changed.
        training: pad, and mix, as in training; else as in a test, where all are of one size.
    """
    data = dict(inputs=list(images), data_samples=copy.deepcopy(list(data_samples)))
    return model.data_preprocessor(data, training)['inputs']

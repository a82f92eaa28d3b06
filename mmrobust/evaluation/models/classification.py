"""A classifier of MMPretrain or timm under evaluation, and its predictions."""

import itertools
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from mmpretrain.models import TimmClassifier  # the import registers the models of its scope
from torch import Tensor, nn

from mmrobust.attacks import pixel_logits
from mmrobust.evaluation.models.evaluated_model import Attack, EvaluatedModel


class Scores(NamedTuple):
    """Prediction of a classifier for one image.

    Attributes:
        path: the image's file, or its number if it has none.
        label: true class.
        scores: ``(K,)`` float, the higher the likelier.
    """

    path: str
    label: int
    scores: np.ndarray


def number_of(place: int) -> str:
    """What stands for the path of an image that has no file: its place in the test set."""
    return f'#{place:06d}'


def is_number(path: str) -> bool:
    """Whether a path is such a number."""
    return path.startswith('#')


class ClassificationModel(EvaluatedModel):
    """A classifier with its weights; arguments and errors are those of the base class."""

    scope = 'mmpretrain'

    def predict(self, dataset: dict, attack: Attack | None = None) -> Iterator[Scores]:
        """Score every image of a dataset config, in its order, after an attack on its pixels if there is one."""
        places = itertools.count()
        for batch in self.loader(dataset):
            for sample in batch['data_samples']:
                if 'img_path' not in sample:
                    sample.set_metainfo(dict(img_path=number_of(next(places))))
            if attack is not None:
                batch['inputs'] = list(self._attacked(batch, attack))
            with self.predicting():
                samples = self.model.test_step(batch)
            for sample in samples:
                yield Scores(sample.img_path, int(sample.gt_label), sample.pred_score.float().cpu().numpy())

    def frames(self, frames: np.ndarray) -> np.ndarray:
        """Scores ``(T, K)`` of the frames of a video, ``(T, H, W, 3)`` uint8 in the order of the data pipeline."""
        inputs = torch.from_numpy(frames).permute(0, 3, 1, 2)
        with self.predicting():
            parts = inputs.split(self.loader_cfg['batch_size'])
            logits = [pixel_logits(self.model)(part.to(self.device) / 255) for part in parts]
        return torch.cat(logits).float().cpu().numpy()

    def _is_built_with_weights(self, model: nn.Module) -> bool:
        if not isinstance(model, TimmClassifier) or not self.config.model.get('pretrained'):
            return False
        return model.model.num_classes == model.model.pretrained_cfg['num_classes']  # else timm leaves the head random

    def _attacked(self, batch: dict, attack: Attack) -> Tensor:
        """The batch's images as adversarial ones: pixels 0 to 255, not rounded."""
        images = torch.stack(list(batch['inputs'])).to(self.device) / 255
        labels = torch.cat([sample.gt_label for sample in batch['data_samples']]).to(self.device)
        paths = [sample.img_path for sample in batch['data_samples']]
        return 255 * attack(pixel_logits(self.model), images, labels, paths)


class NetworkOfTimm(TimmClassifier):
    """A network of timm that is in memory already, as a classifier of MMPretrain."""

    def __init__(self, network: nn.Module) -> None:
        cfg = network.pretrained_cfg
        normalise = {name: [255 * value for value in cfg[name]] for name in ('mean', 'std')}
        # past TimmClassifier's own, which would build another network
        super(TimmClassifier, self).__init__(
            data_preprocessor=dict(type='mmpretrain.ClsDataPreprocessor', **normalise, to_rgb=True)
        )
        self.model = network

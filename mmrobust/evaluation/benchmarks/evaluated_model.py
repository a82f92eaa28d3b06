"""A model with its weights, loaded once; only the pictures change."""

import copy
import functools
import hashlib
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.registry import DATASETS, MODELS, DefaultScope
from mmengine.runner import CheckpointLoader, Runner
from torch import nn
from torch.utils.data import DataLoader, Dataset

from mmrobust.checkpoint import check_state_dict


class EvaluatedModel:
    """A model of MMSegmentation or MMPretrain, in evaluation mode.

    Args:
        config: of the model; its test mode is used as it is.
        checkpoint: weights, which must fit the model key by key; None for a model whose config brings its own, with
            ``pretrained=True`` or ``init_cfg``.
        device: such as ``'cpu'`` or ``'cuda:0'``.
        num_workers: processes that load and corrupt.
        batch_size: pictures per forward pass.

    Raises:
        ValueError: the weights do not fit, or there are none.
        FileNotFoundError: there is no such checkpoint.
    """

    scope = 'mmengine'  # default scope of a config that names none

    def __init__(
        self,
        config: Config,
        checkpoint: str | None,
        device: str = 'cpu',
        num_workers: int = 2,
        batch_size: int = 1,
    ) -> None:
        self.config = config
        self.checkpoint = checkpoint
        self.scope = config.get('default_scope') or self.scope
        self.device = device
        self.loader_cfg = dict(
            batch_size=batch_size,
            num_workers=num_workers,
            persistent_workers=False,
            sampler=dict(type='DefaultSampler', shuffle=False),
        )
        self.model = self._load().to(device).eval()

    @functools.cached_property  # it reads all weights
    def identity(self) -> dict[str, str]:
        """What of the model decides the numbers."""
        pipeline = self.config.test_dataloader.dataset.pipeline
        return {
            'checkpoint_sha256': self._hash_of_weights(),
            'config_sha256': _sha256(repr((self.config.model.to_dict(), pipeline)).encode()),
        }

    def build_dataset(self, dataset: dict) -> Dataset:
        """Build a dataset config under the model's scope."""
        with DefaultScope.overwrite_default_scope(self.scope):
            return DATASETS.build(copy.deepcopy(dataset))

    def loader(self, dataset: dict) -> DataLoader:
        """Batches of a dataset config, in its order."""
        with DefaultScope.overwrite_default_scope(self.scope):
            return Runner.build_dataloader(dict(dataset=copy.deepcopy(dataset), **self.loader_cfg), seed=0)

    def _load(self) -> nn.Module:
        weights = None
        if self.checkpoint is not None:
            weights = CheckpointLoader.load_checkpoint(self.checkpoint, map_location='cpu')
        elif not _brings_weights(self.config.model):
            raise ValueError('a checkpoint is needed, because the config names no weights (pretrained or init_cfg)')
        with DefaultScope.overwrite_default_scope(self.scope):
            model = MODELS.build(copy.deepcopy(self.config.model))
        if weights is None:
            model.init_weights()
            return model
        state_dict = weights.get('state_dict', weights)
        check_state_dict(model.state_dict(), state_dict, self.checkpoint)
        model.load_state_dict(state_dict)
        return model

    def _hash_of_weights(self) -> str:
        if self.checkpoint is not None:
            return _sha256(Path(self.checkpoint).read_bytes())
        digest = hashlib.sha256()
        for name, tensor in sorted(self.model.state_dict().items()):
            digest.update(name.encode() + tensor.cpu().contiguous().view(torch.uint8).numpy().tobytes())
        return digest.hexdigest()


def _brings_weights(config: dict) -> bool:
    if config.get('pretrained') or (config.get('init_cfg') or {}).get('type') == 'Pretrained':
        return True
    return any(_brings_weights(value) for value in config.values() if isinstance(value, dict))


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()

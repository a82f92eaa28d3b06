"""A model under evaluation: loading, device, precision."""

import copy
import functools
import hashlib
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.registry import DATASETS, MODELS, DefaultScope
from mmengine.runner import CheckpointLoader, Runner
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from mmrobust.acceleration import compile_forward, low_precision
from mmrobust.checkpoint import fitting
from mmrobust.processes import outlive_sigterm

# (logits_of, images in [0, 1], labels, names of the images) -> images; see mmrobust.attacks
Attack = Callable[[Callable[[Tensor], Tensor], Tensor, Tensor, list[str]], Tensor]

_PLAIN = bool | int | float | str | list | tuple | None


class EvaluatedModel:
    """A model of MMSegmentation or MMPretrain, in evaluation mode.

    Args:
        config: of the model; its test mode is used as it is.
        checkpoint: file or address of the weights, which must fit the model key by key; None for those that the config
            names for the whole model: ``init_cfg=dict(type='Pretrained', checkpoint=...)`` of the model itself, or
            ``pretrained=True`` of MMPretrain's ``TimmClassifier``.
        device: such as ``'cpu'`` or ``'cuda:0'``.
        num_workers: processes that load and corrupt.
        batch_size: images per forward pass.
        amp: predict under autocast, in the type that :func:`mmrobust.acceleration.low_precision` chooses. It is part of
            the identity.
        compiled: compile backbone and heads, see :func:`mmrobust.acceleration.compile_forward`.
        module: the model itself, with its weights; None builds it from the config. It is put into evaluation mode.

    Attributes:
        meta: ``meta`` of the checkpoint; of a model in memory, what it keeps of it.

    Raises:
        TypeError: there is nothing to compile.
        ValueError: the weights do not fit, or there are none, or only of a part such as the backbone.
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
        amp: bool = False,
        compiled: bool = False,
        module: nn.Module | None = None,
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
        self.precision = low_precision(device) if amp else torch.float32
        # as init_model of MMSegmentation and get_model of MMPretrain leave it
        of_data = getattr(module, 'dataset_meta', None) or getattr(module, '_dataset_meta', None)
        self.meta: dict[str, Any] = {'dataset_meta': of_data}
        self.in_memory = module is not None
        self.model = (self._load() if module is None else module).to(device).eval()
        if compiled:
            compile_forward(self.model)

    @functools.cached_property  # it reads all weights
    def identity(self) -> dict[str, Any]:
        """Settings of the model that determine the numbers, and the config of its clean images; for JSON."""
        config = self.config.to_dict()
        preprocessor = getattr(self.model, 'data_preprocessor', None)
        mean, std = (getattr(preprocessor, name, None) for name in ('mean', 'std'))
        identity = {
            'checkpoint_sha256': self._hash_of_weights(),
            'model': _name_of(config['model']),
            'mean': None if mean is None else mean.flatten().tolist(),
            'std': None if std is None else std.flatten().tolist(),
            'merged_config': {
                'default_scope': self.scope,
                'model': config['model'],
                'test_dataloader': {'dataset': config['test_dataloader']['dataset']},
            },
        }
        if self.in_memory:  # its config may say little of it
            plain = {name: of for name, of in getattr(preprocessor, '__dict__', {}).items() if isinstance(of, _PLAIN)}
            text = f'{self.model} {getattr(self.model, "test_cfg", None)} {sorted(plain.items())}'
            identity['module_sha256'] = _sha256(re.sub(' at 0x[0-9a-f]+', '', text).encode())
        if self.precision != torch.float32:  # which a folder that does not name it was made with
            identity['precision'] = str(self.precision).removeprefix('torch.')
        return identity

    @contextmanager
    def predicting(self) -> Iterator[None]:
        """Without gradients, and in the model's precision."""
        low = self.precision != torch.float32
        kind = torch.device(self.device).type
        with torch.no_grad(), torch.autocast(kind, self.precision) if low else nullcontext():
            yield

    def build_dataset(self, dataset: dict) -> Dataset:
        """Build a dataset config under the model's scope."""
        with DefaultScope.overwrite_default_scope(self.scope):
            return DATASETS.build(copy.deepcopy(dataset))

    def loader(self, dataset: dict) -> DataLoader:
        """Batches of a dataset config, in its order."""
        with DefaultScope.overwrite_default_scope(self.scope):
            loader = Runner.build_dataloader(dict(dataset=copy.deepcopy(dataset), **self.loader_cfg), seed=0)
        outlive_sigterm(loader)
        return loader

    def _load(self) -> nn.Module:
        # never init_weights(): it initialises timm's networks again, and takes init_cfg's weights where they fit or not
        with DefaultScope.overwrite_default_scope(self.scope):
            model = MODELS.build(copy.deepcopy(self.config.model))
        self.checkpoint = self.checkpoint or _checkpoint_of(model)
        if self.checkpoint is None:
            if not self._is_built_with_weights(model):
                raise ValueError(
                    'a checkpoint is needed, the file or address of weights of the whole model, because the config '
                    'names none (pretrained or init_cfg of the backbone alone leaves the head random)'
                )
            return model
        loaded = CheckpointLoader.load_checkpoint(self.checkpoint, map_location='cpu')
        self.meta = loaded.get('meta') or {}
        self._take_weights(model, loaded)
        return model

    def _take_weights(self, model: nn.Module, checkpoint: Mapping[str, Any]) -> None:
        model.load_state_dict(fitting(model, checkpoint, self.checkpoint))

    def _is_built_with_weights(self, model: nn.Module) -> bool:
        """Whether a model has had all its weights since it was built."""
        return False

    def _hash_of_weights(self) -> str:
        if self.checkpoint is not None and Path(self.checkpoint).is_file():
            return _sha256(Path(self.checkpoint).read_bytes())
        digest = hashlib.sha256()  # of an address, or of what the model was built with
        for name, tensor in sorted(self.model.state_dict().items()):
            # flat, because a number such as a count of batches cannot be viewed as bytes
            digest.update(name.encode() + tensor.cpu().flatten().view(torch.uint8).numpy().tobytes())
        return digest.hexdigest()


def _checkpoint_of(model: nn.Module) -> str | None:
    """Checkpoint that ``init_cfg`` names for the whole model; MMPretrain's ``pretrained=PATH`` becomes that."""
    init_cfg = getattr(model, 'init_cfg', None)
    if not isinstance(init_cfg, dict) or init_cfg.get('type') != 'Pretrained' or init_cfg.get('prefix'):
        return None
    checkpoint = init_cfg['checkpoint']
    return checkpoint if isinstance(checkpoint, str) else None


def _name_of(model: dict) -> str:
    """Name of a model: timm's, else its backbone, else its type."""
    part = model if 'model_name' in model else model.get('backbone') or model
    arch = part.get('arch')
    return str(part.get('model_name') or part['type']) + (f' {arch}' if isinstance(arch, str) else '')


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()

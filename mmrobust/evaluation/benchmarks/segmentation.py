"""Runs cells with any MMSegmentation model: the model is loaded once, and only the pictures change."""

import copy
import functools
import hashlib
import os.path as osp
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmengine.runner import CheckpointLoader, Runner
from mmseg.apis import init_model
from mmseg.registry import DATASETS
from torch import nn
from torch.utils.data import DataLoader

from mmrobust.checkpoint import check_state_dict
from mmrobust.evaluation.benchmarks.cell_store import CellResult
from mmrobust.evaluation.benchmarks.protocols import CLEAN, Cell
from mmrobust.evaluation.functional import confusion_matrix


class SegmentationBenchmark:
    """A segmentation model and its test pictures, to be run on any cell.

    Args:
        config: of the model; its test data, pipeline and test mode are used as they are.
        checkpoint: weights, which must fit the model key by key.
        device: such as ``'cpu'`` or ``'cuda:0'``.
        seed: of the random corruptions.
        profile: channel order of the corruptions, see :class:`mmrobust.datasets.transforms.Corrupt`.
        max_images: evaluate this many pictures, spread evenly over the data set; None takes all.
        num_workers: processes that load and corrupt.
        batch_size: pictures per forward pass.

    Raises:
        ValueError: the weights do not fit, or the test pipeline does not load a picture and a label.
        FileNotFoundError: checkpoint or data are absent.
    """

    def __init__(
        self,
        config: Config,
        checkpoint: str,
        device: str = 'cpu',
        seed: int = 0,
        profile: str = 'rgb',
        max_images: int | None = None,
        num_workers: int = 2,
        batch_size: int = 1,
    ) -> None:
        if max_images is not None and max_images < 1:
            raise ValueError(f'max_images must be 1 or more, got {max_images}')
        self.dataset_cfg = copy.deepcopy(config.test_dataloader.dataset)
        self.checkpoint = checkpoint
        self.seed = seed
        self.profile = profile
        self.loader_cfg = dict(
            batch_size=batch_size,
            num_workers=num_workers,
            persistent_workers=False,
            sampler=dict(type='DefaultSampler', shuffle=False),
        )
        self._loads = _position_of_loading(self.dataset_cfg.pipeline)
        with DefaultScope.overwrite_default_scope(config.get('default_scope', 'mmseg')):
            dataset = DATASETS.build(self.dataset_cfg)
        self.num_classes = len(dataset.metainfo['classes'])
        self.ignore_index = dataset.ignore_index
        self.class_names = tuple(dataset.metainfo['classes'])
        if max_images is not None and max_images < len(dataset):
            self.dataset_cfg.indices = [int(index) for index in np.linspace(0, len(dataset) - 1, max_images)]
        self.num_images = min(len(dataset), max_images or len(dataset))
        self.config = config
        self.model = self._load_model(device)

    @functools.cached_property  # it reads the whole checkpoint
    def identity(self) -> dict[str, str | int]:
        """What decides the numbers: two runs of one identity give the same counts."""
        return {
            'checkpoint_sha256': _sha256(Path(self.checkpoint).read_bytes()),
            'config_sha256': _sha256(repr((self.config.model.to_dict(), self.dataset_cfg.pipeline)).encode()),
            'num_images': self.num_images,
            'seed': self.seed,
            'profile': self.profile,
        }

    def run(self, cell: Cell) -> Iterator[tuple[str, np.ndarray]]:
        """Confusion matrix ``(K, K)`` of each picture, with the picture's name, in the order of the data set."""
        root = self.dataset_cfg.get('data_root') or ''
        for batch in self._loader(cell):
            with torch.no_grad():
                samples = self.model.test_step(batch)
            for sample in samples:
                name = osp.relpath(sample.img_path, root) if root else sample.img_path
                if 'gt_sem_seg' not in sample:
                    raise ValueError(f'{sample.img_path} has no label: the test pipeline must load annotations')
                label = sample.gt_sem_seg.data.squeeze(0).cpu().numpy()
                prediction = sample.pred_sem_seg.data.squeeze(0).cpu().numpy()
                yield name, confusion_matrix(label, prediction, self.num_classes, self.ignore_index)

    def collect(self, matrices: dict[str, np.ndarray]) -> CellResult:
        """The result of a cell from the confusion matrices of all its pictures."""
        counts = {name: np.stack([np.diagonal(m), m.sum(0), m.sum(1)]) for name, m in matrices.items()}
        return CellResult(sum(matrices.values()), counts)

    def _load_model(self, device: str) -> nn.Module:
        weights = CheckpointLoader.load_checkpoint(self.checkpoint, map_location='cpu')
        model = init_model(self.config, None, device)
        state_dict = weights.get('state_dict', weights)
        check_state_dict(model.state_dict(), state_dict, self.checkpoint)
        model.load_state_dict(state_dict)
        return model.eval()

    def _loader(self, cell: Cell) -> DataLoader:
        dataset_cfg = copy.deepcopy(self.dataset_cfg)
        if cell != CLEAN:
            corrupt = dict(
                type='mmrobust.Corrupt',
                corruption=cell.corruption,
                severity=cell.severity,
                data_root=dataset_cfg.get('data_root'),
                seed=self.seed,
                profile=self.profile,
            )
            dataset_cfg.pipeline.insert(self._loads + 1, corrupt)
        with DefaultScope.overwrite_default_scope(self.config.get('default_scope', 'mmseg')):
            return Runner.build_dataloader(dict(dataset=dataset_cfg, **self.loader_cfg), seed=0)


def _position_of_loading(pipeline: list[dict]) -> int:
    for position, step in enumerate(pipeline):
        if str(step['type']).rpartition('.')[2] == 'LoadImageFromFile':
            return position
    raise ValueError(f'the test pipeline must have LoadImageFromFile, got {[step["type"] for step in pipeline]}')


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()

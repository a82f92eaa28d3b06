"""The 19 Cityscapes classes: names, the three encodings of a label, colours."""

import numpy as np
from mmseg.datasets import CityscapesDataset

CLASSES: tuple[str, ...] = CityscapesDataset.METAINFO['classes']
PALETTE = tuple(map(tuple, CityscapesDataset.METAINFO['palette']))
LABEL_IDS = (7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33)
IGNORE = 255
EGO_VEHICLE_ID = 1  # the only ignored region MiniCity draws: the bonnet of the camera car

TRAIN_ID = {name: train_id for train_id, name in enumerate(CLASSES)}

_TO_LABEL_ID = np.full(256, EGO_VEHICLE_ID, np.uint8)
_TO_LABEL_ID[: len(CLASSES)] = LABEL_IDS
_TO_COLOR = np.zeros((256, 3), np.uint8)
_TO_COLOR[: len(CLASSES)] = PALETTE


def to_label_ids(train_ids: np.ndarray) -> np.ndarray:
    """Cityscapes label ids (uint8) of a train id map (uint8, 0..18 or 255), same shape."""
    return _TO_LABEL_ID[train_ids]


def to_color(train_ids: np.ndarray) -> np.ndarray:
    """The official colours, (H, W, 3) uint8 RGB, of a train id map (H, W) uint8; ignored pixels are black."""
    return _TO_COLOR[train_ids]

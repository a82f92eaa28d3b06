"""The 19 Cityscapes classes: names, the three encodings of a label, colours."""

import numpy as np

CLASSES = (
    'road', 'sidewalk', 'building', 'wall', 'fence', 'pole', 'traffic light', 'traffic sign', 'vegetation', 'terrain',
    'sky', 'person', 'rider', 'car', 'truck', 'bus', 'train', 'motorcycle', 'bicycle',
)  # fmt: skip
PALETTE = (
    (128, 64, 128), (244, 35, 232), (70, 70, 70), (102, 102, 156), (190, 153, 153), (153, 153, 153), (250, 170, 30),
    (220, 220, 0), (107, 142, 35), (152, 251, 152), (70, 130, 180), (220, 20, 60), (255, 0, 0), (0, 0, 142),
    (0, 0, 70), (0, 60, 100), (0, 80, 100), (0, 0, 230), (119, 11, 32),
)  # fmt: skip
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

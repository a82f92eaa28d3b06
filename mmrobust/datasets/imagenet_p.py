"""ImageNet-P: short videos in which an image is perturbed step by step."""

import os.path as osp
from typing import Any

import cv2
import numpy as np
from mmengine import fileio
from mmpretrain.datasets import BaseDataset
from mmpretrain.datasets.categories import IMAGENET_CATEGORIES

from mmrobust.datasets.cityscapes import absolute, refuse_places
from mmrobust.datasets.image_folder import files_of_classes
from mmrobust.datasets.imagenet_variants import WNIDS
from mmrobust.registry import DATASETS

#: The 10 perturbations of the benchmark, and the 4 for validation.
PERTURBATIONS = (
    *('gaussian_noise', 'shot_noise', 'motion_blur', 'zoom_blur', 'snow', 'brightness'),
    *('translate', 'rotate', 'tilt', 'scale'),
    *('speckle_noise', 'gaussian_blur', 'spatter', 'shear'),
)


@DATASETS.register_module()
class ImageNetP(BaseDataset):
    """ImageNet-P of one perturbation (Hendrycks and Dietterich, ICLR 2019), for MMPretrain.

    A sample is one sequence: ``video_path``, ``gt_label``, and ``frames``, ``(T, H, W, 3)`` uint8 BGR, on which the
    pipeline works; an empty pipeline hands them out as they are. T is 31, and 41 for translate. The frames are
    224 x 224: the protocol neither resizes nor crops them. Flips do not depend on ``gt_label``.

    Args:
        data_root: Folder with ``<perturbation>/<wnid>/*.mp4``, and for noise with ``<perturbation>_2`` and
            ``<perturbation>_3``.
        perturbation: One of the 10 perturbations of the benchmark or of the 4 for validation.
        difficulty: 1 to 3. For noise it chooses the folder; for the others it is the distance of the frames that are
            compared, see :func:`mmrobust.evaluation.statistics.flip_probability`, and the folder is the same.
        **kwargs: As in ``mmpretrain.BaseDataset``, except for those that say where files lie.

    Raises:
        FileNotFoundError: The folder of the perturbation is not there.
        ValueError: There is no such perturbation or difficulty; class folders are missing or unexpected; a class has no
            video. And those of :func:`read_frames` when a sample is loaded.
        TypeError: An argument says where files lie, such as ``data_prefix``.
    """

    METAINFO = {'classes': IMAGENET_CATEGORIES}

    def __init__(self, data_root: str, perturbation: str, difficulty: int = 1, **kwargs: Any) -> None:
        refuse_places(self, 'data_root', kwargs)
        if perturbation not in PERTURBATIONS:
            raise ValueError(f'perturbation must be one of {", ".join(PERTURBATIONS)}, got {perturbation!r}')
        if difficulty not in (1, 2, 3):
            raise ValueError(f'difficulty must be 1, 2 or 3, got {difficulty!r}')
        self.perturbation, self.difficulty = perturbation, difficulty
        super().__init__(ann_file='', data_root=str(data_root), **kwargs)

    def load_data_list(self) -> list[dict]:
        """Return one dict per video, sorted by class and name."""
        stronger = self.perturbation.endswith('_noise') and self.difficulty > 1
        name = f'{self.perturbation}_{self.difficulty}' if stronger else self.perturbation
        remedy = 'download and unpack its archives from https://zenodo.org/records/3565846'
        files = files_of_classes(
            fileio.join_path(self.data_root, name), WNIDS, ('.mp4',), f'{name} of ImageNet-P', remedy
        )
        return [dict(video_path=path, gt_label=place) for path, place in files]

    def prepare_data(self, idx: int) -> Any:
        """Load the frames of a video and run the pipeline on them."""
        sample = self.get_data_info(idx)
        return self.pipeline(sample | dict(frames=read_frames(sample['video_path'])))


def read_frames(path: str) -> np.ndarray:
    """Read all frames of a local video: ``(T, H, W, 3)`` uint8, BGR as OpenMMLab loads images.

    Damage inside a frame, which the decoder conceals, is not noticed.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it cannot be read as a video, has fewer frames than it announces, or fewer than 2.
    """
    if not osp.isfile(path):
        raise FileNotFoundError(f'There is no video {absolute(path)}.')
    video = cv2.VideoCapture(path)
    try:
        if not video.isOpened():
            raise ValueError(f'{path} cannot be read as a video: it may be truncated, unpack it again.')
        announced = int(video.get(cv2.CAP_PROP_FRAME_COUNT))
        frames = []
        while (step := video.read())[0]:
            frames.append(step[1])
    finally:
        video.release()
    if len(frames) < announced:
        raise ValueError(f'{path} has {len(frames)} readable frames of {announced}: it is damaged, unpack it again.')
    if len(frames) < 2:
        raise ValueError(f'{path} has {len(frames)} frames, and a sequence needs at least 2.')
    return np.stack(frames)

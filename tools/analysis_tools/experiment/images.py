"""Labelled images in memory: crops of MiniCity with one class each, whole scenes of it, or a data set of a config."""

from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial

import numpy as np
from mmengine.config import Config

from mmrobust.corruptions import corrupt
from mmrobust.datasets.minicity import CLASSES, draw_scene, label_map, lay_out, render
from mmrobust.processes import end_with_parent
from mmrobust.randomness import derive_seed

# classes that fill at least half of some crop in one scene out of five or more
CROP_CLASSES = ('road', 'sidewalk', 'building', 'wall', 'fence', 'vegetation', 'sky', 'car', 'truck', 'bus', 'train')
CROP = 32  # pixels
SCENE = (256, 128)  # width, height
STEP = 8  # pixels between two candidates for a crop
PER_SCENE = 4  # crops of one class in one scene


@dataclass(frozen=True)
class Images:
    """Images, RGB uint8 ``(M, H, W, 3)``, and their targets: classes ``(M,)``, or label maps ``(M, H, W)``."""

    pixels: np.ndarray
    targets: np.ndarray


def draw_crops(split: str, num_scenes: int, per_class: int, jobs: int) -> Images:
    """Crops of 32 x 32 pixels with the class that fills at least half of each, about as many of every class.

    Args:
        split: ``'train'`` or ``'val'``: they have no scene in common.
        num_scenes: how many scenes are drawn.
        per_class: at most so many crops of a class, from as many scenes as possible.
        jobs: processes.
    """
    found: dict[int, list[tuple[int, np.ndarray]]] = {target: [] for target in range(len(CROP_CLASSES))}
    for of_scene in _map(partial(_crops_of, split), range(num_scenes), jobs):
        for target, order, crop in of_scene:
            found[target].append((order, crop))
    pixels, targets = [], []
    for target, crops in found.items():
        chosen = [crop for _, crop in sorted(crops, key=lambda item: item[0])][:per_class]  # first ones of scenes first
        pixels += chosen
        targets += [target] * len(chosen)
    order = np.random.default_rng(0).permutation(len(targets))
    return Images(np.stack(pixels)[order], np.array(targets)[order])


def _crops_of(split: str, index: int) -> list[tuple[int, int, np.ndarray]]:
    """Class, number among those of the class in this scene, and pixels."""
    image, labels = _scene(split, index)
    places = [(y, x) for y in range(0, SCENE[1] - CROP + 1, STEP) for x in range(0, SCENE[0] - CROP + 1, STEP)]
    taken = dict.fromkeys(range(len(CROP_CLASSES)), 0)
    crops = []
    for place in np.random.default_rng([index, 1]).permutation(places):
        part = tuple(slice(start, start + CROP) for start in place)
        counts = np.bincount(labels[part].ravel(), minlength=256)
        majority = int(counts.argmax())
        if 2 * counts[majority] < CROP**2 or majority >= len(CLASSES) or CLASSES[majority] not in CROP_CLASSES:
            continue
        target = CROP_CLASSES.index(CLASSES[majority])
        if taken[target] < PER_SCENE:
            crops.append((target, taken[target], image[part]))
            taken[target] += 1
    return crops


def draw_scenes(split: str, num_scenes: int, jobs: int) -> Images:
    """Whole scenes of 256 x 128 pixels with their label maps."""
    pairs = list(_map(partial(_scene, split), range(num_scenes), jobs))
    return Images(*(np.stack(part) for part in zip(*pairs, strict=True)))


def _scene(split: str, index: int) -> tuple[np.ndarray, np.ndarray]:
    street = lay_out(0, split, index)
    canvas = draw_scene(street, *SCENE)
    return render(canvas, street), label_map(canvas)


def _map(function: Callable, indices: range, jobs: int) -> Iterable:
    with ProcessPoolExecutor(jobs, initializer=end_with_parent) as pool:
        yield from pool.map(function, indices, chunksize=8)


def corrupted(images: Images, corruption: str, severity: int) -> np.ndarray:
    """The same images corrupted, with draws that depend on image, corruption and severity alone."""
    return np.stack(
        [
            corrupt(image, corruption, severity, np.random.default_rng(derive_seed(corruption, severity, index)))
            for index, image in enumerate(images.pixels)
        ]
    )


def read_images(config: Config, split: str, num_images: int | None, size: tuple[int, int]) -> Images:
    """The first images of a data set for segmentation, resized and held in memory.

    Args:
        config: with ``train_dataloader``, ``test_dataloader`` and ``test_pipeline``, which says how files are read.
        split: ``'train'`` or ``'val'``.
        num_images: this many; None takes all.
        size: width and height in pixels.
    """
    from mmengine.registry import init_default_scope
    from mmseg.registry import DATASETS

    init_default_scope('mmseg')
    loader = config.train_dataloader if split == 'train' else config.test_dataloader
    loading = [step for step in config.test_pipeline if 'Load' in step.type]
    pipeline = [*loading, dict(type='Resize', scale=tuple(size), keep_ratio=False), dict(type='PackSegInputs')]
    dataset = DATASETS.build({**loader.dataset, 'pipeline': pipeline})
    pixels, targets = [], []
    for index in range(len(dataset) if num_images is None else min(num_images, len(dataset))):
        sample = dataset[index]
        pixels.append(sample['inputs'].numpy()[::-1].transpose(1, 2, 0))  # BGR, as the pipeline reads it
        targets.append(sample['data_samples'].gt_sem_seg.data[0].numpy().astype(np.uint8))
    return Images(np.stack(pixels), np.stack(targets))

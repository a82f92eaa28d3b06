"""Seconds for an image of 2048 x 1024 under corruption, and what all of Cityscapes-C would take."""

import json
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import cv2
import numpy as np
import torch
from mmengine.registry import init_default_scope
from mmseg.registry import MODELS

from mmrobust import cli
from mmrobust.evaluation.benchmarks.presets import preset_cells
from mmrobust.evaluation.benchmarks.segmentation_base import SegmentationBenchmark
from performance.gpu_check.processes import error_lines
from performance.gpu_check.steps import TINY_FAN
from performance.gpu_check.tools import in_own_process, require, run_tool
from performance.gpu_check.work import Work, cores

CONFIG = 'configs/fan_tap_adl_cityscapes.py'
TOOL = 'tools/evaluate_robustness.py'
CELLS = len(preset_cells('kamann'))
IMAGES = 500  # of the validation set of Cityscapes
CORRUPTIONS = ('gaussian_noise', 'snow')


def evaluation_speed(work: Work) -> None:
    """Evaluate random weights on one image, again and again, with what the tool has to be fast, and without."""
    if not work.forked:
        raise RuntimeError('images are timed in a process that was forked off, which is not possible here')
    (width, height), count = ((64, 32), 4) if work.tiny else ((2048, 1024), 16)
    data = work.folder / 'cityscapes'
    config, checkpoint = work.folder / 'evaluation.py', work.folder / 'random.pth'
    in_own_process(_write_images, data, width, height, count)
    in_own_process(_write_model, work, data, config, checkpoint)
    fast = ['--amp', '--window-batch', '3']
    for options in [['--amp'], []] if work.tiny else [fast, []]:
        name = ' '.join(options) or 'float32'
        work.require_time(5, name)
        try:
            work.note(name, _evaluate(work, config, checkpoint, options, count))
        except Exception as error:
            work.note(name, {'error': error_lines(error)})


def _evaluate(work: Work, config: Path, checkpoint: Path, options: list[str], count: int) -> dict[str, Any]:
    name = 'evaluate' + '-'.join(option.strip('-') for option in options)
    times = work.folder / f'{name}.times'
    workers = min(16, cores())
    arguments = [str(config), str(checkpoint), '--out', str(work.folder / name), '--worst', '0', *options]
    arguments += ['--corruptions', *CORRUPTIONS, '--severities', '3', '--num-workers', str(workers)]
    with timed_images(times):
        run = require(run_tool(work, TOOL, arguments, work.logs / f'{name}.log'))
    cells = [json.loads(line) for line in times.read_text().splitlines()]
    # the first third waits for loaders, and in the first cell for kernels
    seconds = [(cell[-1] - cell[count // 3]) / (count - count // 3) for cell in cells]
    starts = [cell[count // 3] - cell[0] - count // 3 * second for cell, second in zip(cells, seconds, strict=True)]
    second, start = statistics.median(seconds[1:]), max(0.0, statistics.median(starts[1:]))
    return {
        'seconds_per_image': second,
        'seconds_to_start_a_cell': start,
        'extrapolated_hours': CELLS * (start + IMAGES * second) / 3600,
        'cells': CELLS,
        'images': IMAGES,
        'loaders': workers,
        'measured': f'{len(cells) - 1} cells of {count} images',
        'wall_seconds': run.seconds,
    }


@contextmanager
def timed_images(file: Path) -> Iterator[None]:
    """Within it, every cell of a segmentation benchmark adds a line to a file, in processes forked off here too.

    The line is a list of times: of the start, and after each image.
    """
    run = SegmentationBenchmark.run

    def timed(
        benchmark: SegmentationBenchmark, model: Any, cell: Any, on_image: Callable[[], None] = lambda: None
    ) -> Any:
        times = [time.monotonic()]

        def note() -> None:
            times.append(time.monotonic())
            on_image()

        result = run(benchmark, model, cell, note)
        with file.open('a') as lines:
            lines.write(json.dumps(times) + '\n')
        return result

    with mock.patch.object(SegmentationBenchmark, 'run', timed):
        yield


def _write_images(data: Path, width: int, height: int, count: int) -> None:
    """One drawn image with its label, under ``count`` names in Cityscapes' layout."""
    rng = np.random.default_rng(0)
    images, labels = data / 'leftImg8bit/val/city', data / 'gtFine/val/city'
    for folder in (images, labels):
        folder.mkdir(parents=True)
    coarse = rng.integers(0, 256, (16, 32, 3), dtype=np.uint8)
    image = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    image = cv2.add(image, rng.integers(0, 20, image.shape, dtype=np.uint8))
    label = cv2.resize(rng.integers(0, 19, (16, 32), dtype=np.uint8), (width, height), interpolation=cv2.INTER_NEAREST)
    for folder, suffix, pixels in (
        (images, 'leftImg8bit', image),
        (labels, 'gtFine_labelTrainIds', label),
    ):
        first = folder / f'city_000000_{suffix}.png'
        cv2.imwrite(str(first), pixels)
        for index in range(1, count):
            (folder / f'city_{index:06d}_{suffix}.png').symlink_to(first)


def _write_model(work: Work, data: Path, path: Path, checkpoint: Path) -> None:
    """A config with this data, and random weights."""
    options = TINY_FAN if work.tiny else {}
    config = cli.load_config(str(work.root / CONFIG), options)
    if work.tiny:
        config.model.test_cfg.update(crop_size=(32, 64), stride=(24, 48))
    config.test_dataloader.dataset.data_root = str(data)
    if work.tiny:
        for step in config.test_dataloader.dataset.pipeline:
            if step.type == 'Resize':
                step.scale = (64, 32)
    config.dump(path)
    init_default_scope(config.default_scope)
    torch.manual_seed(0)
    torch.save({'state_dict': MODELS.build(config.model).state_dict()}, checkpoint)

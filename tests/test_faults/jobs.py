"""Tiny jobs of the real tools: segmentation by iterations, classification by epochs, and an evaluation.

``Job.start`` runs a tool in a fork of this process, which has imported everything: a start takes a fraction of a second
instead of many. ``Job.command`` is what a user types instead.
"""

import json
import os
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch

from mmrobust.checkpoint import load_checkpoint_file
from mmrobust.datasets.minicity import MiniCityParams, write_minicity
from tests.tiny_segmentation import REPO, TINY_SEGMENTATION
from tests.tool_loading import load_tool

SEGMENTATION = f"""{TINY_SEGMENTATION}
test_pipeline = [
    dict(type='mmrobust.LoadImageFromFile'),
    dict(type='Resize', scale=(64, 32), keep_ratio=True),
    dict(type='mmrobust.LoadAnnotations'),
    dict(type='PackSegInputs'),
]
train_dataloader = dict(batch_size=2, dataset=dict(data_root='DATA/minicity', pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(data_root='DATA/minicity', pipeline=test_pipeline))
test_dataloader = val_dataloader
train_cfg = dict(max_iters=12, val_interval=4)
default_hooks = dict(logger=dict(interval=1), checkpoint=dict(interval=2))
"""
CLASSIFICATION = f"""
_base_ = '{REPO}/configs/fan_digits.py'
model = dict(
    data_preprocessor=dict(num_classes=2),
    backbone=dict(arch=dict(_delete_=True, embed_dims=16, depth=2, num_heads=2, feature_blocks=(1,))),
    head=dict(num_classes=2, in_channels=16, loss=dict(mode='original')),
)
train_dataloader = dict(batch_size=2, dataset=dict(data_root='DATA/images', expected_classes=2))
val_dataloader = dict(batch_size=2, dataset=dict(data_root='DATA/images', expected_classes=2))
test_dataloader = val_dataloader
train_cfg = dict(max_epochs=3, val_interval=1)
default_hooks = dict(logger=dict(interval=1), ema=dict(type='EMAHook', momentum=0.1, priority='ABOVE_NORMAL'))
"""


@dataclass
class Job:
    """A tool with its arguments, which may be started again and again until it is finished.

    Attributes:
        tool: file below ``tools``.
        arguments: of a folder that it writes to.
        outcome: of such a folder: what has to be the same, however it came about.
    """

    tool: str
    arguments: Callable[[Path], list[str]]
    outcome: Callable[[Path], dict]

    def command(self, folder: Path, *options: str) -> list[str]:
        """For ``subprocess``."""
        return [sys.executable, str(REPO / 'tools' / self.tool), *self.arguments(folder), *options]

    def start(self, folder: Path, output: Path, *options: str, first: Callable[[], object] = lambda: None) -> int:
        """Start it as the leader of a new group of processes, with what it prints appended to a file; return its id.

        ``first`` is called in the new process before the tool.
        """
        # without threads: OpenMP and OpenCV would wait forever for those that a fork does not inherit
        threads = cv2.getNumThreads()
        cv2.setNumThreads(0)
        process = os.fork()
        if process:
            cv2.setNumThreads(threads)
            return process
        torch.set_num_threads(1)
        code = 1
        try:
            os.setsid()
            sys.stdout = sys.stderr = output.open('a')
            os.dup2(sys.stdout.fileno(), 1)
            os.dup2(sys.stdout.fileno(), 2)
            sys.argv = [self.tool]
            first()
            load_tool(self.tool).main([*self.arguments(folder), *options])
            code = 0
        except SystemExit as stopped:
            code = stopped.code or 0
        except BaseException:
            sys.excepthook(*sys.exc_info())
        finally:
            sys.stdout.flush()
            os._exit(code)


def write_files(folder: Path) -> None:
    """Write data and configs."""
    write_minicity(folder / 'minicity', MiniCityParams(num_train=4, num_val=2, num_acdc=0, size=(64, 32)))
    pixels = np.random.default_rng(0).integers(0, 256, (2, 5, 32, 32, 3), dtype=np.uint8)
    for label, images in enumerate(pixels):
        (folder / f'images/{label}').mkdir(parents=True)
        for index, image in enumerate(images):
            cv2.imwrite(str(folder / f'images/{label}/{index}.png'), image)
    for name, config in (('segmentation', SEGMENTATION), ('classification', CLASSIFICATION)):
        (folder / f'{name}.py').write_text(config.replace('DATA', str(folder)))


def training(folder: Path, name: str) -> Job:
    """The training of ``segmentation`` or ``classification``; it resumes where there is something to resume."""
    config = str(folder / f'{name}.py')
    return Job('train.py', lambda work: [config, '--work-dir', str(work), '--resume'], trained)


def evaluation(folder: Path, checkpoint: Path) -> Job:
    """Of the segmentation model on five cells."""
    cells = ['--corruptions', 'gaussian_noise', 'contrast', '--severities', '2', '5', '--device', 'cpu']
    config = str(folder / 'segmentation.py')
    return Job('evaluate_robustness.py', lambda out: [config, str(checkpoint), '--out', str(out), *cells], results)


def trained(work: Path) -> dict:
    """Everything that was logged, and all checkpoints that are left, except for times and versions."""
    scalars = {}
    for file in sorted(work.glob('*/vis_data/scalars.json'), key=lambda path: path.stat().st_ino):
        for line in file.read_text().splitlines():
            entry = json.loads(line) if line.endswith('}') else {}  # it was killed in the middle of a line
            entry = {key: value for key, value in entry.items() if 'time' not in key and key != 'memory'}
            kind = 'training' if 'loss' in entry else 'validation'
            scalars.setdefault((kind, entry.get('step')), []).append(entry)
    repeated = {key for key, entries in scalars.items() if any(entry != entries[0] for entry in entries)}
    checkpoints = {path.name: load_checkpoint_file(path) for path in work.glob('*.pth')}
    return {
        'logged differently': repeated,
        'scalars': {key: entries[0] for key, entries in scalars.items() if key[1] is not None},
        'checkpoints': {
            name: {key: flat(content.get(key)) for key in ('state_dict', 'ema_state_dict', 'optimizer')}
            for name, content in checkpoints.items()
        },
        'best': checkpoints[Path((work / 'last_checkpoint').read_text()).name]['message_hub']['runtime_info'].get(
            'best_score'
        ),
    }


def results(out: Path) -> dict:
    """Every file, byte by byte."""
    return {str(path.relative_to(out)): path.read_bytes() for path in sorted(out.rglob('*')) if path.is_file()}


def flat(content: object, name: str = '') -> dict[str, object]:
    """Nested containers as one dict, with tensors as bytes, so that ``==`` compares every bit."""
    if isinstance(content, dict):
        items = content.items()
    elif isinstance(content, list | tuple):
        items = enumerate(content)
    else:
        return {name: content.numpy().tobytes() if isinstance(content, torch.Tensor) else content}
    return {key: value for place, part in items for key, value in flat(part, f'{name}.{place}').items()}


def wait(process: int, seconds: float = 300, then: signal.Signals | None = signal.SIGKILL) -> int:
    """Wait for an end; return the exit code, or minus the number of the signal that ended it.

    Raises:
        TimeoutError: it has not ended by itself in this time; its group gets the signal ``then``.
    """
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found, status = os.waitpid(process, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.005)
    if then is not None:
        os.killpg(process, then)
        os.waitpid(process, 0)
    raise TimeoutError(f'{process} has not ended in {seconds} s')

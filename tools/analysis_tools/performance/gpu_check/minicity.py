"""MiniCity as a user runs it: drawn, trained and evaluated."""

import json
import statistics
from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import suppress
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from mmrobust.processes import end_with_parent
from performance.gpu_check.processes import error_lines
from performance.gpu_check.tools import ToolRun, require, run_tool
from performance.gpu_check.work import Work

WARM_UP = 40  # iterations before the steady state: compiling, choosing kernels, starting the loaders
_TINY = """
model = dict(
    data_preprocessor=dict(size=(32, 64)),
    backbone=dict(
        arch=dict(_delete_=True, embed_dims=16, depth=2, num_heads=2, stem_depths=(1, 1), feature_blocks=(1,))
    ),
    decode_head=dict(in_channels=[128, 256, 16, 16], channels=16),
    test_cfg=dict(crop_size=(32, 64), stride=(24, 48)),
)
train_dataloader['batch_size'] = 2
train_dataloader['dataset']['pipeline'] = [
    dict(type='mmrobust.LoadImageFromFile'),
    dict(type='mmrobust.LoadAnnotations'),
    dict(type='RandomResize', scale=(64, 32), ratio_range=(1.0, 2.0), keep_ratio=True),
    dict(type='RandomCrop', crop_size=(32, 64)),
    dict(type='PackSegInputs'),
]
"""


def minicity(work: Work) -> None:
    """Seconds of an iteration in the steady state, and metrics in both precisions."""
    data = draw(work)
    _try(work, 'train --amp', lambda: _train(work, data, ('--amp',)))
    if not work.tiny:  # on a CPU compiling takes minutes, and there are no CUDA graphs
        _try(work, 'train --amp --cuda-graphs', lambda: _train(work, data, ('--amp', '--cuda-graphs')))
    work.require_time(5, 'evaluation')
    # not timed, so beside each other; the runs of tools are found by their folders
    with processes(work, 2) as pool:
        exact, quick = (pool.submit(_evaluate, without_notes(work), data, *options) for options in ((), ('--amp',)))
        _try(work, 'evaluate', lambda: _compare(exact, quick))


def draw(work: Work) -> Path:
    """The data set, as large as the check takes it."""
    data = work.folder / 'minicity'
    size, streets = (('64', '32'), ('4', '2', '1')) if work.tiny else (('256', '128'), ('32', '8', '1'))
    counts = [word for pair in zip(('--num-train', '--num-val', '--num-acdc'), streets, strict=True) for word in pair]
    arguments = ['--out', str(data), '--size', *size, *counts]
    drawn = run_tool(work, 'tools/dataset_converters/minicity.py', arguments, work.logs / 'minicity-draw.log')
    require(drawn)
    work.note('draw', {'seconds': drawn.seconds})
    return data


def processes(work: Work, count: int) -> ProcessPoolExecutor:
    """Processes of the part that run tools beside each other; they report nothing by themselves."""
    context = get_context('fork' if work.forked else 'spawn')
    return ProcessPoolExecutor(count, mp_context=context, initializer=end_with_parent)


def without_notes(work: Work) -> Work:
    """For another process, which cannot have the connection."""
    return replace(work, connection=None)


def _try(work: Work, name: str, step: Callable[[], dict[str, Any]]) -> None:
    """One step that fails is reported, and the others are made."""
    work.require_time(5, name)
    try:
        work.note(name, step())
    except Exception as error:
        work.note(name, {'error': error_lines(error)})


def config(work: Work, data: Path, interval: int, more: str = '') -> Path:
    """The shipped config with another data root, and a log entry every ``interval`` iterations of these alone."""
    path = work.folder / f'minicity_{interval}.py'
    path.write_text(
        f"""
_base_ = {str(work.root / 'configs/fan_tap_adl_minicity.py')!r}
train_dataloader = dict(dataset=dict(data_root={str(data)!r}))
val_dataloader = dict(dataset=dict(data_root={str(data)!r}))
test_dataloader = dict(dataset=dict(data_root={str(data)!r}))
default_hooks = dict(logger=dict(interval={interval}))
log_processor = dict(window_size={interval})
"""
        + (_TINY if work.tiny else '')
        + more
    )
    return path


def _train(work: Work, data: Path, options: tuple[str, ...]) -> dict[str, Any]:
    iterations, interval = (6, 2) if work.tiny else (100, 10)
    name = 'train' + ''.join(options)
    run = training(work, config(work, data, interval), name, iterations, [*options, '--no-validate'])
    require(run)
    entries = scalars(work.folder / name)
    steady = [entry for entry in entries if entry['step'] > (2 if work.tiny else WARM_UP)]
    return {
        'seconds_per_iteration': statistics.median(entry['time'] for entry in steady),
        'of these waiting for data': statistics.median(entry['data_time'] for entry in steady),
        'iterations': entries[-1]['step'],
        'losses': {str(entry['step']): entry['loss'] for entry in (entries[0], entries[-1])},
        'memory, MB': entries[-1].get('memory'),
        'wall_seconds': run.seconds,
    }


def training(work: Work, config: Path, name: str, iterations: int, arguments: list[str], watch: Any = None) -> ToolRun:
    command = [str(config), '--work-dir', str(work.folder / name), *arguments]
    command += ['--cfg-options', f'train_cfg.max_iters={iterations}', f'train_cfg.val_interval={iterations}']
    command += [f'default_hooks.checkpoint.interval={iterations}']
    log = work.logs / f'minicity-{name}.log'
    return run_tool(work, 'tools/train.py', command, log, *([watch] if watch else []))


def _evaluate(work: Work, data: Path, *options: str) -> dict[str, float]:
    """The trained model on clean images and under two corruptions."""
    checkpoint = (work.folder / 'train--amp' / 'last_checkpoint').read_text().strip()
    out = work.folder / f'robustness{"".join(options)}'
    arguments = [str(config(work, data, 10)), checkpoint, '--out', str(out), *options]
    arguments += ['--corruptions', 'gaussian_noise', 'fog', '--severities', '3', '--worst', '0']
    log = work.logs / f'minicity-evaluate{"".join(options)}.log'
    run = require(run_tool(work, 'tools/evaluate_robustness.py', arguments, log))
    results = json.loads((out / 'results.json').read_text())['results']
    return {'wall_seconds': run.seconds, 'clean_mIoU': results['clean_mIoU'], 'mPC': results['mPC']}


def _compare(exact: Future, quick: Future) -> dict[str, Any]:
    """Both evaluations, and the larger of the differences of their two numbers."""
    found = {'float32': exact.result(), '--amp': quick.result()}
    differences = [abs(found['float32'][key] - found['--amp'][key]) for key in ('clean_mIoU', 'mPC')]
    return found | {'difference': max(differences)}


def scalars(work_dir: Path) -> list[dict[str, Any]]:
    """Logged losses of all runs in the folder, in the order of iterations."""
    entries = {}
    for file in sorted(work_dir.glob('*/vis_data/scalars.json')):
        for line in file.read_text().splitlines():
            with suppress(json.JSONDecodeError):  # a line that is being written
                entry = json.loads(line)
                if 'loss' in entry:
                    entries[entry['step']] = entry
    return [entries[step] for step in sorted(entries)]

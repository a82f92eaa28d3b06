"""Shared by the demos: they show and run the commands that a user would type."""

import json
import multiprocessing
import os
import runpy
import shlex
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from pathlib import Path

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

PROJECT = Path(__file__).resolve().parents[1]
console = Console(highlight=False, record=True)


def of_project(path: str) -> str:
    """A file of this project, such as ``'configs/fan_minicity.py'``: from the working directory if it is below it."""
    file, here = PROJECT / path, Path.cwd()
    return str(file.relative_to(here) if file.is_relative_to(here) else file)


def run(commands: Mapping[Path, Sequence[str]], at_once: int = 1, watch: Callable[[], None] = lambda: None) -> None:
    """Run tools of this project, each in a process of its own.

    Args:
        commands: file for what a tool prints, to the tool's path in the project, such as ``'tools/test.py'``, and its
            arguments.
        at_once: how many run at a time. With more than one, each computes in one thread, so that the results do not
            depend on the number of cores.
        watch: called about every second while they run.

    Raises:
        SystemExit: a command failed; the end of its output is shown.
    """
    waiting = {log: [of_project(command[0]), *command[1:]] for log, command in commands.items()}
    for log, command in waiting.items():
        console.print(f'[dim]$ {shlex.join(["python", *command])}   (output: {log})[/dim]', soft_wrap=True)
    running: dict[Path, BaseProcess] = {}
    # a forked process has this one's imports already: they are most of what a short command computes
    context = multiprocessing.get_context('fork' if sys.platform == 'linux' else 'spawn')
    try:
        while waiting or running:
            while waiting and len(running) < at_once:
                log = next(iter(waiting))
                log.parent.mkdir(parents=True, exist_ok=True)
                running[log] = context.Process(target=_run_tool, args=(waiting.pop(log), log, at_once > 1))
                sys.stdout.flush()
                running[log].start()
            wait([process.sentinel for process in running.values()], timeout=1)
            watch()
            for log in [log for log, process in running.items() if not process.is_alive()]:
                code = running.pop(log).exitcode
                if code:
                    console.print(''.join(log.read_text().splitlines(keepends=True)[-15:]), markup=False)
                    raise SystemExit(f'a command above failed with exit code {code}; all of its output is in {log}')
    finally:
        for process in running.values():
            process.terminate()
        for process in running.values():
            process.join()


def _run_tool(command: Sequence[str], log: Path, one_thread: bool) -> None:
    """As ``python TOOL ARGUMENTS >LOG 2>&1``, in this process."""
    output = log.open('w', buffering=1)
    sys.stdout = sys.stderr = output
    for stream in (1, 2):  # what libraries and processes of this one print
        os.dup2(output.fileno(), stream)
    sys.argv = list(command)
    sys.path[0] = str(Path(command[0]).parent.resolve())
    if one_thread:
        torch.set_num_threads(1)
    runpy.run_path(command[0], run_name='__main__')


def train(
    runs: Mapping[str, tuple[str, Path]],
    options: Sequence[str],
    total: int,
    losses: Mapping[str, str],
    step: str = 'step',
    at_once: int = 1,
) -> None:
    """Train with ``tools/train.py``, with a line for each run that shows progress, losses and time left.

    Args:
        runs: what to call a run, to its config and its working directory; it is continued where it was.
        options: more arguments of ``tools/train.py``.
        total: iterations or epochs until the end.
        losses: what to show, by its name in the log.
        step: entry of the log that counts up to ``total``.
        at_once: how many to train at a time, as of :func:`run`.
    """
    columns = (
        TextColumn('{task.description}'),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn('{task.fields[losses]}'),
    )
    with Progress(*columns, console=console) as progress:
        tasks = {name: progress.add_task(name, total=total, losses='') for name in runs}

        def watch() -> None:
            for name, (_, work_dir) in runs.items():
                last = last_scalars(work_dir)
                if last:
                    shown = '  '.join(f'{title} {last[key]:.3f}' for title, key in losses.items() if key in last)
                    progress.update(tasks[name], completed=last[step], losses=shown)

        commands = {
            work_dir / 'train.log': ['tools/train.py', config, '--work-dir', str(work_dir), '--resume', *options]
            for config, work_dir in runs.values()
        }
        run(commands, at_once, watch)
        watch()
        for task in tasks.values():
            progress.update(task, completed=total)  # the last iterations may lie between two log entries


def last_scalars(work_dir: Path) -> dict | None:
    """The last training entry that MMEngine's logger wrote, None before the first."""
    for file in sorted(work_dir.glob('*/vis_data/scalars.json'), reverse=True):
        for line in reversed(file.read_text().splitlines()):
            entry = json.loads(line) if line.endswith('}') else {}
            if 'loss' in entry:
                return entry
    return None


def last_checkpoint(work_dir: Path) -> str:
    """Path of the checkpoint that a run wrote last."""
    return (work_dir / 'last_checkpoint').read_text().strip()


def show(title: str, columns: Sequence[str], rows: Mapping[str, Iterable[str]]) -> None:
    """Print a table with a row for each model."""
    table = Table('model', title=title)
    for column in columns:
        table.add_column(column, justify='right')
    for name, values in rows.items():
        table.add_row(name, *values)
    console.print(table)

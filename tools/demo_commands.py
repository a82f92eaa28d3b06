"""Shared by the demos: they show and run the commands that a user would type."""

import json
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

PROJECT = Path(__file__).resolve().parents[1]
console = Console(highlight=False)


def of_project(path: str) -> str:
    """A file of this project, such as ``'configs/fan_minicity.py'``: from the working directory if it is below it."""
    file, here = PROJECT / path, Path.cwd()
    return str(file.relative_to(here) if file.is_relative_to(here) else file)


def run(command: Sequence[str], log: Path, watch: Callable[[], None] = lambda: None) -> None:
    """Run a tool of this project, its output in ``log``.

    Args:
        command: the tool's path in the project, such as ``'tools/test.py'``, and its arguments.
        log: file for what it prints.
        watch: called about every second while it runs.

    Raises:
        SystemExit: the command failed; the end of its output is shown.
    """
    command = [of_project(command[0]), *command[1:]]
    console.print(f'[dim]$ {shlex.join(["python", *command])}   (output: {log})[/dim]', soft_wrap=True)
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open('w') as output:
        process = subprocess.Popen([sys.executable, *command], stdout=output, stderr=subprocess.STDOUT)
        try:
            while process.poll() is None:
                time.sleep(1)
                watch()
        finally:
            process.terminate()
    if process.returncode:
        console.print(''.join(log.read_text().splitlines(keepends=True)[-15:]), markup=False)
        raise SystemExit(f'the command above failed with exit code {process.returncode}; all of its output is in {log}')


def train(
    config_path: str, work_dir: Path, options: Sequence[str], total: int, losses: Mapping[str, str], step: str = 'step'
) -> None:
    """Train with ``tools/train.py``, with a line that shows progress, losses and time left.

    Args:
        config_path: the config.
        work_dir: of the run, which is continued where it was.
        options: more arguments of ``tools/train.py``.
        total: iterations or epochs until the end.
        losses: what to show, by its name in the log.
        step: entry of the log that counts up to ``total``.
    """
    columns = (
        TextColumn('{task.description}'),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn('{task.fields[losses]}'),
    )
    with Progress(*columns, console=console) as progress:
        task = progress.add_task('training', total=total, losses='')

        def watch() -> None:
            last = last_scalars(work_dir)
            if last:
                shown = '  '.join(f'{title} {last[key]:.3f}' for title, key in losses.items() if key in last)
                progress.update(task, completed=last[step], losses=shown)

        command = ['tools/train.py', config_path, '--work-dir', str(work_dir), '--resume', *options]
        run(command, work_dir / 'train.log', watch)
        watch()
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

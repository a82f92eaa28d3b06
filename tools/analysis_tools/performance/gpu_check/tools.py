"""The project's command line tools, run as a user runs them, without the seconds that importing takes."""

import ctypes
import importlib.util
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from performance.gpu_check.processes import KILL_WITH_PARENT, to_log
from performance.gpu_check.work import Work

_LINES = 12


class ToolRun(NamedTuple):
    """Outcome of a command."""

    exit_code: int
    seconds: float
    last_lines: str  # of its output


def load_tool(path: Path) -> ModuleType:
    """Import a tool, which is no module of the package. Like Python, it finds what lies beside it."""
    if str(path.parent) not in sys.path:
        sys.path.insert(0, str(path.parent))
    spec = importlib.util.spec_from_file_location(f'tool_{path.stem}', path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def run_tool(
    work: Work, tool: str, arguments: Sequence[str], log: Path, watch: Callable[[int], None] = lambda pid: None
) -> ToolRun:
    """Run a tool of this project in a process of its own.

    The process is forked off where that is possible: this one must not have touched the GPU then.

    Args:
        work: of the part.
        tool: its path from the project's folder.
        arguments: of the command line.
        log: gets what it prints.
        watch: called with its process id ten times a second while it runs.
    """
    path = work.root / tool
    log.parent.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    if work.forked:
        process = multiprocessing.get_context('fork').Process(target=_main, args=(path, arguments, log))
        process.start()
        while process.is_alive():
            watch(process.pid)
            process.join(0.1)
        exit_code = process.exitcode
    else:
        with log.open('wb') as output:
            command = [sys.executable, str(path), *arguments]
            process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, cwd=work.folder)
            while process.poll() is None:
                watch(process.pid)
                time.sleep(0.1)
            exit_code = process.returncode
    lines = log.read_text(errors='replace').rstrip().splitlines()[-_LINES:] if log.is_file() else []
    return ToolRun(exit_code, time.monotonic() - started, '\n'.join(lines))


def in_own_process(function: Callable[..., None], *args: Any) -> None:
    """Call what computes: threads of OpenMP or OpenCV that began here would hang the tools that are forked off later.

    Raises:
        RuntimeError: it raised something, which the log shows.
    """
    process = multiprocessing.get_context('fork').Process(target=function, args=args)
    process.start()
    process.join()
    if process.exitcode:
        raise RuntimeError(f'{function.__name__} ended with code {process.exitcode}, see the log')


def require(run: ToolRun, exit_code: int = 0) -> ToolRun:
    """Check how a command ended.

    Raises:
        RuntimeError: it ended otherwise.
    """
    if run.exit_code != exit_code:
        raise RuntimeError(f'a command ended with code {run.exit_code} instead of {exit_code}:\n{run.last_lines}')
    return run


def _main(path: Path, arguments: Sequence[str], log: Path) -> None:
    if sys.platform == 'linux':
        ctypes.CDLL(None).prctl(KILL_WITH_PARENT, signal.SIGKILL)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # as in a process that was not forked off
    to_log(log)
    os.chdir(log.parent)  # what a tool writes beside its work_dir is not the user's
    sys.argv = [str(path), *arguments]
    load_tool(path).main()

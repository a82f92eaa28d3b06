"""Parts in processes of their own under a time limit: whatever happens to one, what it has reported is kept."""

import ctypes
import faulthandler
import json
import multiprocessing
import os
import resource
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, NamedTuple

import torch

from performance.gpu_check.work import OutOfTimeError, Work

STATES = ('done', 'out of time', 'failed')  # of several processes the last one counts
_LINES = 12  # of a log or traceback that a report shows
_FATAL = 'Fatal Python error'
KILL_WITH_PARENT = 1  # PR_SET_PDEATHSIG of Linux


class Outcome(NamedTuple):
    """How a part ended."""

    state: str  # of STATES
    reason: str  # '' where it is done


class Job(NamedTuple):
    """One part, ready to run in ``work.count`` processes.

    Attributes:
        function: of a module, not a lambda; it returns nothing and reports with :meth:`Work.note`.
        work: what it is called with.
        on_note: called by the parent with name and value of everything that is reported.
        log: what the first process prints; the logs of the others lie beside it.
    """

    function: Callable[[Work], None]
    work: Work
    on_note: Callable[[str, Any], None]
    log: Path


class _Running(NamedTuple):
    process: BaseProcess
    job: int  # its index
    log: Path


def run_under_limit(jobs: Sequence[Job], limit: float) -> Iterator[tuple[int, Outcome]]:
    """Run jobs beside each other; end what is left of them after ``limit`` seconds.

    Args:
        jobs: none of them touches the GPU before its process has begun.
        limit: seconds.

    Yields:
        The index of each job with how it ended, as soon as its last process has.
    """
    ends = time.monotonic() + limit
    running = dict(started for index, job in enumerate(jobs) for started in _start(index, job))
    outcomes: list[list[Outcome]] = [[] for _ in jobs]
    late = False
    try:
        while running and not late:
            late = time.monotonic() > ends
            wait(list(running), timeout=0.2)
            for receiver, (process, index, log) in list(running.items()):
                alive = process.is_alive()  # asked first: what it sent before it died is read below
                outcome = None
                for message in _messages(receiver):
                    if isinstance(message, dict):  # the last one of a process: how it ended
                        outcome = Outcome(**message)
                    else:
                        jobs[index].on_note(*message)
                if outcome is None and alive:
                    continue
                if outcome is None:
                    process.join()
                    outcome = Outcome('failed', f'{_death(process.exitcode)}\n{_tail_of(log)}'.rstrip())
                outcomes[index].append(outcome)
                _end(process)
                del running[receiver]
                if len(outcomes[index]) == jobs[index].work.count:
                    yield index, _together(outcomes[index])
        for process, _, _ in running.values():
            with suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGABRT)  # it writes to its log where it is
        for process, _, _ in running.values():
            process.join(1)
    finally:
        for process, _, _ in running.values():
            _end(process)
    for _, index, log in running.values():
        reason = f'ended after {limit:.0f} s; last lines of its log:\n{_tail_of(log)}'
        outcomes[index].append(Outcome('out of time', reason))
    for index in dict.fromkeys(index for _, index, _ in running.values()):
        yield index, _together(outcomes[index])


def forked_processes_can_use_the_device(work: Work) -> bool:
    """Whether a process that is forked off here finds a GPU that works; True without CUDA.

    If something that was imported has touched the GPU, it does not, and processes must be started afresh.
    """
    if not torch.cuda.is_available():
        return True
    job = Job(_touch_device, work, lambda name, value: None, work.logs / 'fork.log')
    return all(outcome.state == 'done' for _, outcome in run_under_limit([job], 60))


def error_lines(error: BaseException) -> str:
    """The last lines of its traceback."""
    return _tail(''.join(traceback.format_exception(error)))


def to_log(log: Path) -> None:
    """Send what this process prints to a file, what a library or a dying interpreter prints too."""
    sys.stdout.flush()
    sys.stderr.flush()
    with log.open('wb') as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    # those of Python may be somebody else's, such as a test's
    sys.stdout, sys.stderr = (os.fdopen(os.dup(number), 'w', buffering=1) for number in (1, 2))
    faulthandler.enable(sys.stderr, all_threads=False)


def _start(index: int, job: Job) -> Iterator[tuple[Connection, _Running]]:
    """Start the processes of a job, each with the end of a pipe where it reports."""
    context = multiprocessing.get_context('fork' if job.work.forked else 'spawn')
    for number in range(job.work.count):
        receiver, sender = context.Pipe(duplex=False)
        log = job.log if number == 0 else job.log.with_name(f'{job.log.stem}.{number}{job.log.suffix}')
        log.unlink(missing_ok=True)  # of an earlier run
        process = context.Process(target=_run, args=(job.function, job.work.of_process(number, sender), log))
        process.start()
        sender.close()  # so that nobody but the process holds it
        yield receiver, _Running(process, index, log)


def _together(outcomes: Sequence[Outcome]) -> Outcome:
    """How a job ended, by the worst of its processes."""
    state = max((outcome.state for outcome in outcomes), key=STATES.index)
    return Outcome(state, '\n'.join(dict.fromkeys(outcome.reason for outcome in outcomes if outcome.reason)))


def _touch_device(work: Work) -> None:
    torch.ones(1, device='cuda').sum().item()


def _run(function: Callable[[Work], None], work: Work, log: Path) -> None:
    os.setsid()  # a group, which is ended as a whole
    if sys.platform == 'linux':
        ctypes.CDLL(None).prctl(KILL_WITH_PARENT, signal.SIGKILL)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # of gigabytes
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which ends the group
    to_log(log)
    outcome = Outcome('done', '')
    try:
        function(work)
    except OutOfTimeError as error:
        outcome = Outcome('out of time', str(error))
    except BaseException as error:
        traceback.print_exc()
        outcome = Outcome('failed', error_lines(error))
    sys.stdout.flush()
    sys.stderr.flush()
    with suppress(OSError):
        work.connection.send(json.dumps(outcome._asdict()))
        work.connection.close()
    os._exit(0)  # not by way of threads and handlers of a library, which may never end


def _messages(receiver: Connection) -> Iterator[Any]:
    """Unread messages of a process."""
    with suppress(EOFError, OSError):
        while receiver.poll():
            yield json.loads(receiver.recv())


def _end(process: BaseProcess) -> None:
    """Kill a process and all that it has started."""
    for _ in range(2):  # its group may not exist yet
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        with suppress(ProcessLookupError):
            process.kill()
        process.join(5)


def _death(exit_code: int | None) -> str:
    if exit_code is not None and exit_code < 0:
        return f'its process was ended by {signal.Signals(-exit_code).name}; last lines of its log:'
    return f'its process ended with code {exit_code} and said nothing; last lines of its log:'


def _tail_of(log: Path) -> str:
    """Last useful lines of a log: the top of a stack of faulthandler, else the end."""
    text = log.read_text(errors='replace') if log.is_file() else ''
    fatal = text.rfind(_FATAL)
    return _tail(text) if fatal < 0 else '\n'.join(text[fatal:].splitlines()[:_LINES])


def _tail(text: str) -> str:
    return '\n'.join(text.rstrip().splitlines()[-_LINES:])

"""A part of the check, its share of the time, and what it is handed: sizes, folders, and a way to report findings."""

import fcntl
import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

Case = TypeVar('Case')


class OutOfTimeError(Exception):
    """A part has left out its last steps, so as not to be ended in the middle of one."""


@dataclass(frozen=True)
class Work:
    """One process's share of a part.

    Attributes:
        root: folder of the project: configs, tools, tests.
        folder: for what the part writes and nobody needs afterwards.
        logs: folder of the logs that stay.
        tiny: sizes for a CPU, to see that everything runs.
        forked: whether processes are forked off, with everything imported; else they are started afresh.
        deadline: by ``time.monotonic()``, when the part is ended.
        index: of this process, from 0.
        count: of processes that share the part.
    """

    root: Path
    folder: Path
    logs: Path
    tiny: bool
    forked: bool = True
    deadline: float = float('inf')
    index: int = 0
    count: int = 1
    connection: Connection | None = None

    def note(self, name: str, value: Any) -> None:
        """Report a finding, of numbers, text, lists and dicts. What was reported outlives the process."""
        if self.connection is not None:
            self.connection.send(json.dumps([name, value], default=float))

    def mine(self, cases: Sequence[Case]) -> Sequence[Case]:
        """This process's share of all cases."""
        return cases[self.index :: self.count]

    def require_time(self, seconds: float, step: str) -> None:
        """Go on only if there is time for a step.

        Raises:
            OutOfTimeError: fewer seconds are left.
        """
        if time.monotonic() + seconds > self.deadline:
            raise OutOfTimeError(f'no time was left for {step} and what follows')

    def shared_by(self, count: int, folder: Path, deadline: float) -> 'Work':
        """The work of a part."""
        return replace(self, count=count, folder=folder, deadline=deadline)

    def of_process(self, index: int, connection: Connection) -> 'Work':
        return replace(self, index=index, connection=connection)

    @contextmanager
    def beside_others(self) -> Iterator[None]:
        """For what is not timed, such as compiling: other processes of the part may do the same."""
        with self._locked(fcntl.LOCK_SH):
            yield

    @contextmanager
    def alone(self) -> Iterator[None]:
        """For what is timed: no other process of the part is inside :meth:`alone` or :meth:`beside_others`."""
        with self._locked(fcntl.LOCK_EX):
            yield

    @contextmanager
    def _locked(self, kind: int) -> Iterator[None]:
        # a process that dies lets go of them
        with (self.folder / 'device.lock').open('a') as device:
            # who waits for the device holds the queue, so that nobody who comes later is served before
            with (self.folder / 'queue.lock').open('a') as queue:
                fcntl.flock(queue, fcntl.LOCK_EX)
                fcntl.flock(device, kind)
            yield


class Part(NamedTuple):
    """One part of the check.

    Attributes:
        name: of the part.
        function: what runs, see :func:`performance.gpu_check.processes.run_under_limit`.
        share: of the time, beside those of the other parts.
        needs: the least seconds that are worth starting it for.
        processes: how many share the work, where there are cores.
    """

    name: str
    function: Callable[[Work], None]
    share: float
    needs: float
    processes: int = 1


def limits(groups: Sequence[Sequence[Part]], seconds: float) -> list[float]:
    """When each group of parts has to be over, in seconds from now.

    The parts of a group run beside each other, so the group's share is the largest of theirs. A group that is over
    earlier leaves its time to the next.
    """
    shares = [max(part.share for part in group) for group in groups]
    ends, passed = [], 0.0
    for share in shares:
        passed += share
        ends.append(seconds * passed / sum(shares))
    return ends


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count() or 1

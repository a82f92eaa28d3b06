"""A group of two processes that stays for the whole session: importing torch takes longer than any test here."""

import multiprocessing
import os
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch

WORLD_SIZE = 2
PATIENCE = 120  # seconds; a rank that waits longer for the other one fails instead of hanging


class Ranks:
    """Two processes with a gloo group. ``folder`` is where they meet, and their working directory.

    They are spawned and not forked: a process that has run OpenMP or CUDA cannot train in a fork.
    """

    def __init__(self, folder: Path) -> None:
        context = multiprocessing.get_context('spawn')
        self.processes = [
            ProcessPoolExecutor(1, mp_context=context, initializer=_join, initargs=(rank, str(folder)))
            for rank in range(WORLD_SIZE)
        ]

    def run(self, function: Callable, *args: Any) -> list[Any]:
        """What ``function(*args)`` returns on rank 0 and on rank 1. It must be one that can be imported."""
        results = [process.submit(function, *args) for process in self.processes]
        return [result.result() for result in results]

    def close(self) -> None:
        for wait in (False, True):  # both end at the same time
            for process in self.processes:
                process.shutdown(wait)


def _join(rank: int, folder: str) -> None:
    os.chdir(folder)
    os.environ['LOCAL_RANK'] = str(rank)
    torch.set_num_threads(1)
    torch.distributed.init_process_group(
        'gloo',
        init_method=f'file://{folder}/group',
        rank=rank,
        world_size=WORLD_SIZE,
        timeout=timedelta(seconds=PATIENCE),
    )

"""Writes a corrupted copy of a data set, as ``LoadCorruptedImageFromFile`` reads it."""

import json
import os
import signal
import socket
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

import cv2

from mmrobust.corruptions import CORRUPTIONS
from mmrobust.datasets.transforms import Corrupt, LoadImageFromFile
from mmrobust.datasets.transforms.load_corrupted import MANIFEST, check_manifest, manifest, path_in_copy
from mmrobust.files import create_whole, write_whole
from mmrobust.processes import end_with_parent, is_alive


def start_copy(corrupted_root: str, seed: int, profile: str) -> None:
    """Begin a copy, or check that one which was begun has this seed and profile.

    Raises:
        ValueError: the copy has another seed or profile, or none is known, or its manifest is damaged.
        OSError: the folder cannot be written.
    """
    path = Path(corrupted_root, MANIFEST)
    # a manifest is there before the first image is
    if any(Path(corrupted_root, name).is_dir() for name in CORRUPTIONS) and not path.exists():
        raise ValueError(
            f'{corrupted_root} has corrupted images but no {MANIFEST} that says how they were made: give another folder'
        )
    create_whole(path, json.dumps(manifest(seed, profile)) + '\n')
    check_manifest(corrupted_root, seed, profile)


def write_image(corrupted_root: str, corrupt: Corrupt, path: str) -> None:
    """Write the copy of one image, completely or not at all.

    Raises:
        ValueError, TypeError: the image is broken, or none that can be corrupted.
        OSError: the disk is full or the folder cannot be written.
    """
    image = corrupt(LoadImageFromFile()({'img_path': path}))['img']
    target = path_in_copy(corrupted_root, corrupt, path)
    write_whole(target, cv2.imencode('.png', image)[1].tobytes(), f'{target}.{socket.gethostname()}.{os.getpid()}.tmp')


def write_images(
    corrupted_root: str,
    jobs: Iterable[tuple[Corrupt, str]],
    num_workers: int,
    written: Callable[[Corrupt], None] = lambda corrupt: None,
) -> None:
    """Write the copies of many images; what killed processes of this machine have left half written is removed.

    After an error or Ctrl-C the images in work are finished, and no other is begun.

    Args:
        corrupted_root: folder of the copy.
        jobs: corruption and clean image of each file.
        num_workers: processes; 0 writes in this one.
        written: called after each file.

    Raises:
        ValueError, TypeError, OSError: as :func:`write_image`.
        concurrent.futures.process.BrokenProcessPool: a process was killed, probably for lack of memory.
    """
    for left in Path(corrupted_root).rglob(f'*.{socket.gethostname()}.*.tmp'):
        if not is_alive(int(left.suffixes[-2][1:])):
            left.unlink(missing_ok=True)
    if not num_workers:
        for corrupt, path in jobs:
            write_image(corrupted_root, corrupt, path)
            written(corrupt)
        return
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)  # before the processes fork: one would wait forever for the threads that it did not inherit
    pool = ProcessPoolExecutor(num_workers, initializer=_start_worker)
    try:
        corrupts = {pool.submit(write_image, corrupted_root, *job): job[0] for job in jobs}
        for future in as_completed(corrupts):
            future.result()
            written(corrupts[future])
    finally:
        pool.shutdown(cancel_futures=True)
        cv2.setNumThreads(threads)


def _start_worker() -> None:
    end_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches every process; the parent decides what it means
    cv2.setNumThreads(1)  # where processes are not forked

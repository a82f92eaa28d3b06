"""All runs of an experiment, one file each, so that it can be stopped and goes on where it was."""

import hashlib
import io
import json
import multiprocessing
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import numpy as np
import torch

from experiment.arms import ADL, STRONGER, WITH_TAP, changes
from experiment.images import Images, corrupted, draw_crops, draw_scenes, read_images
from experiment.training import HeldOut, run
from mmrobust.corruptions import FIFTEEN
from mmrobust.datasets.minicity.writer import VERSION
from mmrobust.files import read_json, write_whole
from mmrobust.processes import end_with_parent

SMALL_SHARE = 0.02  # of the gradient's norm: below it ADL is tried ten times as strong

_data: tuple[Images, HeldOut] | None = None  # of this process, and of those that are forked from it


class Study:
    """An experiment in a folder.

    Args:
        profile: see :mod:`experiment.profiles`.
        out: folder of the runs.
        jobs: processes; more than one only on a CPU.
        device: such as ``'cpu'`` or ``'cuda:0'``.
        config: whose data set is read where the profile's data is that of a config.
    """

    def __init__(self, profile: dict[str, Any], out: Path, jobs: int, device: str, config: Any = None) -> None:
        self.profile, self.out, self.jobs, self.device = profile, out, jobs, device
        images, held_out = self._images(config)
        self.fingerprint = _fingerprint(images, held_out)
        global _data
        _data = images, held_out

    def _images(self, config: Any) -> tuple[Images, HeldOut]:
        data, jobs = self.profile['data'], os.cpu_count() or 1
        if data['kind'] == 'config':
            images = read_images(config, 'train', data['train_images'], data['size'])
            clean = read_images(config, 'val', data['val_images'], data['size'])
        elif data['kind'] == 'crops':
            images = self._drawn(draw_crops, 'train', data['train_scenes'], data['train_per_class'], jobs)
            clean = self._drawn(draw_crops, 'val', data['val_scenes'], data['val_per_class'], jobs)
        else:
            images = self._drawn(draw_scenes, 'train', data['train_scenes'], jobs)
            clean = self._drawn(draw_scenes, 'val', data['val_scenes'], jobs)
        cells = [(name, severity) for name in FIFTEEN for severity in self.profile['severities']]
        return images, HeldOut(clean, {cell: corrupted(clean, *cell) for cell in cells})

    def _drawn(self, draw: Callable[..., Images], *arguments: Any) -> Images:
        """Drawn once, and kept beside the runs."""
        name = '_'.join(map(str, (draw.__name__, *arguments[:-1], f'v{VERSION}')))
        path = self.out / f'{name}.npz'
        if not path.is_file():
            images, file = draw(*arguments), io.BytesIO()
            np.savez(file, pixels=images.pixels, targets=images.targets)
            write_whole(path, file.getvalue())
        with np.load(path) as found:
            return Images(found['pixels'], found['targets'])

    def complete(self) -> None:
        """Run what is not there yet: seed by seed, so that whole seeds come first; then what follows from the results.

        Raises:
            ValueError: a run in the folder was made with other settings.
        """
        profile, seeds = self.profile, range(self.profile['seeds'])
        for arms in (profile['first'], profile['second']):
            self._run([(arm, seed) for seed in seeds for arm in arms])
        if profile['follow_up']:
            first = [read_json(self._path(arm, seed)) for seed in seeds for arm in profile['first']]
            self._run([(WITH_TAP + best_adl(first), seed) for seed in seeds])
            self._run([(arm + STRONGER, seed) for seed in seeds for arm in weak_adl(first)])

    def _path(self, arm: str, seed: int) -> Path:
        return self.out / 'runs' / f'{arm.replace(", ", "_").replace(" ", "_")}_seed{seed}.json'

    def _identity(self, arm: str, seed: int) -> dict[str, Any]:
        """Everything that decides the numbers, as JSON has it."""
        part = {key: self.profile[key] for key in ('model', 'recipe', 'severities', 'attention_images')}
        identity = dict(arm=arm, seed=seed, changes=changes(arm), data=self.fingerprint, **part)
        return json.loads(json.dumps(identity))

    def _run(self, runs: Sequence[tuple[str, int]]) -> None:
        missing = [one for one in runs if not self._is_there(*one)]
        if self.jobs == 1:
            for one in missing:
                self._complete(*one)
            return
        fork = multiprocessing.get_context('fork')  # the images are not copied
        with ProcessPoolExecutor(self.jobs, fork, initializer=_alone) as pool:
            for future in as_completed([pool.submit(self._complete, *one) for one in missing]):
                future.result()

    def _complete(self, arm: str, seed: int) -> None:
        if self._is_there(arm, seed):  # by another command on the same folder
            return
        found = run(self.profile, arm, seed, *_data, self.device)
        content = dict(arm=arm, seed=seed, **found, identity=self._identity(arm, seed))
        write_whole(self._path(arm, seed), json.dumps(content) + '\n')
        print(
            f'{arm}, seed {seed}: clean error {found["clean_error"]:.1f}%, '
            f'mean corrupted error {found["mean_corrupted_error"]:.2f}%, {found["seconds"]["train"]:.0f} s',
            flush=True,
        )

    def _is_there(self, arm: str, seed: int) -> bool:
        path = self._path(arm, seed)
        if not path.is_file():
            return False
        found, asked = read_json(path).get('identity', {}), self._identity(arm, seed)
        if found != asked:
            other = sorted(key for key in asked if found.get(key) != asked[key])
            raise ValueError(
                f'{path} was made with other settings ({", ".join(other)}): choose another folder by --out'
            )
        return True


def _alone() -> None:
    """A process of its own computes on one core."""
    end_with_parent()
    torch.set_num_threads(1)


def best_adl(runs: Sequence[dict[str, Any]]) -> str:
    """The form of ADL with the lowest mean corrupted error over seeds."""
    return min(ADL, key=lambda arm: np.mean([one['mean_corrupted_error'] for one in runs if one['arm'] == arm]))


def weak_adl(runs: Sequence[dict[str, Any]]) -> list[str]:
    """The forms of ADL whose gradient is small beside the task's: median over the log of all seeds."""

    def ratio(arm: str) -> float:
        return float(np.median([entry['gradient_ratio'] for one in runs if one['arm'] == arm for entry in one['log']]))

    return [arm for arm in ADL if ratio(arm) < SMALL_SHARE]


def _fingerprint(images: Images, held_out: HeldOut) -> str:
    digest = hashlib.sha256()
    for array in (images.pixels, images.targets, held_out.clean.pixels, *held_out.corrupted.values()):
        digest.update(np.ascontiguousarray(array))
    return digest.hexdigest()[:16]

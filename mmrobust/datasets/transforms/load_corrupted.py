"""Loads from a corrupted copy on disk; layout of such a copy.

<corrupted_root>/corrupted.json                                            how the copy was made
<corrupted_root>/<corruption>/<severity>/<name of the clean image below its data_root>.png
"""

import json
import os.path as osp
from collections.abc import Sequence

import numpy as np
from mmengine import fileio

from mmrobust.datasets.transforms.corrupt import Corrupt, name_below
from mmrobust.datasets.transforms.loading import LoadImageFromFile
from mmrobust.registry import TRANSFORMS

TOOL = 'tools/dataset_converters/cityscapes_c.py'
MANIFEST = 'corrupted.json'
FORMAT = 1  # raise it whenever files lie elsewhere or a corruption gives other pixels


@TRANSFORMS.register_module()
class LoadCorruptedImageFromFile(LoadImageFromFile):
    """Load the corrupted copy of ``results['img_path']``, which keeps the path of the clean image.

    The pixels are those of :class:`mmrobust.datasets.transforms.Corrupt` after :class:`LoadImageFromFile`.

    Args:
        corrupted_root: folder that ``tools/dataset_converters/cityscapes_c.py`` wrote.
        corruption: a name of ``mmrobust.corruptions.CORRUPTIONS``.
        severity: 1 to 5.
        data_root: folder of the clean images, the one that was handed to the tool or a copy of it.
        seed: that the copy must have been made with.
        profile: that the copy must have been made with.
        **kwargs: as in :class:`LoadImageFromFile`; ``backend_args`` is for the copy.

    Raises:
        ValueError: the corruption, severity or profile is not allowed, ``data_root`` is empty, an image is not below
            it, or the copy was made with another seed or profile; a file is broken.
        TypeError: the severity is not an integer.
        FileNotFoundError: there is no copy, or an image is not in it.
    """

    def __init__(
        self,
        corrupted_root: str,
        corruption: str,
        severity: int,
        data_root: str,
        seed: int = 0,
        profile: str = 'rgb',
        **kwargs,
    ) -> None:
        super().__init__(**kwargs)
        self.corrupted_root = corrupted_root
        self.corrupt = Corrupt(corruption, severity, data_root, seed, profile)  # what has been done to the images
        if not data_root:
            raise ValueError(f'a copy of corrupted images needs the data_root of the clean ones, got {data_root!r}')
        check_manifest(corrupted_root, seed, profile, self.backend_args)

    def transform(self, results: dict) -> dict | None:
        """Add img, img_shape and ori_shape (both (H, W))."""
        how, path = self.corrupt, path_in_copy(self.corrupted_root, self.corrupt, results['img_path'])
        # looked up first: with ignore_empty an absent file would be passed over, and another image taken instead
        if not fileio.exists(path, backend_args=self.backend_args):
            raise FileNotFoundError(
                f'There is no {path}: write it with `python {TOOL} {how.data_root} {self.corrupted_root} --corruptions '
                f'{how.corruption} --severities {how.severity} --seed {how.seed} --profile {how.profile}`, with the '
                f'--images and --suffix that fit {results["img_path"]}.'
            )
        loaded = super().transform({**results, 'img_path': path, 'img': None})  # a clean one would do
        return None if loaded is None else {**loaded, 'img_path': results['img_path']}

    def __repr__(self) -> str:
        return f'{type(self).__name__}(corrupted_root={self.corrupted_root!r}, {self.corrupt!r})'


def path_in_copy(corrupted_root: str, corrupt: Corrupt, path: str) -> str:
    """Return where the copy of the image ``path`` lies.

    A copy is a PNG: a name that does not end in ``.png`` gets it appended, so ``a.jpg`` and ``a.png`` stay two files.

    Raises:
        ValueError: the image is not below ``data_root``.
    """
    name = name_below(corrupt.data_root, path)
    if f'{name}/'.startswith('../'):
        raise ValueError(f'the image {path} must lie below data_root {corrupt.data_root} to have a corrupted copy')
    name = name if name.endswith('.png') else f'{name}.png'
    return osp.join(corrupted_root, corrupt.corruption, str(corrupt.severity), name)


def manifest(seed: int, profile: str) -> dict[str, int | str]:
    """Return what decides the pixels of a copy, besides the clean images."""
    return {'format': FORMAT, 'seed': seed, 'profile': profile}


def check_manifest(corrupted_root: str, seed: int, profile: str, backend_args: dict | None = None) -> None:
    """Check that a copy is what is asked for.

    Raises:
        FileNotFoundError: there is no manifest.
        ValueError: it is of another seed, profile or format, or damaged.
    """
    path = osp.join(corrupted_root, MANIFEST)
    if not fileio.exists(path, backend_args=backend_args):
        raise FileNotFoundError(f'There is no {path}: a copy of corrupted images is written by `python {TOOL}`.')
    try:
        found = dict(json.loads(fileio.get_text(path, backend_args=backend_args)))
    except (ValueError, TypeError, RecursionError) as error:
        raise ValueError(f'{path} is damaged ({error}): write it again with `python {TOOL}`, or restore it') from error
    asked = manifest(seed, profile)
    wrong = [key for key in asked if found.get(key) != asked[key]]
    if wrong:
        listed = '; '.join(f'{key} {found.get(key)!r} there, {asked[key]!r} asked for' for key in wrong)
        raise ValueError(f'{corrupted_root} holds other corrupted images ({listed}): give another folder')


def check_pixels(corrupted_root: str, jobs: Sequence[tuple[Corrupt, str]]) -> None:
    """Make three of the images of a copy again, the first, the middle and the last, and compare what is there of them.

    Raises:
        ValueError: one has other pixels: it was made of another image of this name, or by another version.
    """
    for place in sorted({0, len(jobs) // 2, len(jobs) - 1}) if jobs else ():
        corrupt, path = jobs[place]
        target = path_in_copy(corrupted_root, corrupt, path)
        if not osp.isfile(target):
            continue
        found, expected = (LoadImageFromFile()({'img_path': of})['img'] for of in (target, path))
        if not np.array_equal(found, corrupt({'img_path': path, 'img': expected})['img']):
            raise ValueError(
                f'{target} is not {path} under this corruption: the copy was made of other images, or with another '
                'version of OpenCV or mmrobust; give another folder, or have a new copy written'
            )

"""Write MiniCity to disk in the folder layouts of Cityscapes and ACDC.

<root>/leftImg8bit/{train,val}/<city>/<city>_<scene>_000019_leftImg8bit.png
<root>/gtFine/{train,val}/<city>/<city>_<scene>_000019_gtFine_{labelTrainIds,labelIds,color}.png
<root>/acdc/rgb_anon/{fog,night,rain,snow}/{train,val}/<sequence>/<sequence>_frame_<frame>_rgb_anon.png
<root>/acdc/rgb_anon/{fog,night,rain,snow}/{train_ref,val_ref}/<sequence>/<sequence>_frame_<frame>_rgb_ref_anon.png
<root>/acdc/gt/{fog,night,rain,snow}/{train,val}/<sequence>/<sequence>_frame_<frame>_gt_{labelTrainIds,labelIds}.png
<root>/minicity.json
"""

import functools
import json
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

import cv2
import numpy as np

from mmrobust.folders import fill_folder, is_filled, read_parameters
from mmrobust.processes import end_with_parent

from .canvas import to_color, to_label_ids
from .scene import draw_scene
from .street import SPLITS, Street, lay_out
from .weather import CONDITIONS, label_map, render

VERSION = 2  # raise it whenever the same parameters give other files
PARAMETER_FILE = 'minicity.json'
CITIES = {'train': ('ostermoor', 'brennwald', 'fairhaven', 'lindenmoor'), 'val': ('kielbruck', 'talheim')}
_MIN_SIZE = (64, 32)


@dataclass(frozen=True)
class MiniCityParams:
    """Parameters that determine every byte of a MiniCity folder.

    Attributes:
        num_train: streets of the training split.
        num_val: streets of the validation split; none of them occurs in training.
        num_acdc: the first so many streets of each split are also drawn in fog, at night, in rain and in snow.
        size: width and height of every image in pixels.
        seed: another seed gives other streets.

    Raises:
        ValueError: for a number out of range.
    """

    num_train: int = 160
    num_val: int = 40
    num_acdc: int = 20
    size: tuple[int, int] = (512, 256)
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ('num_train', 'num_val'):
            if getattr(self, name) < 1:
                raise ValueError(f'{name} must be 1 or more, got {getattr(self, name)}')
        if not 0 <= self.num_acdc <= min(self.num_train, self.num_val):
            most = min(self.num_train, self.num_val)
            raise ValueError(f'num_acdc must lie in 0..{most} (the streets of the smaller split), got {self.num_acdc}')
        if len(self.size) != 2 or self.size[0] < _MIN_SIZE[0] or self.size[1] < _MIN_SIZE[1]:
            raise ValueError(f'size must be (width, height) of at least {_MIN_SIZE}, got {tuple(self.size)}')
        if self.seed < 0:
            raise ValueError(f'seed must be 0 or more, got {self.seed}')

    def as_json(self) -> dict:
        """Content of `minicity.json`."""
        return {'version': VERSION, **asdict(self), 'size': list(self.size)}


def write_minicity(
    root: str | Path,
    params: MiniCityParams | None = None,
    overwrite: bool = False,
    track: Callable[..., Iterable[int]] | None = None,
) -> bool:
    """Write a whole data set, or nothing.

    Args:
        root: the folder to create.
        params: what to draw; the defaults when None.
        overwrite: replace a MiniCity that was written with other parameters.
        track: called as ``track(iterable, total=n, description=split)`` around each split, to show progress.

    Returns:
        True when the data set was written, False when the same one was there already.

    Raises:
        ValueError: when ``root`` holds another MiniCity and ``overwrite`` is False, or holds something else.
        OSError: when another process writes there, or it cannot be written.
    """
    root, params = Path(root), params or MiniCityParams()
    if is_filled(root, PARAMETER_FILE, params.as_json(), overwrite, 'MiniCity'):
        return False
    with fill_folder(root, PARAMETER_FILE) as partial:
        pool = ProcessPoolExecutor(initializer=end_with_parent)  # streets are independent of each other
        try:
            for split, count in zip(SPLITS, (params.num_train, params.num_val), strict=True):
                streets = pool.map(functools.partial(_write_street, partial, params, split), range(count))
                for _ in track(streets, total=count, description=split) if track else streets:
                    pass
        finally:
            pool.shutdown(cancel_futures=True)
        (partial / PARAMETER_FILE).write_text(json.dumps(params.as_json(), indent=2) + '\n')
    return True


def read_params(root: str | Path) -> MiniCityParams:
    """Parameters of a MiniCity that this version can draw again.

    Raises:
        ValueError: ``root`` holds something else, or a MiniCity of another version.
    """
    file = Path(root, PARAMETER_FILE)
    if not file.is_file():
        raise ValueError(f'the images must be those of a MiniCity folder, got {root} without {PARAMETER_FILE}')
    found = read_parameters(file)
    version = found.pop('version', None)
    if version != VERSION or set(found) != set(MiniCityParams.__dataclass_fields__):
        raise ValueError(
            f'{root} must be a MiniCity of version {VERSION}, got {version}: write it again with '
            'tools/dataset_converters/minicity.py --overwrite'
        )
    return MiniCityParams(**found | {'size': tuple(found['size'])})


def street_of(params: MiniCityParams, image: str | Path) -> Street:
    """The street that an image in Cityscapes' layout shows.

    Raises:
        ValueError: the file is not named like one of MiniCity.
    """
    path = Path(image)
    split, number = path.parent.parent.name, path.name.split('_')[1:2]
    if split not in SPLITS or not number or not number[0].isdigit():
        raise ValueError(f'the image must be <split>/<city>/<city>_<street>_..., got {path}')
    return lay_out(params.seed, split, int(number[0]))


def overview(
    seed: int = 0, size: tuple[int, int] = (512, 256), split: str = 'val', indices: Sequence[int] = (0, 1, 2, 3)
) -> np.ndarray:
    """An RGB image (uint8): a row for each street, clear, its label, and in each condition, with a head above."""
    rows = []
    for index in indices:
        street = lay_out(seed, split, index)
        canvas = draw_scene(street, *size)
        images = [render(canvas, street), to_color(label_map(canvas))]
        rows.append(np.concatenate([*images, *(render(canvas, street, condition) for condition in CONDITIONS)], 1))
    heads = [_head(text, size[0]) for text in ('clear', 'label', *CONDITIONS)]
    return np.concatenate([np.concatenate(heads, 1), *rows], 0)


def _write_street(root: Path, params: MiniCityParams, split: str, index: int) -> None:
    street = lay_out(params.seed, split, index)
    canvas = draw_scene(street, *params.size)
    labels = label_map(canvas)
    clear = render(canvas, street)
    city = CITIES[split][index % len(CITIES[split])]
    stem = f'{split}/{city}/{city}_{index:06d}_000019'
    _save(root / f'leftImg8bit/{stem}_leftImg8bit.png', clear)
    _save(root / f'gtFine/{stem}_gtFine_labelTrainIds.png', labels)
    _save(root / f'gtFine/{stem}_gtFine_labelIds.png', to_label_ids(labels))
    _save(root / f'gtFine/{stem}_gtFine_color.png', to_color(labels))
    if index >= params.num_acdc:
        return
    for number, condition in enumerate(CONDITIONS, start=1):
        sequence = f'GOPR{1000 * number + index + 1:04d}'  # each street is another drive
        name = f'{sequence}/{sequence}_frame_000001'
        _save(root / f'acdc/rgb_anon/{condition}/{split}/{name}_rgb_anon.png', render(canvas, street, condition))
        _save(root / f'acdc/rgb_anon/{condition}/{split}_ref/{name}_rgb_ref_anon.png', clear)
        _save(root / f'acdc/gt/{condition}/{split}/{name}_gt_labelTrainIds.png', labels)
        _save(root / f'acdc/gt/{condition}/{split}/{name}_gt_labelIds.png', to_label_ids(labels))


def _save(path: Path, image: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    done, png = cv2.imencode('.png', image[..., ::-1] if image.ndim == 3 else image)
    assert done, 'OpenCV could not encode a PNG'
    path.write_bytes(png.tobytes())


def _head(text: str, width: int) -> np.ndarray:
    """White, with black text in the middle."""
    scale = max(0.3, width / 500)
    (wide, high), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, scale, 1)
    head = np.full((2 * high, width, 3), 255, np.uint8)
    place = ((width - wide) // 2, 3 * high // 2)
    return cv2.putText(head, text, place, cv2.FONT_HERSHEY_SIMPLEX, scale, (0, 0, 0), max(1, width // 400), cv2.LINE_AA)

"""Write scikit-learn's handwritten digits as images in one folder per digit: real data without a download.

python tools/dataset_converters/digits.py      # data/digits, 1797 images of 64 x 64 pixels
python tools/dataset_converters/digits.py --out /data/digits
python tools/dataset_converters/digits.py --size 32 --overwrite

<out>/{train,val}/<digit>/<number in scikit-learn's order>.png
<out>/digits.json
"""

import argparse
import json
from pathlib import Path

import cv2
import numpy as np

from mmrobust import cli
from mmrobust.folders import fill_folder, is_filled

VERSION = 1  # raise it whenever the same parameters give other files
PARAMETER_FILE = 'digits.json'
VAL_EVERY = 5  # every fifth image of a digit is for validation
LEVELS = 16  # a pixel of scikit-learn's is 0 to 16


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = cli.Parser(__doc__)
    parser.add_argument('--out', default='data/digits', help='folder to write (default: %(default)s)')
    parser.add_argument('--size', type=int, default=64, help='side of the images in pixels (default: %(default)s)')
    parser.add_argument('--overwrite', action='store_true', help='replace digits written with another size')
    return parser.parse_args(argv)


def load_digits() -> tuple[np.ndarray, np.ndarray]:
    """scikit-learn's images ``(1797, 8, 8)``, float64 in 0 to 16, and their digits ``(1797,)``.

    Raises:
        ImportError: scikit-learn is not installed.
    """
    try:
        from sklearn.datasets import load_digits as load
    except ImportError as error:
        raise ImportError(f'The digits come with scikit-learn: pip install scikit-learn ({error})') from error
    bunch = load()
    return bunch.images, bunch.target


def write_digits(root: str | Path, size: int = 64, overwrite: bool = False) -> bool:
    """Write the whole data set, or nothing.

    Args:
        root: the folder to create.
        size: side of the images in pixels, 8 or more; they are enlarged with a cubic curve.
        overwrite: replace digits that were written with another size.

    Returns:
        True when the data set was written, False when the same one was there already.

    Raises:
        ValueError: when ``size`` is too small, when ``root`` holds digits of another size and ``overwrite`` is False,
            or when it holds something else.
        OSError: another process writes there, or it cannot be written.
        ImportError: scikit-learn is not installed.
    """
    if size < 8:
        raise ValueError(f'size must be 8 or more, got {size}')
    root, params = Path(root), dict(version=VERSION, size=size, val_every=VAL_EVERY)
    if is_filled(root, PARAMETER_FILE, params, overwrite, 'digits'):
        return False
    drawn, digits = load_digits()
    with fill_folder(root, PARAMETER_FILE) as partial:
        for digit in range(10):
            for place, number in enumerate(np.flatnonzero(digits == digit)):
                split = 'val' if place % VAL_EVERY == VAL_EVERY - 1 else 'train'
                folder = partial / split / str(digit)
                folder.mkdir(parents=True, exist_ok=True)
                image = cv2.imencode('.png', enlarge(drawn[number], size))[1]
                (folder / f'{number:04d}.png').write_bytes(image.tobytes())
        (partial / PARAMETER_FILE).write_text(json.dumps(params, indent=2) + '\n')
    return True


def enlarge(image: np.ndarray, size: int) -> np.ndarray:
    """An image ``(8, 8)`` in 0 to 16 as ``(size, size)`` uint8, white on black."""
    large = cv2.resize(image * (255 / LEVELS), (size, size), interpolation=cv2.INTER_CUBIC)
    return large.round().clip(0, 255).astype(np.uint8)


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    with cli.one_sentence():
        written = write_digits(args.out, args.size, args.overwrite)
    print(f'The digits {"are written" if written else "were there already, nothing to do"}: {args.out}/{{train,val}}')


if __name__ == '__main__':
    main()

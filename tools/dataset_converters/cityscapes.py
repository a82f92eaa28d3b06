"""Write the training labels of Cityscapes (*_labelTrainIds.png) from the published ones (*_labelIds.png).

python tools/dataset_converters/cityscapes.py                          # data/cityscapes
python tools/dataset_converters/cityscapes.py /data/cityscapes
python tools/dataset_converters/cityscapes.py ~/links/cityscapes       # a link will do

Files that are there already are left alone, so the command can be interrupted and repeated.
"""

import argparse
from pathlib import Path

import cv2
import numpy as np
from rich.progress import track

from mmrobust import cli
from mmrobust.datasets.cityscapes import LABEL_IDS
from mmrobust.files import write_whole

TRAIN_IDS = {label_id: train_id for train_id, label_id in enumerate(LABEL_IDS)}
IGNORED = 255


def convert(label: np.ndarray) -> np.ndarray:
    """Turn ids (H, W) uint8, 0 to 33 or 255 for a license plate, into train ids (H, W) uint8, 0 to 18 or 255."""
    table = np.full(256, IGNORED, dtype=np.uint8)
    for label_id, train_id in TRAIN_IDS.items():
        table[label_id] = train_id
    return table[label]


def convert_file(source: Path, target: Path) -> None:
    """Convert one file; a process that is killed leaves no half of it.

    Raises:
        ValueError: The file is no image of label ids.
    """
    label = cv2.imread(str(source), cv2.IMREAD_UNCHANGED)
    if label is None or label.ndim != 2 or label.dtype != np.uint8:
        raise ValueError(f'{source} must be a greyscale 8-bit PNG, but it is broken or something else.')
    wrong = np.unique(label[(label > 33) & (label != 255)])
    if len(wrong):
        raise ValueError(f'{source} must hold label ids, 0 to 33 or 255, but has {", ".join(map(str, wrong))}.')
    write_whole(target, cv2.imencode('.png', convert(label))[1].tobytes(), temporary=f'{target}.tmp')


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = cli.Parser(__doc__)
    parser.add_argument(
        'root', type=Path, nargs='?', default='data/cityscapes', help='folder with gtFine in it (default: %(default)s)'
    )
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    root = Path(parse_args(argv).root)
    with cli.one_sentence():
        sources = sorted(root.glob('gtFine/**/*_gtFine_labelIds.png'))
        if not sources:
            raise FileNotFoundError(
                f'There is no {root.resolve()}/gtFine/**/*_gtFine_labelIds.png: unzip gtFine_trainvaltest.zip from '
                'https://www.cityscapes-dataset.com there.'
            )
        targets = {path: path.with_name(path.name.replace('_labelIds.png', '_labelTrainIds.png')) for path in sources}
        todo = [source for source in sources if not targets[source].exists()]
        for source in track(todo, description='Converting labels'):
            convert_file(source, targets[source])
    print(f'{len(todo)} labels written, {len(sources) - len(todo)} were there already.')


if __name__ == '__main__':
    main()

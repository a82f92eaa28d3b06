"""Image, ground truth and predictions of several models side by side, with boxes around their differences.

python tools/analysis_tools/visualize_segmentation.py --model baseline CONFIG CHECKPOINT \\
    --model 'TAP + ADL' CONFIG CHECKPOINT --corruption snow --severity 3 --out work_dirs/attention
python tools/analysis_tools/visualize_segmentation.py --model a CONFIG CHECKPOINT --model b CONFIG CHECKPOINT \\
    --corruptions none fog gaussian_noise --errors
python tools/analysis_tools/visualize_segmentation.py --model a CONFIG CHECKPOINT --acdc data/acdc --conditions night

Writes segmentation, or what --name says, as PNG, SVG and CSV. The images are not chosen for what they show: they are
spread evenly over the test set.
"""

import argparse
from pathlib import Path
from typing import Any

from mmrobust import cli  # first: it checks the OpenMMLab stack

# isort: split
import numpy as np

from arguments import NO_CORRUPTION, add_arguments, describe, name_corruption, named, which_device
from figure_files import write_figure
from mmrobust.corruptions import CORRUPTIONS
from mmrobust.datasets.acdc import CONDITIONS
from mmrobust.datasets.corrupted import position_of_loading
from mmrobust.evaluation.images import LabelMapImages
from mmrobust.evaluation.models.segmentation import SegmentationModel
from mmrobust.evaluation.statistics import confusion_matrix, mean_iou
from segmentation_differences import Scene, segmentation_figure


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = cli.Parser(__doc__)
    add_arguments(parser, num_images=4)
    parser.add_argument(
        '--corruptions',
        nargs='+',
        choices=[*CORRUPTIONS, NO_CORRUPTION],
        metavar='NAME',
        help='several instead of --corruption, one below the other',
    )
    parser.add_argument('--acdc', metavar='DIR', help='images of real bad weather instead of corrupted ones')
    parser.add_argument(
        '--conditions', nargs='+', choices=CONDITIONS, default=CONDITIONS, help='of ACDC (default: all)'
    )
    parser.add_argument('--boxes', type=int, default=3, help='at most, of a model in each direction (default: 3)')
    parser.add_argument(
        '--errors', action='store_true', help='map where the first and the last model are wrong, instead of boxes'
    )
    parser.add_argument('--name', default='segmentation', help='of the files (default: %(default)s)')
    parser.add_argument(
        '--out', type=cli.output_folder, default='work_dirs/attention', help='output folder (default: %(default)s)'
    )
    return parser.parse_args(argv)


def test_set(model: SegmentationModel, args: argparse.Namespace) -> dict:
    """Config of the clean images that go through the model's own pipeline."""
    dataset = model.config.test_dataloader.dataset
    if args.acdc:
        parts = dict(split='val', conditions=list(args.conditions), pipeline=dataset.pipeline)
        dataset = dict(type='mmrobust.ACDCDataset', data_root=args.acdc, **parts)
    return dataset


def corrupted(dataset: dict, args: argparse.Namespace) -> dict:
    """The same config, of images with ``--corruption``."""
    if args.acdc or name_corruption(args) is None:
        return dataset
    how = dict(corruption=args.corruption, severity=args.severity)
    return dict(type='mmrobust.CorruptedDataset', dataset=dataset, **how)


def each_corruption(args: argparse.Namespace) -> list[argparse.Namespace]:
    """The arguments with each of ``--corruptions`` as ``--corruption``.

    Raises:
        ValueError: they are given for ACDC, or errors of fewer models than two.
    """
    if args.corruptions and args.acdc:
        raise ValueError('--corruptions are not for the images of --acdc: leave one of both out')
    if args.errors and len(args.model) < 2:
        raise ValueError(f'--errors compares the first and the last model, got {len(args.model)} model')
    return [argparse.Namespace(**{**vars(args), 'corruption': name}) for name in args.corruptions or [args.corruption]]


def predict(model: SegmentationModel, maps: LabelMapImages, args: argparse.Namespace) -> tuple[list, list[np.ndarray]]:
    """What the model predicts of the images, and what they look like, RGB.

    Raises:
        ValueError: they have no labels.
    """
    predictions = list(model.predict(corrupted(maps.dataset, args)))
    if any(prediction.label is None for prediction in predictions):
        raise ValueError('the images must have labels, to tell right from wrong')
    steps = maps.dataset['pipeline']
    loading = {**maps.dataset, 'pipeline': steps[: position_of_loading(steps) + 1]}
    loaded = model.build_dataset(corrupted(loading, args))
    return predictions, [loaded[index]['img'][..., ::-1] for index in range(len(predictions))]


def weather(args: argparse.Namespace) -> str:
    """Processing of the images, in words."""
    if args.acdc:
        return f'ACDC in {", ".join(args.conditions)}'
    return describe(args) if name_corruption(args) else 'clean'


def compare(of_models: dict[str, Any], image: np.ndarray, maps: LabelMapImages, title: str) -> Scene:
    """A row of the figure, of the predictions of an image."""
    truth = next(iter(of_models.values())).label
    classes = {name: prediction.classes for name, prediction in of_models.items()}
    scores = {
        name: mean_iou(confusion_matrix(truth, found, len(maps.class_names), maps.ignore_index))
        for name, found in classes.items()
    }
    return Scene(image, truth, classes, scores, title)


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    with cli.one_sentence():
        each = each_corruption(args)
        maps_of, seen = {}, {}
        for name, (config, checkpoint) in named(args.model).items():
            model = SegmentationModel(cli.load_config(config, args.cfg_options), checkpoint, which_device(args), 0)
            maps_of[name] = LabelMapImages(test_set(model, args), model.scope, args.num_images)
            seen[name] = [predict(model, maps_of[name], with_corruption) for with_corruption in each]
        maps = next(iter(maps_of.values()))
        scenes, names = [], []
        for index, name in enumerate(maps.names):
            for number, with_corruption in enumerate(each):
                of_models = {of: found[number][0][index] for of, found in seen.items()}
                image = next(iter(seen.values()))[number][1][index]
                scenes.append(
                    compare(of_models, image, maps, weather(with_corruption) if args.corruptions else 'image')
                )
                names.append((name, weather(with_corruption)))
        figure, boxes = segmentation_figure(
            scenes, maps.palette, maps.class_names, maps.ignore_index, args.boxes, args.errors
        )
        marks = (
            'Errors: white where both are right, light grey where there is no class.'
            if args.errors
            else f'Boxes: the largest areas, {args.boxes} at most, where a model is right and '
            f'{next(iter(seen))} wrong (solid), and where it is the other way round (dashed).'
        )
        caption = (
            f'{len(maps.names)} test images, spread evenly over the test set: {"; ".join(map(weather, each))}. {marks} '
            'mIoU of an image is over its own classes; black is no class.'
        )
        rows = [
            (*names[index], of, scene.scores[of], *box)
            for index, scene in enumerate(scenes)
            for of in seen
            for box in boxes[index].get(of) or [('',) * 6]
        ]
        header = ('image', 'processing', 'model', 'mIoU', 'top', 'left', 'bottom', 'right', 'pixels', 'better')
        print(write_figure(figure, Path(args.out, args.name), caption, header, rows))


if __name__ == '__main__':
    main()

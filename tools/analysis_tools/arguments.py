"""Shared command line options of the analysis tools: models, images, corruption."""

import argparse
from pathlib import Path

import torch
from mmengine.config import Config

from mmrobust import cli
from mmrobust.analysis.observed_model import ObservedModel
from mmrobust.corruptions import CORRUPTIONS
from mmrobust.preprocessing import RESIZE_AND_CROP

__all__ = [
    'NO_CORRUPTION',
    'add_arguments',
    'add_crop',
    'add_timm',
    'describe',
    'load_models',
    'name_corruption',
    'named',
]

NO_CORRUPTION = 'none'


def add_arguments(parser: argparse.ArgumentParser, num_images: int) -> None:
    """Add ``--model``, ``--corruption``, ``--severity``, ``--num-images``, ``--device`` and ``--cfg-options``."""
    parser.add_argument(
        '--model',
        nargs=3,
        action='append',
        default=[],
        metavar=('NAME', 'CONFIG', 'CHECKPOINT'),
        help='what to call a model, its config and its checkpoint; once for each model',
    )
    parser.add_argument(
        '--corruption',
        default='gaussian_noise',
        choices=[*CORRUPTIONS, NO_CORRUPTION],
        metavar='NAME',
        help=f"one of the 19 corruptions, or {NO_CORRUPTION} (default: %(default)s, the paper's)",
    )
    parser.add_argument(
        '--severity', type=int, default=3, choices=range(1, 6), help='1 (slight) to 5 (default: %(default)s)'
    )
    parser.add_argument(
        '--num-images',
        type=int,
        default=num_images,
        help="images, spread evenly over the config's test set (default: %(default)s)",
    )
    parser.add_argument('--device', type=cli.device, help='such as cpu or cuda:0 (default: cuda if there is one)')
    cli.add_cfg_options(parser)


def add_timm(parser: argparse.ArgumentParser) -> None:
    """Add ``--timm`` and ``--images``."""
    parser.add_argument(
        '--timm',
        nargs='+',
        action='append',
        default=[],
        metavar=('NAME', 'CHECKPOINT'),
        help="a ViT of timm, with timm's weights or those of a checkpoint; once for each model. Short for "
        '--model NAME timm:NAME CHECKPOINT on the images of --images',
    )
    parser.add_argument(
        '--images',
        default='data/imagenet/val',
        metavar='FOLDER',
        help='images that --timm looks at, in this folder and those in it (default: %(default)s)',
    )


def add_crop(parser: argparse.ArgumentParser) -> None:
    """Add ``--crop``."""
    parser.add_argument(
        '--crop',
        type=int,
        nargs=2,
        metavar=('H', 'W'),
        help='look at the centre of so many pixels (default: a sliding window of the config, or the whole image)',
    )


def name_corruption(args: argparse.Namespace) -> str | None:
    """``--corruption``, None for none."""
    return None if args.corruption == NO_CORRUPTION else args.corruption


def describe(args: argparse.Namespace) -> str:
    """The corruption in words: ``gaussian noise, severity 3``."""
    return f'{args.corruption.replace("_", " ")}, severity {args.severity}'


def named(models: list[list[str]]) -> dict[str, tuple[str, str]]:
    """Name to config and checkpoint.

    Raises:
        ValueError: there is no model, or two have one name.
        FileNotFoundError: there is no such checkpoint.
    """
    found = {name: (config, checkpoint) for name, config, checkpoint in models}
    if not models:
        raise ValueError('a model must be named, by --model or --timm, got none')
    if len(found) < len(models):
        raise ValueError(f'--model takes different names, got {", ".join(name for name, *_ in models)}')
    for _, checkpoint in found.values():
        if checkpoint is not None:
            cli.require_file(checkpoint, 'checkpoint')
    return found


def config_of_timm(name: str, pretrained: bool, images: str, cfg_options: dict | None = None) -> Config:
    """That of ``timm:NAME``, with timm's own weights if it is ``pretrained``, on the images of a folder."""
    dataset = dict(type='CustomDataset', data_root=images, with_label=False, _delete_=True)
    steps = [dict(type=step) for step in ('mmrobust.LoadImageFromFile', RESIZE_AND_CROP, 'PackInputs')]
    options = {'model.pretrained': pretrained, 'test_dataloader.dataset': dataset | dict(pipeline=steps)}
    return cli.load_config(f'timm:{name}', options | (cfg_options or {}))


def which_device(args: argparse.Namespace) -> str:
    """``--device``, else the GPU, else the CPU."""
    return args.device or ('cuda' if torch.cuda.is_available() else 'cpu')


def load_models(args: argparse.Namespace, num_workers: int = 0) -> dict[str, ObservedModel]:
    """Name to model, with its weights.

    Raises:
        ValueError, FileNotFoundError, TypeError: those of :func:`named` and of
            :class:`~mmrobust.analysis.ObservedModel`.
    """
    cli.require_at_least(0, num_workers=num_workers)
    cli.require_at_least(1, num_images=args.num_images, batch_size=getattr(args, 'batch_size', 1))
    for given in args.timm:
        if len(given) > 2:
            raise ValueError(
                f'--timm takes a NAME and perhaps a CHECKPOINT, got {" ".join(given)}; repeat it for others'
            )
    if args.timm and not Path(args.images).is_dir():
        raise FileNotFoundError(f'There is no folder {args.images!r} of images: name one by --images.')
    found = {}
    of_timm = [(name, None, file[0] if file else None) for name, *file in args.timm]
    for name, (path, checkpoint) in named([*args.model, *of_timm]).items():
        config = (
            cli.load_config(path, args.cfg_options)
            if path is not None
            else config_of_timm(name, checkpoint is None, args.images, args.cfg_options)
        )
        crop = tuple(args.crop) if args.crop else None
        try:
            found[name] = ObservedModel(config, checkpoint, which_device(args), num_workers, crop)
        except OSError as error:
            if checkpoint is not None:
                raise
            raise OSError(
                f'timm does not get its weights of {name}: give a file of them, --timm {name} CHECKPOINT ({error})'
            ) from error
    return found

"""Shared command line options of the analysis tools: models, images, corruption."""

import argparse

import torch

from mmrobust import cli
from mmrobust.analysis.observed_model import ObservedModel
from mmrobust.corruptions import CORRUPTIONS

__all__ = ['NO_CORRUPTION', 'add_arguments', 'describe', 'load_models', 'name_corruption', 'named']

NO_CORRUPTION = 'none'


def add_arguments(parser: argparse.ArgumentParser, num_images: int) -> None:
    """Add ``--model``, ``--corruption``, ``--severity``, ``--num-images``, ``--device`` and ``--cfg-options``."""
    parser.add_argument(
        '--model',
        nargs=3,
        action='append',
        required=True,
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
        ValueError: two models have one name.
        FileNotFoundError: there is no such checkpoint.
    """
    found = {name: (config, checkpoint) for name, config, checkpoint in models}
    if len(found) < len(models):
        raise ValueError(f'--model takes different names, got {", ".join(name for name, *_ in models)}')
    for _, checkpoint in found.values():
        cli.require_file(checkpoint, 'checkpoint')
    return found


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
    return {
        name: ObservedModel(
            cli.load_config(config, args.cfg_options),
            checkpoint,
            which_device(args),
            num_workers,
            tuple(args.crop) if args.crop else None,
        )
        for name, (config, checkpoint) in named(args.model).items()
    }

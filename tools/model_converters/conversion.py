"""Shared by the converters of released weights: command line, reading, writing."""

import argparse
import io
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from mmrobust import cli
from mmrobust.checkpoint import AVERAGED, load_checkpoint_file, weights_of, without_auxiliary_head
from mmrobust.files import write_whole
from mmrobust.origin import origin_of


def parse_args(doc: str, argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = cli.Parser(doc)
    parser.add_argument('src', help='released checkpoint')
    parser.add_argument('dst', type=cli.output_file, help='converted checkpoint to write')
    parser.add_argument(
        '--ema', action='store_true', help="take the classifier's averaged weights (state_dict_ema, model_ema)"
    )
    return parser.parse_args(argv)


def run(doc: str, convert: Callable[[str, str, bool], str], argv: Sequence[str] | None = None) -> None:
    """The command line ``src dst [--ema]``, and a user's mistake as one sentence.

    Args:
        doc: docstring of the converter, for the help text.
        convert: takes source, destination and whether averaged weights are wanted; says what it wrote, in words.
        argv: the command line; None takes that of the process.
    """
    args = parse_args(doc, argv)
    with cli.one_sentence():
        print(f'{args.dst}: {convert(args.src, args.dst, args.ema)}')


def read_released(path: str, ema: bool, network: str) -> Mapping[str, Tensor]:
    """The weights in a checkpoint of timm, of OpenMMLab, of DeiT's training code, or without a frame.

    Args:
        path: a local file.
        ema: take the averaged weights.
        network: what the weights must be of: ``'FAN'`` or ``'RVT'``.

    Raises:
        ValueError: there are none, or they are not of that network.
    """
    checkpoint = load_checkpoint_file(path)
    averaged = [checkpoint[key] for key in AVERAGED if key in checkpoint]
    if ema and not averaged:
        raise ValueError(
            f'{path} holds no {" or ".join(AVERAGED)}, only {[key[:80] for key in sorted(map(str, checkpoint))[:8]]}'
        )
    weights = weights_of({'state_dict': averaged[0]} if ema else checkpoint, path)
    origin = origin_of(weights)
    if not (origin.is_foreign and origin.network == network):
        raise ValueError(
            f'{path} is not a released {network} but {origin}, whose weights need {origin.use}; its keys begin '
            f'{[key[:80] for key in list(weights)[:3]]}'
        )
    return without_auxiliary_head(weights, path)


def write_converted(weights: Mapping[str, Tensor], meta: dict[str, Any], path: str) -> None:
    """Write a checkpoint; the file appears when it is whole.

    Raises:
        OSError: the disk is full or refuses; the file is what it was before.
    """
    content = io.BytesIO()
    torch.save({'meta': meta, 'state_dict': weights}, content)
    write_whole(path, content.getvalue(), temporary=f'{path}.tmp')

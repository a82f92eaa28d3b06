"""Attention maps of models, clean and corrupted, by image, layer and head; and what one token attends to.

python tools/analysis_tools/visualize_attention.py --model baseline CONFIG CHECKPOINT \\
    --model 'TAP + ADL' CONFIG CHECKPOINT --corruption gaussian_noise --severity 3 --out work_dirs/attention
python tools/analysis_tools/visualize_attention.py --model mine CONFIG CHECKPOINT --corruption none --out clean
python tools/analysis_tools/visualize_attention.py --model mine CONFIG CHECKPOINT --num-images 2 --out few

--timm NAME takes a ViT of timm instead, and --images FOLDER its images. Writes maps_by_image, maps_by_layer,
maps_by_head and token_over_image, and class_over_image of models with a class token, each as PNG, SVG and CSV.
"""

import argparse
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from mmrobust import cli  # first: it checks the OpenMMLab stack

# isort: split
import numpy as np
from torch import Tensor

from arguments import add_arguments, add_crop, add_timm, describe, load_models, name_corruption
from figure_files import write_figure
from mmrobust.analysis import CoarseMaps, TokenAttention, attention_rollout, has_rollout
from mmrobust.analysis.observed_model import ObservedModel
from mmrobust.models.layers import AttentionView
from mmrobust.visualization.attention_panels import (
    CSV_HEADER,
    HeatMap,
    Image,
    OverImage,
    Panel,
    panel_grid,
    panel_rows,
)

MAX_COLUMNS = 8  # layers or heads in one figure
TOKEN_COLUMNS = 3  # layers in the figure of a token
SCALE = 'Colours are multiples of the uniform attention 1 / N, on the scale of the square root.'
LOG_SCALE = 'Colours are multiples of the uniform attention 1 / N, on a logarithmic scale.'


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = cli.Parser(__doc__)
    add_arguments(parser, num_images=3)
    add_timm(parser)
    add_crop(parser)
    parser.add_argument(
        '--image',
        type=int,
        default=0,
        help='which of the images the layers, heads and token are of, from 0',
    )
    parser.add_argument('--layers', type=int, nargs='+', help=f'from 1 (default: {MAX_COLUMNS}, spread evenly)')
    parser.add_argument('--layer', type=int, help='of images and heads, from 1 (default: the last)')
    parser.add_argument(
        '--token',
        type=float,
        nargs=2,
        default=(0.5, 0.5),
        metavar=('X', 'Y'),
        help='place of the token in the image, each 0 to below 1 (default: the centre)',
    )
    parser.add_argument('--side', type=int, default=256, help='cells of a map along a side (default: %(default)s)')
    parser.add_argument(
        '--out', type=cli.output_folder, default='work_dirs/attention', help='output folder (default: %(default)s)'
    )
    return parser.parse_args(argv)


class Seen(NamedTuple):
    """Attention of a model on one image; K is 2, clean and corrupted, or 1.

    Attributes:
        images: K images ``(h, w, 3)`` uint8, RGB.
        maps: of each layer ``(K, H, m, m)``.
        token: of each layer ``(K, H, Hp, Wp)``.
        num_tokens: of each layer, N.
        class_token: of each layer, and last of the rollout ``(K, Hp, Wp)``: what the class token attends to, mean over
            heads; None for a model without.
    """

    images: list[np.ndarray]
    maps: list[np.ndarray]
    token: list[np.ndarray]
    num_tokens: list[int]
    class_token: list[np.ndarray] | None


def look(model: ObservedModel, args: argparse.Namespace) -> list[Seen]:
    """Every image, through the eyes of a model."""
    found = []
    coarse, token, class_token = CoarseMaps(args.side), TokenAttention(args.token[::-1]), TokenAttention(None)

    def all_three(view: AttentionView) -> tuple[Tensor, Tensor, Tensor | None, AttentionView]:
        of_class = class_token(view).mean(1) if view.has_class_token else None
        return coarse(view), token(view), of_class, view._replace(tokens=None, tap_weights=None)

    for samples in model.batches(name_corruption(args), args.severity, args.num_images):
        inputs = model.inputs(samples)
        maps, of_token, of_class, views = zip(*model.observe(inputs, all_three), strict=True)
        images = [model.seen(sample).permute(1, 2, 0).numpy()[..., ::-1] for sample in samples]
        num_tokens = [view.attention.key.size(2) for view in views]
        if has_rollout(views):
            to_patches = attention_rollout(views)[0][:, views[0].num_prefix_tokens :].unflatten(-1, views[0].hw_shape)
            of_class = (*of_class, num_tokens[0] * to_patches)
        else:
            of_class = None
        arrays = [None if of is None else [layer.cpu().numpy() for layer in of] for of in (maps, of_token, of_class)]
        found.append(Seen(images, *arrays[:2], num_tokens, arrays[2]))
    return found


def pick(number: int, wanted: list[int] | None = None, columns: int = MAX_COLUMNS) -> list[int]:
    """Layers from 0: those wanted, given from 1, or up to ``columns`` of ``number``, spread evenly.

    Raises:
        ValueError: there is no such layer.
    """
    for layer in wanted or ():
        if not 1 <= layer <= number:
            raise ValueError(f'a layer must be 1 to {number}, got {layer}')
    if wanted:
        return [layer - 1 for layer in wanted]
    return sorted({int(layer) for layer in np.linspace(0, number - 1, min(number, columns))})


def figures(seen: dict[str, list[Seen]], args: argparse.Namespace) -> Iterator[tuple[str, str, list, list, list]]:
    """Name, caption, panels, titles of rows and titles of columns of each figure.

    Raises:
        ValueError: there is no such layer or image.
    """
    num_images = min(map(len, seen.values()))
    if not 0 <= args.image < num_images:
        raise ValueError(f'--image must be 0 to {num_images - 1}, got {args.image}')
    kinds = ['clean', *([textwrap.fill(describe(args), 16)] if name_corruption(args) else [])]
    num_layers = min(len(model[0].maps) for model in seen.values())
    layers = pick(num_layers, args.layers)
    (layer,) = pick(num_layers, [num_layers if args.layer is None else args.layer])
    one = {name: model[args.image] for name, model in seen.items()}
    row_titles = [f'{name}\n{kind}' for name in seen for kind in kinds]
    of = f'Test image {args.image + 1} of {num_images}'

    def heat(model: Seen, layer: int, kind: int, head: int | None = None) -> HeatMap:
        maps = model.maps[layer][kind]
        return HeatMap(maps.mean(0) if head is None else maps[head], model.num_tokens[layer])

    rows = []
    for index in range(num_images):
        row: list[Panel] = [Image(image) for image in next(iter(seen.values()))[index].images]
        row += [heat(model[index], layer, kind) for model in seen.values() for kind in range(len(kinds))]
        rows.append(row)
    titles = [*kinds, *(f'{name}\n{kind}' for name in seen for kind in kinds)]
    caption = f'Attention maps of layer {layer + 1}, mean over heads, of {num_images} test images. {SCALE}'
    yield 'maps_by_image', caption, rows, [f'image {index + 1}' for index in range(num_images)], titles

    rows = [[heat(model, layer, kind) for layer in layers] for model in one.values() for kind in range(len(kinds))]
    caption = f'{of}: attention maps of layers, mean over heads. {SCALE}'
    yield 'maps_by_layer', caption, rows, row_titles, [f'layer {layer + 1}' for layer in layers]

    heads = range(min(MAX_COLUMNS, *(model.maps[layer].shape[1] for model in one.values())))
    rows = [[heat(model, layer, kind, head) for head in heads] for model in one.values() for kind in range(len(kinds))]
    caption = f'{of}: attention maps of the heads of layer {layer + 1}. {SCALE}'
    yield 'maps_by_head', caption, rows, row_titles, [f'head {head + 1}' for head in heads]

    layers = pick(num_layers, args.layers, TOKEN_COLUMNS)
    mark = (args.token[1], args.token[0])
    rows = [
        [
            Image(model.images[kind], mark),
            *(OverImage(model.images[kind], mark, model.token[layer][kind].mean(0)) for layer in layers),
        ]
        for model in one.values()
        for kind in range(len(kinds))
    ]
    caption = f'{of}: what the token at the cross attends to, by layer, mean over heads. {LOG_SCALE}'
    titles = ['image', *(f'layer {layer + 1}' for layer in layers)]
    yield 'token_over_image', caption, rows, row_titles, titles

    with_class = {name: model for name, model in one.items() if model.class_token is not None}
    if not with_class:
        return
    rows = [
        [
            Image(model.images[kind]),
            *(OverImage(model.images[kind], None, model.class_token[layer][kind]) for layer in (*layers, -1)),
        ]
        for model in with_class.values()
        for kind in range(len(kinds))
    ]
    row_titles = [f'{name}\n{kind}' for name in with_class for kind in kinds]
    caption = (
        f'{of}: what the class token attends to, by layer, mean over heads, and the attention rollout from it through '
        f'all layers to the image. {LOG_SCALE}'
    )
    yield 'class_over_image', caption, rows, row_titles, [*titles, 'rollout']


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    with cli.one_sentence():
        seen = {name: look(model, args) for name, model in load_models(args).items()}
        for name, caption, *panels in figures(seen, args):
            rows = panel_rows(*panels)
            figure = panel_grid(*panels, logarithmic=name.endswith('over_image'))
            print(write_figure(figure, Path(args.out, name), caption, CSV_HEADER, rows))


if __name__ == '__main__':
    main()

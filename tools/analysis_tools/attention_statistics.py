"""Overfocusing, sinks, diagonality, similarity of heads and stability of attention, and the dilations of TAP.

python tools/analysis_tools/attention_statistics.py --model baseline CONFIG CHECKPOINT \
    --model 'TAP + ADL' CONFIG CHECKPOINT --corruption gaussian_noise --severity 3 --out work_dirs/attention
python tools/analysis_tools/attention_statistics.py --model mine CONFIG CHECKPOINT --corruption none --out clean
python tools/analysis_tools/attention_statistics.py --model mine CONFIG CHECKPOINT --num-images 2 --out few

python tools/analysis_tools/attention_statistics.py --timm vit_large_patch14_dinov2 \
    --timm vit_large_patch14_reg4_dinov2 --images data/imagenet/val    # without registers, and with

Writes statistics.csv, a line for each statistic, layer and head, and box plots as PNG, SVG and CSV; of models with TAP
also dilations, as PNG, SVG and CSV. The definitions are those of attention_statistics.py, token_norms.py, rollout.py
and tables.py of mmrobust/analysis.
"""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mmrobust import cli  # first: it checks the OpenMMLab stack

# isort: split
from rich.console import Console
from rich.progress import track
from rich.table import Table
from torch import Tensor

from arguments import add_arguments, add_crop, add_timm, describe, load_models, name_corruption
from attention_charts import Box, Boxes, dilation_bars, statistic_boxes
from figure_files import to_csv, write_figure
from mmrobust.analysis import (
    STATISTICS,
    AttentionStatistics,
    DilationTable,
    StatisticsTable,
    Summary,
    TokenNorms,
    rollout_statistics,
)
from mmrobust.analysis.observed_model import ObservedModel
from mmrobust.analysis.tables import COLUMNS, DILATION_COLUMNS, PAIRS
from mmrobust.files import write_whole
from mmrobust.models.layers import AttentionView
from performance.measure import measure

FIGURES = {
    'stability': ('stability_map', 'stability_rows'),
    'overfocusing': ('top_share', 'effective_tokens'),
    'sinks': ('sink_share', 'first_share', 'register_share'),
    'token_norms': ('norm_ratio', 'outlier_share', 'activation_ratio'),
    'class_token': ('class_patch_share', 'class_patches', 'rollout_patches'),
    'diagonality': ('self_share', 'neighbour_share'),
    'head_similarity': ('head_similarity_map', 'head_similarity_rows'),
}
TITLES = {
    'stability': 'Stability of attention; 1 is unchanged',
    'overfocusing': 'Token overfocusing',
    'sinks': 'Attention sinks',
    'token_norms': 'Massive activations: tokens that come into a layer',
    'class_token': 'What the class token attends to',
    'diagonality': 'Attention on the diagonal and next to it',
    'head_similarity': 'Similarity of the heads of a layer; the lower, the more diverse',
}


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = cli.Parser(__doc__)
    add_arguments(parser, num_images=100)
    add_timm(parser)
    add_crop(parser)
    parser.add_argument('--top-k', type=int, default=5, help='columns of top_share (default: %(default)s)')
    parser.add_argument(
        '--outlier-ratio',
        type=float,
        default=3.0,
        help='norm from which a patch is an outlier, in multiples of the median (default: %(default)s)',
    )
    parser.add_argument('--batch-size', type=int, default=1, help='images at once (default: %(default)s)')
    parser.add_argument('--num-workers', type=int, default=2, help='loading processes (default: %(default)s)')
    parser.add_argument(
        '--out', type=cli.output_folder, default='work_dirs/attention', help='output folder (default: %(default)s)'
    )
    parser.add_argument(
        '--check-memory',
        action='store_true',
        help='say how much memory the first images take, without the analysis and with it',
    )
    return parser.parse_args(argv)


def report_memory(name: str, model: ObservedModel, inputs: Tensor, look: Callable[[AttentionView], Any]) -> None:
    """Print the peak memory of a batch, without the analysis and with it.

    Raises:
        ValueError: the system does not tell.
    """
    own = measure(lambda: model.observe(inputs, lambda view: None), repeats=1).peak_bytes
    analysed = measure(lambda: model.observe(inputs, look), repeats=1, warmup=0).peak_bytes
    if own is None:
        raise ValueError('--check-memory works on Linux or with a GPU: this system does not tell its use of memory')
    size = f'{len(inputs)} x {inputs.size(2)} x {inputs.size(3)} pixels'
    print(f'{name}: {size} take {own / 2**30:.2f} GiB, with the analysis {analysed / 2**30:.2f} GiB')


def collect(
    name: str, model: ObservedModel, args: argparse.Namespace
) -> tuple[StatisticsTable, DilationTable, set[int]]:
    """The statistics of a model, the dilations that its TAP chooses, over the images, and N of its layers."""
    corruption = name_corruption(args)
    paired = corruption is not None
    statistics, norms = AttentionStatistics(paired, args.top_k), TokenNorms(args.outlier_ratio)
    table, dilations = StatisticsTable(), DilationTable()
    num_tokens: set[int] = set()

    def look(view: AttentionView) -> tuple[dict[str, Tensor], Tensor | None, AttentionView | None]:
        num_tokens.add(view.attention.key.size(2))
        # of the rollout, for which there must be a class token; tokens need not be kept for it
        kept = view._replace(tokens=None, tap_weights=None) if view.has_class_token else None
        return statistics(view) | norms(view), view.tap_weights, kept

    batches = model.batches(corruption, args.severity, args.num_images, args.batch_size)
    for number, samples in enumerate(track(batches, name)):
        inputs = model.inputs(samples)
        if args.check_memory and number == 0:
            report_memory(name, model, inputs, look)
        found, tap_weights, views = zip(*model.observe(inputs, look), strict=True)
        if None not in views:
            found = [of | more for of, more in zip(found, rollout_statistics(views), strict=True)]
        table.add(found, paired)
        dilations.add(tap_weights, paired)
    return table, dilations, num_tokens


def series(tables: dict[str, StatisticsTable], statistic: str) -> dict[tuple[str, str], dict[int | None, Summary]]:
    """Summaries of a statistic: of each model, clean and corrupted if it is not about pairs."""
    found = {
        (name, '' if images == PAIRS else images): table.boxes(statistic, images)
        for name, table in tables.items()
        for images in ('clean', 'corrupted', PAIRS)
    }
    return {name: boxes for name, boxes in found.items() if boxes}


def write_box_plots(tables: dict[str, StatisticsTable], num_tokens: set[int], args: argparse.Namespace) -> list[Path]:
    """One figure for each group of statistics that the models have."""
    written = []
    uniform = {}
    if len(num_tokens) == 1:  # else each layer has a line of its own
        (total,) = num_tokens
        uniform = {'top_share': min(1.0, args.top_k / total), 'effective_tokens': total}
    for title, statistics in FIGURES.items():
        found = {statistic: series(tables, statistic) for statistic in statistics}
        found = {statistic: of_series for statistic, of_series in found.items() if of_series}
        if not found:
            continue
        panels = [
            Boxes(
                STATISTICS[statistic].label.replace('top columns', f'top {args.top_k} columns'),
                {name: {layer: Box(*of[2:]) for layer, of in boxes.items()} for name, boxes in of_series.items()},
                STATISTICS[statistic].from_one,
                uniform.get(statistic),
            )
            for statistic, of_series in found.items()
        ]
        caption = (
            f'{TITLES[title]}: {about_images(tables, args)}. Boxes are quartiles and median over images and heads, '
            'on grey over all layers too; whiskers are minimum and maximum. Formulas: '
            'docs/reference/attention_statistics.md.'
        )
        if title == 'stability':
            caption += similarity_of_heads(tables)
        rows = [
            (statistic, *name, 'all' if layer is None else layer, *summary)
            for statistic, of_series in found.items()
            for name, boxes in of_series.items()
            for layer, summary in boxes.items()
        ]
        header = ('statistic', 'model', 'images', 'layer', *Summary._fields)
        written.append(write_figure(statistic_boxes(panels), Path(args.out, title), caption, header, rows))
    return written


def write_dilations(of_models: dict[str, DilationTable], images: str, args: argparse.Namespace) -> list[Path]:
    """A figure of the dilations, if one of the models has TAP."""
    rows = [(name, *row) for name, table in of_models.items() for row in table.rows()]
    if not rows:
        return []
    panels: dict[tuple[str, str], dict[str, dict[int, list[float]]]] = {}
    for name, kind, layer, _, reading, _, mean, *_ in rows:  # dilations of a layer come in order
        panels.setdefault((name, reading), {}).setdefault(kind, {}).setdefault(layer, []).append(mean)
    caption = (
        f'Dilations that the tokens choose in TAP: {images}. Left: mean weight of each dilation. Right: share of '
        'tokens for which it has the largest weight.'
    )
    return [
        write_figure(dilation_bars(panels), Path(args.out, 'dilations'), caption, ('model', *DILATION_COLUMNS), rows)
    ]


def similarity_of_heads(tables: dict[str, StatisticsTable]) -> str:
    """Sentence on how near to one another the maps are that do not change, empty if layers have one head."""
    medians = {name: table.boxes('head_similarity_map', 'clean') for name, table in tables.items()}
    shown = ', '.join(f'{name} {boxes[None].median:.2f}' for name, boxes in medians.items() if boxes)
    what = 'where attention is near to uniform all heads are alike, and there is little that noise could change'
    return f' Similarity of the heads, median: {shown}; {what}.' if shown else ''


def about_images(tables: dict[str, StatisticsTable], args: argparse.Namespace) -> str:
    images = f'{next(iter(tables.values())).num_images} test images'
    return f'{images}, clean and with {describe(args)}' if name_corruption(args) else f'{images}, clean'


def show_medians(tables: dict[str, StatisticsTable]) -> None:
    """Print the median of every statistic over images, layers and heads; of a rate the mean."""
    shown = Table('clean / corrupted', title='Median over images, layers and heads (of a rate: mean)')
    for name in tables:
        shown.add_column(name, justify='right', overflow='fold')
    for statistic in STATISTICS:
        boxes = [
            [table.boxes(statistic, images) for images in ('clean', 'corrupted', PAIRS)] for table in tables.values()
        ]
        kind = 'mean' if STATISTICS[statistic].is_rate else 'median'
        cells = [' / '.join(f'{getattr(of[None], kind):.3f}' for of in of_model if of) for of_model in boxes]
        if any(cells):
            shown.add_row(statistic, *cells)
    Console(highlight=False).print(shown)


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    with cli.one_sentence():
        models = load_models(args, args.num_workers)
        collected = {name: collect(name, model, args) for name, model in models.items()}
        tables = {name: table for name, (table, *_) in collected.items()}
        dilations = {name: table for name, (_, table, _) in collected.items()}
        num_tokens = set().union(*(of for *_, of in collected.values()))
        rows = [(name, *row) for name, table in tables.items() for row in table.rows()]
        csv = Path(args.out, 'statistics.csv')
        write_whole(csv, to_csv(('model', *COLUMNS), rows))
        box_plots = write_box_plots(tables, num_tokens, args)
        bars = write_dilations(dilations, about_images(tables, args), args)
    show_medians(tables)
    print(f'All layers and heads: {csv}')
    for kind, figures in (('Box plots', box_plots), ('Dilations of TAP', bars)):
        print(*(f'{kind}: {figure}, .svg and .csv\n' for figure in figures), sep='', end='')


if __name__ == '__main__':
    main()

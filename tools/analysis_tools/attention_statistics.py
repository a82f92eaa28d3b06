"""Overfocusing, diagonality, similarity of heads and stability of attention, and the dilations that TAP chooses.

python tools/analysis_tools/attention_statistics.py --model baseline CONFIG CHECKPOINT \
    --model 'TAP + ADL' CONFIG CHECKPOINT --corruption gaussian_noise --severity 3 --out work_dirs/attention
python tools/analysis_tools/attention_statistics.py --model mine CONFIG CHECKPOINT --corruption none --out clean
python tools/analysis_tools/attention_statistics.py --model mine CONFIG CHECKPOINT --num-images 2 --out few

Writes statistics.csv, a line for each statistic, layer and head, and box plots as PNG, SVG and CSV; of models with TAP
also dilations, as PNG, SVG and CSV. The definitions are those of mmrobust/analysis/attention_statistics.py and
tap_dilations.py.
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

from mmrobust.analysis import STATISTICS, AttentionStatistics, DilationTable, StatisticsTable, Summary
from mmrobust.analysis.arguments import add_arguments, add_crop, describe, load_models, name_corruption
from mmrobust.analysis.observed_model import ObservedModel
from mmrobust.analysis.statistics_table import COLUMNS, PAIRS
from mmrobust.analysis.tap_dilations import COLUMNS as DILATION_COLUMNS
from mmrobust.files import write_whole
from mmrobust.models.layers import AttentionView
from mmrobust.visualization.attention_boxes import Box, Boxes, statistic_boxes
from mmrobust.visualization.attention_dilations import dilation_bars
from mmrobust.visualization.figure_files import to_csv, write_figure
from performance.measure import measure

FIGURES = {
    'stability': ('stability_map', 'stability_rows'),
    'overfocusing': ('top_share', 'effective_tokens', 'row_effective_tokens', 'column_entropy'),
    'diagonality': ('self_share', 'neighbour_share'),
    'head_similarity': ('head_similarity_map', 'head_similarity_rows'),
}
TITLES = {
    'stability': 'Stability of attention; 1 is unchanged',
    'overfocusing': 'Token overfocusing',
    'diagonality': 'Attention on the diagonal and next to it',
    'head_similarity': 'Similarity of the heads of a layer; the lower, the more diverse',
}


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = cli.Parser(__doc__)
    add_arguments(parser, num_images=100)
    add_crop(parser)
    parser.add_argument('--top-k', type=int, default=5, help='columns of top_share (default: %(default)s)')
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


def collect(name: str, model: ObservedModel, args: argparse.Namespace) -> tuple[StatisticsTable, DilationTable]:
    """The statistics of a model, and the dilations that its TAP chooses, over the images."""
    corruption = name_corruption(args)
    paired = corruption is not None
    statistics = AttentionStatistics(paired, args.top_k)
    table, dilations = StatisticsTable(), DilationTable()

    def look(view: AttentionView) -> tuple[dict[str, Tensor], Tensor | None]:
        return statistics(view), view.tap_weights

    batches = model.batches(corruption, args.severity, args.num_images, args.batch_size)
    for number, samples in enumerate(track(batches, name)):
        inputs = model.inputs(samples)
        if args.check_memory and number == 0:
            report_memory(name, model, inputs, look)
        found, tap_weights = zip(*model.observe(inputs, look), strict=True)
        table.add(found, paired)
        dilations.add(tap_weights, paired)
    return table, dilations


def series(tables: dict[str, StatisticsTable], statistic: str) -> dict[tuple[str, str], dict[int | None, Summary]]:
    """Summaries of a statistic: of each model, clean and corrupted if it is not about pairs."""
    found = {
        (name, '' if images == PAIRS else images): table.boxes(statistic, images)
        for name, table in tables.items()
        for images in ('clean', 'corrupted', PAIRS)
    }
    return {name: boxes for name, boxes in found.items() if boxes}


def write_box_plots(tables: dict[str, StatisticsTable], args: argparse.Namespace) -> list[Path]:
    """One figure for each group of statistics that the models have."""
    written = []
    for title, statistics in FIGURES.items():
        found = {statistic: series(tables, statistic) for statistic in statistics}
        found = {statistic: of_series for statistic, of_series in found.items() if of_series}
        if not found:
            continue
        panels = [
            Boxes(
                STATISTICS[statistic].label.replace('top columns', f'top {args.top_k} columns'),
                {name: {layer: Box(*of[2:]) for layer, of in boxes.items()} for name, boxes in of_series.items()},
                STATISTICS[statistic].in_tokens,
            )
            for statistic, of_series in found.items()
        ]
        caption = (
            f'{TITLES[title]}: {about_images(tables, args)}. Boxes are quartiles and median over images and heads, '
            'on grey over all layers too; whiskers are minimum and maximum. Formulas: '
            'mmrobust/analysis/attention_statistics.py.'
        )
        rows = [
            (statistic, *name, 'all' if layer is None else layer, *summary)
            for statistic, of_series in found.items()
            for name, boxes in of_series.items()
            for layer, summary in boxes.items()
        ]
        header = ('statistic', 'model', 'pictures', 'layer', *Summary._fields)
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


def about_images(tables: dict[str, StatisticsTable], args: argparse.Namespace) -> str:
    images = f'{next(iter(tables.values())).num_images} test images'
    return f'{images}, clean and with {describe(args)}' if name_corruption(args) else f'{images}, clean'


def show_medians(tables: dict[str, StatisticsTable]) -> None:
    """Print the median of every statistic over images, layers and heads."""
    shown = Table('clean / corrupted', title='Median over images, layers and heads')
    for name in tables:
        shown.add_column(name, justify='right')
    for statistic in STATISTICS:
        boxes = [
            [table.boxes(statistic, images) for images in ('clean', 'corrupted', PAIRS)] for table in tables.values()
        ]
        cells = [' / '.join(f'{found[None].median:.3f}' for found in of_model if found) for of_model in boxes]
        if any(cells):
            shown.add_row(statistic, *cells)
    Console(highlight=False).print(shown)


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    with cli.one_sentence():
        models = load_models(args, args.num_workers)
        collected = {name: collect(name, model, args) for name, model in models.items()}
        tables = {name: table for name, (table, _) in collected.items()}
        dilations = {name: table for name, (_, table) in collected.items()}
        rows = [(name, *row) for name, table in tables.items() for row in table.rows()]
        csv = Path(args.out, 'statistics.csv')
        write_whole(csv, to_csv(('model', *COLUMNS), rows))
        box_plots = write_box_plots(tables, args)
        bars = write_dilations(dilations, about_images(tables, args), args)
    show_medians(tables)
    print(f'All layers and heads: {csv}')
    for kind, figures in (('Box plots', box_plots), ('Dilations of TAP', bars)):
        print(*(f'{kind}: {figure}, .svg and .csv\n' for figure in figures), sep='', end='')


if __name__ == '__main__':
    main()

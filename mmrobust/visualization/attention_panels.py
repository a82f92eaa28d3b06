"""Attention maps, images, and attention over images, as a grid of panels."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import LogNorm, Normalize, PowerNorm
from matplotlib.figure import Figure

CSV_HEADER = ('row', 'column', 'cell_row', 'attention times N, by cell')
_COLORS = 'viridis'  # its lightness carries the order, for any colour vision and in print
_TOP = 99.7  # percentile of all cells where the scale ends: a single cell shall not make the others dark


@dataclass(frozen=True)
class HeatMap:
    """A map, ``(m, m)`` in multiples of uniform attention; ``num_tokens`` N is what its axes count."""

    values: np.ndarray
    num_tokens: int


@dataclass(frozen=True)
class Image:
    """``(h, w, 3)`` uint8 RGB, and the place of a token to mark, (row, column) in [0, 1)."""

    pixels: np.ndarray
    mark: tuple[float, float] | None = None


@dataclass(frozen=True)
class OverImage(Image):
    """Attention ``values`` ``(Hp, Wp)``, in multiples of uniform attention, over an image."""

    values: np.ndarray = None


Panel = HeatMap | Image | OverImage | None  # None is an empty place


def panel_grid(
    rows: Sequence[Sequence[Panel]],
    row_titles: Sequence[str],
    column_titles: Sequence[str],
    logarithmic: bool = False,
) -> Figure:
    """Panels in rows and columns, all on one colour scale; maps have query tokens from top to bottom.

    The scale is that of the square root, because a few tokens can have a hundred times the attention of the others.

    Args:
        rows: as many panels in each row as there are column titles.
        row_titles: one for each row.
        column_titles: one for each column.
        logarithmic: powers of two instead, with uniform attention in the middle, and the maximum below each image.
    """
    panels = [panel for row in rows for panel in row]
    values = [panel.values.ravel() for panel in panels if isinstance(panel, HeatMap | OverImage)]
    top = max(2.0, float(np.percentile(np.concatenate(values), _TOP)))
    norm = LogNorm(1 / top, top, clip=True) if logarithmic else PowerNorm(0.5, 0, top)
    ratio = np.mean([_height_to_width(panel) for panel in panels if panel is not None])
    side = min(1.75, 14 / len(column_titles))  # inches
    figure = Figure((side * len(column_titles) + 1.8, (side * ratio + 0.12) * len(rows) + 0.5), layout='constrained')
    axes = figure.subplots(len(rows), len(column_titles), squeeze=False)
    mesh = None
    for row, (line, title) in enumerate(zip(rows, row_titles, strict=True)):
        first_map = next((column for column, panel in enumerate(line) if isinstance(panel, HeatMap)), None)
        for column, panel in enumerate(line):
            ax = axes[row, column]
            mesh = _draw(ax, panel, norm) or mesh
            if row == 0:
                ax.set_title(column_titles[column], fontsize=9)
            if isinstance(panel, HeatMap):
                ends = [0, len(panel.values) - 1], ['1', str(panel.num_tokens)]
                if row == len(rows) - 1:
                    ax.set_xticks(*ends, fontsize=7)
                    ax.set_xlabel('key token', fontsize=8, labelpad=-6)
                if column == first_map:
                    ax.set_yticks(*ends, fontsize=7)
                    ax.set_ylabel('query token', fontsize=8, labelpad=-8)
            elif logarithmic and isinstance(panel, OverImage):
                ax.set_xlabel(f'maximum {panel.values.max():.2g}', fontsize=7, labelpad=2)
        axes[row, 0].set_ylabel(f'{title}\nquery token' if first_map == 0 else title, fontsize=9)
    shrink = min(1.0, 2.2 / (side * ratio * len(rows)))
    bar = figure.colorbar(mesh, ax=axes, shrink=shrink, extend='both' if logarithmic else 'max', pad=0.01)
    if logarithmic:
        powers = range(-int(np.log2(top)), int(np.log2(top)) + 1)
        bar.set_ticks([2.0**power for power in powers], labels=[f'{2.0**power:g}' for power in powers], minor=False)
        bar.ax.minorticks_off()
    bar.set_label('attention, multiples of 1 / N', fontsize=8)
    bar.ax.tick_params(labelsize=7)
    return figure


def panel_rows(
    rows: Sequence[Sequence[Panel]], row_titles: Sequence[str], column_titles: Sequence[str]
) -> Iterator[list]:
    """The data of the panels: a line for each line of cells, after the titles of its row and column."""
    for line, row in zip(rows, row_titles, strict=True):
        for panel, column in zip(line, column_titles, strict=True):
            if isinstance(panel, HeatMap | OverImage):
                for index, cells in enumerate(panel.values):
                    yield [' '.join(row.split()), column, index, *map(float, cells)]


def to_pixels(figure: Figure) -> np.ndarray:
    """A figure as ``(h, w, 3)`` uint8, RGB."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.array(canvas.buffer_rgba())[..., :3]


def _height_to_width(panel: Panel) -> float:
    height, width = (panel.values if isinstance(panel, HeatMap) else panel.pixels).shape[:2]
    return height / width


def _draw(ax, panel: Panel, norm: Normalize):
    if panel is None:
        ax.axis('off')
        return None
    ax.set_xticks([])
    ax.set_yticks([])
    if isinstance(panel, HeatMap):
        return ax.imshow(panel.values, cmap=_COLORS, norm=norm, interpolation='nearest')
    height, width = panel.pixels.shape[:2]
    mesh = None
    if isinstance(panel, OverImage):
        grey = np.repeat(panel.pixels.mean(-1, keepdims=True).astype(np.uint8), 3, -1)
        ax.imshow(grey)
        box = (-0.5, width - 0.5, height - 0.5, -0.5)
        mesh = ax.imshow(panel.values, cmap=_COLORS, norm=norm, alpha=0.65, extent=box, interpolation='nearest')
    else:
        ax.imshow(panel.pixels)
    if panel.mark is not None:
        place = (panel.mark[1] * width, panel.mark[0] * height)
        for size, thick, color in ((10, 3.0, 'black'), (8, 1.2, 'white')):
            ax.plot(*place, marker='+', markersize=size, markeredgewidth=thick, color=color)
    return mesh

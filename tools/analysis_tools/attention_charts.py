"""Box plots of attention statistics, over all layers and layer by layer; bars of the dilations that TAP chooses."""

import textwrap
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import matplotlib
import numpy as np
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import LogFormatter

from figure_files import COLORS

_HATCHES = ('', '/////', '.....')  # of variants: none, and then others
_DILATION_COLORS = 'viridis'  # its lightness carries the order, for any colour vision and in print
_KIND_HATCHES = {'clean': '', 'corrupted': '////'}

# what is compared: (model, variant), such as ('baseline', 'corrupted'); the variant may be ''
Series = tuple[str, str]


class Box(NamedTuple):
    """Five numbers."""

    minimum: float
    lower_quartile: float
    median: float
    upper_quartile: float
    maximum: float


class Boxes(NamedTuple):
    """A panel.

    Attributes:
        label: of the axis, with its unit.
        of_series: (model, variant) to its boxes: of each layer, from 1, and under None of all. Models have colours,
            variants hatches.
        logarithmic: for what spans orders of magnitude.
        uniform: its value where every token gets the same attention, drawn as a line; None for no line.
    """

    label: str
    of_series: Mapping[Series, Mapping[int | None, Box]]
    logarithmic: bool = False
    uniform: float | None = None


def statistic_boxes(panels: Sequence[Boxes]) -> Figure:
    """A panel below the other, each with the boxes of all layers together on the left, then of each layer.

    Whiskers go from the smallest to the largest value, because five numbers are what is kept of a distribution.

    Raises:
        ValueError: there is no panel, or one without a series.
    """
    if not panels or not all(panel.of_series for panel in panels):
        raise ValueError('a figure of boxes needs at least one panel, and each panel a series')
    layers = sorted({layer for panel in panels for boxes in panel.of_series.values() for layer in boxes} - {None})
    series = list(dict.fromkeys(name for panel in panels for name in panel.of_series))
    looks = _looks(series)
    inches = (max(5.5, 1.8 + 0.27 * (len(layers) + 2) * len(series)), 2.0 * len(panels) + 0.5)
    figure = Figure(inches, layout='constrained')
    axes = figure.subplots(len(panels), 1, squeeze=False, sharex=True)[:, 0]
    width = 0.8 / len(series)
    for ax, panel in zip(axes, panels, strict=True):
        for place, name in enumerate(series):
            boxes = panel.of_series.get(name)
            if not boxes:  # a model without registers beside one with them
                continue
            color = looks[name]['edgecolor']
            ax.bxp(
                [_bxp(boxes[layer]) for layer in boxes],
                positions=[_position(layer, layers) + (place - (len(series) - 1) / 2) * width for layer in boxes],
                widths=0.85 * width,
                showfliers=False,
                patch_artist=True,
                boxprops=looks[name],
                medianprops=dict(color='black', linewidth=1.4),
                whiskerprops=dict(color=color),
                capprops=dict(color=color),
            )
        if panel.uniform is not None:
            ax.axhline(panel.uniform, color='black', linestyle='--', linewidth=0.9)
        ax.axvspan(-1.0, 0.5, color='0.93', zorder=0)
        ax.set_xlim(-1.0, len(layers) + 0.6)
        ax.set_ylabel(textwrap.fill(panel.label, 21), fontsize=8)
        ax.tick_params(which='both', labelsize=8)
        ax.grid(axis='y', color='0.85', linewidth=0.6)
        ax.set_axisbelow(True)
        if panel.logarithmic:
            ax.set_yscale('log')
            ax.yaxis.set_major_formatter(LogFormatter())  # 20, not 2 x 10^1
            ax.yaxis.set_minor_formatter(LogFormatter())  # within a decade only
        else:
            ax.set_ylim(bottom=min(0.0, *(box.minimum for boxes in panel.of_series.values() for box in boxes.values())))
    axes[-1].set_xticks([_position(layer, layers) for layer in (None, *layers)], ['all', *map(str, layers)])
    axes[-1].set_xlabel('layer', fontsize=9)
    patches = [Patch(**looks[name], label=', '.join(filter(None, name))) for name in series]
    if any(panel.uniform is not None for panel in panels):
        patches.append(Line2D([], [], color='black', linestyle='--', linewidth=0.9, label='uniform attention'))
    figure.legend(handles=patches, loc='outside upper center', ncols=len(patches), fontsize=8, frameon=False)
    return figure


def _looks(series: Sequence[Series]) -> dict[Series, dict]:
    models, variants = (list(dict.fromkeys(parts)) for parts in zip(*series, strict=True))
    found = {}
    for model, variant in series:
        color = COLORS[models.index(model) % len(COLORS)]
        hatch = _HATCHES[variants.index(variant) % len(_HATCHES)]
        found[model, variant] = dict(facecolor=to_rgba(color, 0.35), edgecolor=color, hatch=hatch, linewidth=1.0)
    return found


def _position(layer: int | None, layers: Sequence[int]) -> float:
    return -0.25 if layer is None else layers.index(layer) + 1


def _bxp(box: Box) -> dict:
    return dict(whislo=box.minimum, q1=box.lower_quartile, med=box.median, q3=box.upper_quartile, whishi=box.maximum)


def dilation_bars(panels: Mapping[tuple[str, str], Mapping[str, Mapping[int, Sequence[float]]]]) -> Figure:
    """A row for each model and a column for each reading, with a bar for each layer, of clean and corrupted images.

    Args:
        panels: (model, reading) to ``'clean'`` or ``'corrupted'`` to layer, from 1, to the share of each dilation, from
            dilation 0; shares sum to 1.

    Raises:
        ValueError: there is no panel.
    """
    if not panels:
        raise ValueError('a figure of dilations needs at least one model with TAP')
    models, readings = (list(dict.fromkeys(names)) for names in zip(*panels, strict=True))
    kinds = [kind for kind in _KIND_HATCHES if any(kind in of_kinds for of_kinds in panels.values())]
    bars = [shares for of_kinds in panels.values() for layers in of_kinds.values() for shares in layers.values()]
    colors = matplotlib.colormaps[_DILATION_COLORS](np.linspace(0.15, 1, max(map(len, bars))))
    num_layers = max(layer for of_kinds in panels.values() for layers in of_kinds.values() for layer in layers)
    size = (1.5 + (0.5 + 0.23 * num_layers) * len(readings), 1.8 * len(models) + 0.5)
    figure = Figure(size, layout='constrained')
    axes = figure.subplots(len(models), len(readings), squeeze=False, sharex=True, sharey=True)
    width = 0.84 / len(kinds)
    for (model, reading), of_kinds in panels.items():
        ax = axes[models.index(model), readings.index(reading)]
        for kind, layers in of_kinds.items():
            place = (kinds.index(kind) - (len(kinds) - 1) / 2) * width
            for layer, shares in layers.items():
                tops = np.cumsum(shares)
                ax.bar(
                    layer + place,
                    shares,
                    width,
                    tops - shares,
                    color=colors[: len(shares)],
                    hatch=_KIND_HATCHES[kind],
                    edgecolor='white',
                    linewidth=0.5,
                )
        ax.tick_params(labelsize=8)
        ax.set_title(f'{model}: {reading}', fontsize=9)
    for ax in axes[:, 0]:
        ax.set_ylabel('share', fontsize=9)
        ax.set_ylim(0, 1)
    for ax in axes[-1]:
        ax.set_xticks(range(1, num_layers + 1))
        ax.set_xlabel('layer', fontsize=9)
    names = ['the token itself', *(f'dilation {dilation}' for dilation in range(1, len(colors)))]
    patches = [Patch(facecolor=color, label=name) for color, name in zip(colors, names, strict=True)][
        ::-1
    ]  # as stacked
    if len(kinds) > 1:
        patches += [Patch(facecolor='0.6', edgecolor='white', hatch=_KIND_HATCHES[kind], label=kind) for kind in kinds]
    figure.legend(handles=patches, loc='outside right center', fontsize=8, frameon=False)
    return figure

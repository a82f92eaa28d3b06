"""Which dilations TAP chooses, layer by layer, as stacked bars."""

from collections.abc import Mapping, Sequence

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Patch

__all__ = ['dilation_bars']

_COLORS = 'viridis'  # its lightness carries the order, for any colour vision and in print
_HATCHES = {'clean': '', 'corrupted': '////'}


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
    kinds = [kind for kind in _HATCHES if any(kind in of_kinds for of_kinds in panels.values())]
    bars = [shares for of_kinds in panels.values() for layers in of_kinds.values() for shares in layers.values()]
    colors = matplotlib.colormaps[_COLORS](np.linspace(0.15, 1, max(map(len, bars))))
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
                    hatch=_HATCHES[kind],
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
        patches += [Patch(facecolor='0.6', edgecolor='white', hatch=_HATCHES[kind], label=kind) for kind in kinds]
    figure.legend(handles=patches, loc='outside right center', fontsize=8, frameon=False)
    return figure

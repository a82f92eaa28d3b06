"""A result against a setting, one curve for each series."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from mmrobust.visualization.figure_files import COLORS, MARKERS

__all__ = ['sweep_figure']


def sweep_figure(
    series: Mapping[str, Mapping[float, Sequence[float]]],
    parameter: str,
    metric: str,
    logarithmic: bool = False,
    baseline: float | None = None,
) -> Figure:
    """Curves with markers, a bar from the smallest to the largest result where a setting has several.

    Args:
        series: name of a curve to setting to results.
        parameter: label of the setting.
        metric: label of the result.
        logarithmic: of the settings.
        baseline: a result to draw as a line across.

    Raises:
        ValueError: a setting on a logarithmic axis is not above 0.
    """
    settings = sorted({setting for runs in series.values() for setting in runs})
    if logarithmic and settings[0] <= 0:
        raise ValueError(f'settings on a logarithmic axis must be above 0, got {settings[0]}')
    figure = Figure((4.2, 3.0), layout='constrained')
    ax = figure.subplots()
    for place, (name, runs) in enumerate(series.items()):
        means = np.array([np.mean(results) for results in runs.values()])
        below, above = (np.abs([edge(results) for results in runs.values()] - means) for edge in (min, max))
        ax.errorbar(
            list(runs),
            means,
            yerr=(below, above) if any(below + above) else None,
            color=COLORS[place % len(COLORS)],
            marker=MARKERS[place % len(MARKERS)],
            markersize=5,
            capsize=3,
            label=name,
        )
    if baseline is not None:
        ax.axhline(baseline, color='0.4', linestyle='--', linewidth=1, label='baseline')
    if logarithmic:
        ax.set_xscale('log')
    ax.set_xticks(settings, [f'{setting:g}' for setting in settings])
    ax.minorticks_off()
    ax.set_xlabel(parameter, fontsize=9)
    ax.set_ylabel(metric, fontsize=9)
    ax.tick_params(labelsize=8)
    ax.grid(color='0.88', linewidth=0.6)
    ax.legend(fontsize=8)
    return figure

"""Coordinates and colours of what a page of results draws; the template makes SVG and HTML of them."""

import math
from collections.abc import Mapping, Sequence

from mmrobust.evaluation.report import Number

#: Okabe and Ito, told apart with any colour vision.
COLORS = ('#0072b2', '#d55e00', '#009e73', '#cc79a7', '#000000', '#e69f00')
# beside its colour each run has a marker and a dash pattern of its own
_DASHES = ('none', '5 2', '1.5 2', '7 2 1.5 2')
# disc, square, triangle, diamond, each around the point that the path has moved to
_MARKS = (
    'm-2.3 0a2.3 2.3 0 1 0 4.6 0a2.3 2.3 0 1 0-4.6 0z',
    'm-2.1-2.1h4.2v4.2h-4.2z',
    'm0-2.8l2.7 4.7h-5.4z',
    'm0-3l3 3l-3 3l-3-3z',
)
_WORST, _BEST = (140, 45, 4), (255, 247, 236)  # one hue, so that lightness carries the order
_BETTER, _WORSE = (127, 191, 123), (175, 141, 195)  # green and purple: no run's colours, told apart by everyone
_CURVE = (170, 104)  # width and height of a chart of curves, in units of its own
_MARGINS = (24, 8, 6, 16)  # left, right, top, bottom
_WIDTH, _LEFT, _RIGHT, _ROW = 420, 130, 12, 16  # of a chart of dots, and the height of a row
_LETTER, _LONGEST = 6.5, 230  # usual width of a letter in a name, and the most that names may take


def style_of(place: int) -> dict[str, str]:
    """How the run at this place of the page is drawn, from 0."""
    return {
        'color': COLORS[place % len(COLORS)],
        'dashes': _DASHES[place % len(_DASHES)],
        'mark': _MARKS[place % len(_MARKS)],
    }


def curves(
    name: str,
    lines: Sequence[tuple[dict, Mapping[float, float | None]]],
    low: float,
    high: float,
    across: Sequence[float] = range(6),
    diagonal: bool = False,
) -> dict:
    """Curves of value by severity, severity 0 being clean, or by another number; what is missing is left out.

    Args:
        name: what the chart is called.
        lines: key of each run, with its ``style``, and its curve, severity, 0 to 5, to value. A run without a point
            has no curve.
        low: lower end of the vertical axis.
        high: upper end.
        across: ticks of the horizontal axis, from end to end.
        diagonal: draw the line of equal coordinates.
    """
    (width, height), (left, right, top, bottom) = _CURVE, _MARGINS

    def point(level: float, value: float) -> str:
        x = left + (level - across[0]) / (across[-1] - across[0]) * (width - left - right)
        return f'{x:.1f} {top + (high - value) / (high - low) * (height - top - bottom):.1f}'

    drawn = []
    for key, line in lines:
        points = [point(level, value) for level, value in sorted(line.items()) if value is not None]
        marks = ''.join(f'M{at}{key["style"]["mark"]}' for at in points)
        if points:
            drawn.append({'style': key['style'], 'path': 'M' + 'L'.join(points), 'marks': marks})
    return {
        'name': name,
        'size': _CURVE,
        'left': left,
        'right': width - right,
        'ticks': [(float(point(0, tick).split()[1]), f'{tick:g}') for tick in (low, (low + high) / 2, high)],
        'levels': [(float(point(level, low).split()[0]), level) for level in across],
        'diagonal': f'M{point(low, low)}L{point(high, high)}' if diagonal else '',
        'lines': drawn,
    }


def dots(rows: Mapping[str, Sequence[tuple[dict, Number]]], line: float | None, title: str) -> dict | None:
    """Numbers with their intervals, a row for each name, on one horizontal axis; None if there is no number.

    Args:
        rows: name to key of a run, with its ``style``, and its number.
        line: where to draw a vertical line; None draws none.
        title: what is shown.
    """
    found = [end for numbers in rows.values() for _, number in numbers for end in number[:3] if end is not None]
    if not found:
        return None
    found += [] if line is None else [line]
    step = _step(max(found) - min(found))
    low, high = math.floor(min(found) / step) * step, math.ceil(max(found) / step) * step
    high = high if high > low else low + step

    left = min(max(_LEFT, 8 + _LETTER * max(map(len, rows))), _LONGEST)

    def x(value: float) -> float:
        return round(left + (value - low) / (high - low) * (_WIDTH - left - _RIGHT), 1)

    ticks = [low + step * count for count in range(round((high - low) / step) + 1)]
    drawn = []
    for index, (name, numbers) in enumerate(rows.items()):
        marks = []
        for order, (key, number) in enumerate(numbers, start=1):
            if number.value is not None:
                y = _ROW * (index + order / (len(numbers) + 1))
                bar = '' if number.low is None else f'M{x(number.low)} {y:.1f}H{x(number.high)}'
                mark = f'M{x(number.value)} {y:.1f}{key["style"]["mark"]}'
                marks.append({'color': key['style']['color'], 'bar': bar, 'mark': mark})
        squeezed = left - 10 if _LETTER * len(name) > left - 8 else None
        drawn.append({'name': name, 'squeezed': squeezed, 'y': _ROW * (index + 1) - 5, 'marks': marks})
    return {
        'title': title,
        'width': _WIDTH,
        'height': _ROW * len(rows),
        'left': left,
        'rows': drawn,
        'ticks': [(x(tick), f'{tick:.6g}') for tick in ticks],
        'line': None if line is None else x(line),
    }


def _step(span: float) -> float:
    """A round number of which 4 to 10 fit into the span."""
    if span <= 0:
        return 1.0
    power = 10 ** math.floor(math.log10(span / 4))
    return next(factor * power for factor in (1, 2, 5, 10) if span / (factor * power) <= 8)


def heat(value: float, worst: float, best: float) -> str:
    """Style of a number, darker the nearer it is to ``worst``."""
    share = (best - value) / (best - worst) if best != worst else 0.0
    color = _blend(_BEST, _WORST, share)
    return f'background:{_css(color)};color:{"#fff" if _is_dark(color) else "#000"}'


def heat_scale(worst: float, best: float) -> dict:
    """The colours of :func:`heat`, the lower number first."""
    low, high = sorted((worst, best))
    ends = [heat(value, worst, best).partition(';')[0].removeprefix('background:') for value in (low, high)]
    return {
        'low': f'{low:.1f}',
        'high': f'{high:.1f}',
        'style': f'background:linear-gradient(to right,{",".join(ends)})',
    }


def difference(value: float, largest: float, better: str) -> str:
    """Style of a change, the more coloured the nearer its size comes to ``largest``; green is better."""
    share = min(1.0, abs(value) / largest) if largest else 0.0
    improved = (value < 0) == (better == 'lower')
    return f'background:{_css(_blend((255, 255, 255), _BETTER if improved else _WORSE, share))}'


def _blend(start: Sequence[int], end: Sequence[int], share: float) -> tuple[int, ...]:
    return tuple(round(a + share * (b - a)) for a, b in zip(start, end, strict=True))


def _css(color: Sequence[int]) -> str:
    return 'rgb({},{},{})'.format(*color)


def _is_dark(color: Sequence[int]) -> bool:
    """Whether white is read better on a colour than black: WCAG's relative luminance is below 0.179."""
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in (c / 255 for c in color)]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2] < 0.179

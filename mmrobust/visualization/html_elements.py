"""Parts of a page without scripts or other files: elements, tables, coloured cells, small charts, pictures.

Whatever is not :class:`Html` already is escaped, so that no name can become markup.
"""

import base64
import html
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

# Okabe and Ito: told apart with any colour vision; each run has a marker and a dash pattern of its own as well
COLORS = ('#0072b2', '#d55e00', '#009e73', '#cc79a7', '#000000', '#e69f00')
_DASHES = ('none', '5 2', '1.5 2', '7 2 1.5 2')
# disc, square, triangle, diamond, each around the point that the path has moved to
_MARKS = (
    'm-2.3 0a2.3 2.3 0 1 0 4.6 0a2.3 2.3 0 1 0-4.6 0z',
    'm-2.1-2.1h4.2v4.2h-4.2z',
    'm0-2.8l2.7 4.7h-5.4z',
    'm0-3l3 3l-3 3l-3-3z',
)
_WORST, _BEST = (140, 45, 4), (255, 247, 236)  # one hue, so that lightness carries the order
_BETTER, _WORSE = (110, 175, 225), (240, 160, 90)
_MAGIC = {b'\xff\xd8\xff': 'image/jpeg', b'\x89PNG\r\n\x1a\n': 'image/png'}  # first bytes of a file
_LARGEST = 1e12
_CHART = (170, 104)  # width and height of a chart, in units of its own
_LEFT, _RIGHT, _TOP, _BOTTOM = 24, 8, 6, 16  # margins around its axes


class Html(str):
    """Text that is markup already."""

    __slots__ = ()


def finite(value: Any) -> float | None:
    """The value as a float, None for what is no finite number, or too large for a rate, so that sums stay finite."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if is_number and -_LARGEST < value < _LARGEST else None


def element(tag: str, *content: Any, **attributes: Any) -> Html:
    """An element with content and attributes escaped; ``class_`` is the attribute ``class``, ``_`` becomes ``-``.

    Floats get two decimals; None and what is not finite become a dash.
    """
    return Html(f'<{tag}{_listed(attributes)}>{"".join(map(_markup, content))}</{tag}>')


def _listed(attributes: Mapping[str, Any]) -> str:
    return ''.join(
        f' {name.rstrip("_").replace("_", "-")}="{html.escape(str(value))}"' for name, value in attributes.items()
    )


def _markup(value: Any) -> str:
    if isinstance(value, Html):
        return value
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return '&ndash;'
    return f'{value:.2f}' if isinstance(value, float) else html.escape(str(value))


def document(title: str, body: Iterable[Any]) -> Html:
    """A whole HTML5 page."""
    metas = Html('<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">')
    head = element('head', metas, element('title', title), element('style', Html(_STYLE)))
    return Html(f'<!DOCTYPE html>\n{element("html", head, element("body", element("main", *body)), lang="en")}')


def table(header: Sequence[Any], rows: Iterable[Sequence[Any]]) -> Html:
    """A table that scrolls inside the page; the first cell of a row is its heading.

    A cell that is a ``th`` or ``td`` element already is taken as it is.
    """
    head = element('tr', *(_cell('th', value, scope='col') for value in header))
    body = [
        element('tr', element('th', first, scope='row'), *(_cell('td', value) for value in rest))
        for first, *rest in rows
    ]
    filled = element('table', element('thead', head), element('tbody', *(Html(f'{row}\n') for row in body)))
    # focusable, so that the keyboard can scroll it
    return Html(f'{element("div", filled, class_="scroll", tabindex="0")}\n')


def titled(title: Any, content: Html) -> Html:
    """Content under a heading of its own."""
    return element('section', element('h4', title), content)


def published_table(
    measured: Sequence[Html], models: Iterable[str], rows: Mapping[str, tuple[Sequence[Any], Sequence[Any]]]
) -> Html:
    """Measured columns, and beside them published ones, shaded, with their numbers as printed.

    Args:
        measured: headings of the measured columns.
        models: what the published columns are of.
        rows: heading of a row to its measured numbers and to its published ones, text as printed.
    """
    header = ['corruption', *measured, *(element('th', f'{model} (published)', class_='published') for model in models)]
    cells = [
        [label, *found, *(element('td', value, class_='published') for value in printed)]
        for label, (found, printed) in rows.items()
    ]
    return table(header, cells)


def _cell(tag: str, value: Any, **attributes: str) -> Html:
    return value if isinstance(value, Html) and value.startswith(('<td', '<th')) else element(tag, value, **attributes)


def number_cell(value: float | None, under: str | None) -> Html:
    """A number with something small below it, such as its interval."""
    return element('td', value, element('div', under, class_='under'))


def bar_cell(values: Mapping[int, float | None]) -> Html:
    """A bar from 0 to 100 for each run: its place on the page to its value in percent."""
    bars = [
        element('span', class_='bar', style=f'width:{min(max(value, 0.0), 100.0):.1f}%;background:{_color(place)}')
        for place, value in values.items()
        if value is not None
    ]
    return element('td', *bars, class_='bars')


def heat_cell(value: float | None, worst: float, best: float, interval: str | None) -> Html:
    """A number, darker the nearer it is to ``worst``; its interval is shown under the pointer."""
    if value is None:
        return element('td', None)
    share = _badness(value, worst, best)
    ink = '#fff' if share > 0.7 else '#000'  # a contrast of 4.4 at least
    hint = {'title': f'{value:.2f} ({interval})'} if interval else {}
    return element('td', f'{value:.1f}', style=f'background:{_blend(_BEST, _WORST, share)};color:{ink}', **hint)


def heat_scale(worst: float, best: float) -> Html:
    """The colours of :func:`heat_cell` with both ends, the lower number first."""
    low, high = sorted((worst, best))
    colors = ','.join(_blend(_BEST, _WORST, _badness(at, worst, best)) for at in (low, (low + high) / 2, high))
    ramp = element('span', class_='ramp', style=f'background:linear-gradient(to right,{colors})')
    return element('span', f'{low:.1f} ', ramp, f' {high:.1f}', class_='scale')


def _badness(value: float, worst: float, best: float) -> float:
    return (best - value) / (best - worst) if best != worst else 0.0


def difference_cell(value: float | None, largest: float, lower_is_better: bool = False) -> Html:
    """A signed number, the more coloured the nearer its size comes to ``largest``."""
    if value is None:
        return element('td', None)
    share = min(1.0, abs(value) / largest) if largest else 0.0
    color = _blend((255, 255, 255), _BETTER if (value < 0) == lower_is_better else _WORSE, share)
    return element('td', f'{value:+.1f}', style=f'background:{color}')


def _blend(start: Sequence[int], end: Sequence[int], share: float) -> str:
    return 'rgb({},{},{})'.format(*(round(a + share * (b - a)) for a, b in zip(start, end, strict=True)))


def _color(place: int) -> str:
    return COLORS[place % len(COLORS)]


def key(place: int, name: str, suffix: str = '') -> Html:
    """Name of the run at this place on the page, with its line and marker in the charts."""
    line = element(
        'svg', _line(place, [(1, 5), (25, 5)], [(13, 5)]), viewBox='0 0 26 10', class_='mark', aria_hidden='true'
    )
    return element('span', line, ' ', name, suffix, class_='key')


def severity_chart(lines: Mapping[int, Mapping[int, float | None]], low: float, high: float, label: str) -> Html:
    """Curves of value by severity, severity 0 being clean; what is missing is left out of its curve.

    Args:
        lines: place of each run on the page to its curve, severity, 0 to 5, to value.
        low: lower end of the vertical axis.
        high: upper end.
        label: what the chart shows, for those who cannot see it.
    """
    width, height = _CHART

    def place(level: int, value: float) -> tuple[float, float]:
        x = _LEFT + level / 5 * (width - _LEFT - _RIGHT)
        return x, _TOP + (high - value) / (high - low) * (height - _TOP - _BOTTOM)

    drawn = []
    for tick in (low, (low + high) / 2, high):
        y = place(0, tick)[1]
        drawn.append(element('path', d=f'M{_LEFT} {y:.1f}H{width - _RIGHT}', stroke='#ddd'))
        drawn.append(element('text', f'{tick:g}', x=_LEFT - 4, y=f'{y + 3:.1f}', text_anchor='end'))
    for level in range(6):
        drawn.append(element('text', level, x=f'{place(level, low)[0]:.1f}', y=height - 4, text_anchor='middle'))
    for run, line in lines.items():
        points = {level: place(level, value) for level, value in sorted(line.items()) if value is not None}
        drawn.append(_line(run, list(points.values()), list(points.values())))
    return element('svg', *drawn, viewBox=f'0 0 {width} {height}', role='img', aria_label=label)


def _line(run: int, points: Sequence[tuple[float, float]], marks: Sequence[tuple[float, float]]) -> Html:
    color = _color(run)
    path = 'L'.join(f'{x:.1f} {y:.1f}' for x, y in points)
    shapes = ''.join(f'M{x:.1f} {y:.1f}{_MARKS[run % len(_MARKS)]}' for x, y in marks)
    line = element(
        'path',
        d=f'M{path}',
        fill='none',
        stroke=color,
        stroke_width='1.4',
        stroke_dasharray=_DASHES[run % len(_DASHES)],
    )
    return Html(line + element('path', d=shapes, fill=color))


def media_type(content: bytes, what: str) -> str:
    """Media type of a JPEG or PNG file, by its first bytes.

    Args:
        content: the whole file, or its beginning.
        what: what to call it in the error.

    Raises:
        ValueError: it is neither.
    """
    for magic, found in _MAGIC.items():
        if isinstance(content, bytes) and content.startswith(magic):
            return found
    raise ValueError(f'{what} must be a JPEG or PNG file, got one that starts with {content[:8]!r}')


def picture(content: bytes, alt: str) -> Html:
    """A JPEG or PNG file inside the page, as wide as there is room; ``alt`` says what it shows.

    Raises:
        ValueError: it is neither.
    """
    data = f'data:{media_type(content, alt)};base64,{base64.b64encode(content).decode()}'
    return Html(f'<img{_listed(dict(src=data, alt=alt, loading="lazy", decoding="async"))}>')


def color_key(colors: Mapping[str, Sequence[int]]) -> Html:
    """Names beside their colours.

    Args:
        colors: name to red, green and blue, each 0 to 255.

    Raises:
        ValueError: a colour is something else.
    """
    items = []
    for name, color in colors.items():
        values = [int(value) for value in color]
        if len(values) != 3 or not all(0 <= value <= 255 for value in values):
            raise ValueError(f'the colour of {name} must be three numbers from 0 to 255, got {tuple(color)}')
        swatch = element('span', class_='swatch', style='background:rgb({},{},{})'.format(*values))
        items.append(element('li', swatch, name))
    return element('ul', *items, class_='colors')


_STYLE = """
:root{color-scheme:light}
*{box-sizing:border-box}
body{margin:0;background:#fff;color:#1a1a1a;font:15px/1.45 system-ui,"Segoe UI",Helvetica,Arial,sans-serif}
main{max-width:1040px;margin:0 auto;padding:24px 16px 48px}
h1{font-size:1.65em;line-height:1.2;margin:0 0 .4em;overflow-wrap:anywhere}
h2{font-size:1.35em;margin:2em 0 .3em;padding-top:.4em;border-top:2px solid #444}
h3{font-size:1.1em;margin:1.6em 0 .3em}
h4{font-size:1em;margin:1.1em 0 .3em}
p{margin:.3em 0 .7em;max-width:78ch}
.warning{border-left:4px solid #d55e00;background:#fdf0e6;padding:.6em .8em;overflow-wrap:anywhere}
.scroll{overflow-x:auto;margin:.4em 0}
table{border-collapse:collapse;font-size:.92em;font-variant-numeric:tabular-nums}
th,td{padding:.28em .65em;text-align:right;white-space:nowrap}
thead th{border-bottom:1.5px solid #444;vertical-align:bottom;font-weight:600;white-space:normal}
tbody tr{border-bottom:1px solid #e6e6e6}
tr>:first-child{text-align:left;position:sticky;left:0;background:#fff}
tbody th{font-weight:400}
.key{margin-right:.8em}
th .key,h4 .key{margin-right:0}
.mark{width:26px;height:10px;vertical-align:middle}
.under{font-size:.85em;color:#555}
.scale{white-space:nowrap}
.ramp{display:inline-block;width:110px;height:.8em;vertical-align:middle}
.bars{min-width:130px;width:190px;padding:.2em .4em}
.bar{display:block;height:5px;margin:1px 0}
.published{background:#efefef;font-style:italic}
thead .text{vertical-align:bottom}
.text{text-align:left;white-space:normal;overflow-wrap:anywhere;min-width:150px;vertical-align:top}
.charts{display:grid;grid-template-columns:repeat(4,1fr);gap:12px 16px}
.beside{display:flex;flex-wrap:wrap;gap:0 48px}
section{min-width:0}
figure{margin:0}
figure svg{width:100%;display:block;font-size:9px;fill:#333}
figcaption{text-align:center;font-size:.85em}
.case{margin:.9em 0 1.4em;break-inside:avoid}
.cases{padding-left:1.2em;font-size:.85em;overflow-wrap:anywhere}
.case>figcaption{text-align:left;overflow-wrap:anywhere;margin-bottom:.25em}
.panels{display:grid;grid-template-columns:repeat(4,1fr);gap:6px}
.panels figcaption{color:#555}
img{display:block;width:100%;height:auto;aspect-ratio:auto 2/1;background:#eee}
.colors{list-style:none;display:flex;flex-wrap:wrap;gap:.15em 1.1em;margin:.5em 0 1em;padding:0;font-size:.9em}
.swatch{display:inline-block;width:1.1em;height:1.1em;margin-right:.35em;vertical-align:-.15em;border:1px solid #777}
@media(max-width:640px){
body{font-size:14px}main{padding:16px 12px 32px}th,td{padding:.28em .4em}.charts,.panels{grid-template-columns:1fr 1fr}
.bars{min-width:90px}}
@media print{.scroll{overflow:visible}body{print-color-adjust:exact;-webkit-print-color-adjust:exact}}
"""

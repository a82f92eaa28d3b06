"""Pictures that a model segments worst: read from a results folder, and shown on a page."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from mmrobust.visualization.html_elements import Html, color_key, element, key, media_type, picture
from mmrobust.visualization.robustness_numbers import number

# end of a file's name to the title of its panel; ACDC has a picture, and no clean and corrupted one
_PANELS = {
    'clean.jpg': 'clean',
    'corrupted.jpg': 'corrupted',
    'picture.jpg': 'picture',
    'truth.png': 'ground truth',
    'prediction.png': 'prediction',
}
_ABOUT = (
    'Pictures with a low mIoU of their own, over the classes of their labels and their prediction; worst first. Each '
    'is shown once, and no corruption or condition more often than its share.'
)


def read_worst_panels(folder: str | Path, worst: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The worst cases of a run with their pictures, read from ``FOLDER/worst/INDEX_PANEL``.

    Args:
        folder: where ``results.json`` is.
        worst: ``worst`` of that file: ``picture``, ``cell`` and ``mIoU`` of each case. Only their order decides which
            files are read; no name in them does.

    Returns:
        The cases with ``panels``: title to the bytes of a JPEG or PNG file, of the files that there are.

    Raises:
        ValueError: ``worst`` is no list of cases, or a file is no picture.
        OSError: a file cannot be read.
    """
    if not isinstance(worst, Sequence) or not all(isinstance(case, Mapping) for case in worst):
        raise ValueError(
            f'worst must be a list of cases with picture, cell and mIoU, got {str(worst)[:80]!r} in {folder}'
        )
    cases = []
    for index, case in enumerate(worst):
        paths = {title: Path(folder) / 'worst' / f'{index}_{end}' for end, title in _PANELS.items()}
        panels = {title: path.read_bytes() for title, path in paths.items() if path.is_file()}
        for title, content in panels.items():
            media_type(content, str(paths[title]))
        cases.append({**case, 'panels': panels})
    return cases


def worst_pictures(
    benchmarks: Mapping[str, Mapping[str, Mapping[str, Any]]],
    places: Mapping[str, int],
    palette: Mapping[str, Sequence[int]] | None = None,
) -> Iterable[Html]:
    """Part of a page; nothing if no run has a worst case.

    Args:
        benchmarks: title of a benchmark to its runs, display name to what may have ``worst``, a list as
            :func:`read_worst_panels` returns it.
        places: display name to the place of the run on the page.
        palette: class to its colour in the pictures, red, green and blue from 0 to 255.

    Raises:
        ValueError: a panel is neither JPEG nor PNG, or a colour is none.
    """
    found = {
        title: {name: run['worst'] for name, run in runs.items() if run.get('worst')}
        for title, runs in benchmarks.items()
    }
    cases = [case for runs in found.values() for worst in runs.values() for case in worst]
    if not cases:
        return
    yield element('h2', 'Worst pictures')
    yield element('p', _ABOUT)
    if palette and any(case.get('panels') for case in cases):
        yield element('p', 'Colours of the classes; black is no class.')
        yield color_key(palette)
    for title, runs in found.items():
        if runs:
            yield element('h3', title)
        for name, worst in runs.items():
            yield element('h4', key(places[name], name))
            yield from _cases(worst)


def _cases(worst: Iterable[Mapping[str, Any]]) -> Iterable[Html]:
    bare = []
    for case in worst:
        if not case.get('panels'):
            bare.append(element('li', *_caption(case)))
            continue
        of = f'{case.get("picture")}, {case.get("cell")}'
        panels = [
            element('figure', picture(content, f'{title}: {of}'), element('figcaption', title))
            for title, content in case['panels'].items()
        ]
        caption = element('figcaption', *_caption(case))
        yield element('figure', caption, element('div', *panels, class_='panels'), class_='case')
    if bare:
        yield element('ul', *bare, class_='cases')


def _caption(case: Mapping[str, Any]) -> tuple[Any, ...]:
    return element('b', case.get('cell')), ', mIoU ', number(case, 'mIoU'), ': ', case.get('picture')

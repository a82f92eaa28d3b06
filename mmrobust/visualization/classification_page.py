"""Robustness results of one or several classifiers as one self-contained HTML page."""

from collections.abc import Iterable, Mapping
from typing import Any

from mmrobust.visualization.comparison import Comparison
from mmrobust.visualization.error_table_sections import error_table_sections
from mmrobust.visualization.html_elements import Html, element, finite
from mmrobust.visualization.imagenet_c_sections import imagenet_c_sections
from mmrobust.visualization.imagenet_p_sections import imagenet_p_sections
from mmrobust.visualization.page_frame import compare, opening, page, places_of, provenance
from mmrobust.visualization.robustness_numbers import at

#: Name of a benchmark to its heading, in the order of the page.
TITLES = {
    'imagenet-c': 'ImageNet-C',
    'imagenet-variants': 'ImageNet variants',
    'adversarial': 'Attacks',
    'imagenet-p': 'ImageNet-P',
}
_VARIANTS = 'On ImageNet-A and -R the prediction is among their 200 classes.'
_ERRORS = ' Except for accuracy, lower is better everywhere.'


def classification_page(
    benchmarks: Mapping[str, Mapping[str, Mapping[str, Any]]],
    reference: str | None = None,
    title: str = 'Classification robustness',
    published: Mapping[str, Mapping[str, Any]] | None = None,
) -> str:
    """One HTML5 page that needs no other file: styles and charts are inside, and there is no script.

    Args:
        benchmarks: ``imagenet-c``, ``imagenet-variants``, ``adversarial`` or ``imagenet-p`` to its runs, display name
            to the content of a ``results.json``: ``results`` and ``provenance``. What is absent, or is not a finite
            number, becomes a dash. A name that is in several benchmarks is one model, and has one colour and marker.
        reference: the run that changes are against. It is another thing than the network that CE is relative to.
        title: heading of the page.
        published: model to ``corruptions`` (CE in percent of each) and ``mCE``, as printed in the paper. Shown, and
            labelled so, beside those runs of ImageNet-C that have CE relative to AlexNet, the official pictures and
            all 75 cells.

    Returns:
        ASCII text; other characters are written as character references.

    Raises:
        ValueError: there is no run, a benchmark is unknown, or no run is called like the reference.
    """
    for name in benchmarks:
        if name not in TITLES:
            raise ValueError(f'a benchmark must be one of {", ".join(TITLES)}, got {name!r}')
    found = {name: benchmarks[name] for name in TITLES if benchmarks.get(name)}
    titled = {TITLES[name]: runs for name, runs in found.items()}
    places = places_of(titled, reference)
    body = [*opening(title, titled, reference, _ERRORS)]
    for name, runs in found.items():
        parts = 'perturbations' if name == 'imagenet-p' else 'cells'
        compared = compare(runs, places, reference, parts)
        body += [element('h2', TITLES[name]), *_sections(name, runs, compared, published or {})]
    body += provenance(titled, places)
    return page(title, body)


def _sections(name: str, runs: Mapping, compared: Comparison, published: Mapping) -> Iterable[Html]:
    if name == 'imagenet-c':
        sources = {run: at(content, 'provenance', 'corrupted') for run, content in runs.items()}
        return imagenet_c_sections(compared, sources, published)
    if name == 'imagenet-variants':
        return error_table_sections(compared, 'variant', _VARIANTS)
    if name == 'adversarial':
        return error_table_sections(compared, 'attack', _attacks(runs))
    return imagenet_p_sections(compared)


def _attacks(runs: Mapping) -> str:
    """How strong the attacks were, if all runs agree."""
    fields = ('eps', 'step_size', 'num_steps')
    found = {tuple(finite(at(run, 'provenance', field)) for field in fields) for run in runs.values()}
    eps, step, steps = found.pop()
    if found or None in (eps, step, steps):
        return ''
    return f'A pixel changes by {255 * eps:g}/255 at most; PGD takes {steps:g} steps of {255 * step:g}/255.'

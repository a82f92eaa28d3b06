"""Robustness results of one or several runs as one self-contained HTML page."""

from collections.abc import Mapping, Sequence
from typing import Any

from mmrobust.visualization.acdc_sections import acdc_headline, acdc_sections
from mmrobust.visualization.cityscapes_c_sections import cityscapes_c_headline, cityscapes_c_sections
from mmrobust.visualization.html_elements import element
from mmrobust.visualization.page_frame import compare, opening, page, places_of, provenance
from mmrobust.visualization.worst_pictures import worst_pictures


def robustness_page(
    runs: Mapping[str, Mapping[str, Any]] | None,
    published: Mapping[str, Mapping[str, Any]] | None = None,
    reference: str | None = None,
    title: str = 'Segmentation robustness',
    acdc: Mapping[str, Mapping[str, Any]] | None = None,
    palette: Mapping[str, Sequence[int]] | None = None,
) -> str:
    """One HTML5 page that needs no other file: styles, charts and pictures are inside, and there is no script.

    Args:
        runs: display name to the content of a ``results.json`` of Cityscapes-C: ``results``, ``provenance`` and
            ``worst``, whose cases may have ``panels``, see
            :func:`mmrobust.visualization.worst_pictures.read_worst_panels`. What is absent, or is not a finite number,
            becomes a dash.
        published: model to ``corruptions`` (mIoU in percent of each) and ``average``, as printed in the paper, for the
            same severities as the runs. Shown, and labelled so, if the runs hold exactly these corruptions.
        reference: the run that CD and differences are against. Runs of other cells or conditions than its own get a
            dash.
        title: heading of the page.
        acdc: the same as ``runs``, of ACDC. A name that is in both is one model, and has one colour and marker.
        palette: class to its colour in the panels, red, green and blue from 0 to 255, for their legend.

    Returns:
        ASCII text; other characters are written as character references.

    Raises:
        ValueError: there is no run, no run is called like the reference, a panel is neither JPEG nor PNG, or a colour
            is none.
    """
    benchmarks = {name: found for name, found in (('Cityscapes-C', runs), ('ACDC', acdc)) if found}
    places = places_of(benchmarks, reference)
    corrupted = compare(runs or {}, places, reference, 'cells')
    adverse = compare(acdc or {}, places, reference, 'conditions')
    body = [*opening(title, benchmarks, reference), element('h2', 'Headline')]
    if runs:
        body += [element('h3', 'Cityscapes-C'), *cityscapes_c_headline(corrupted)]
    if acdc:
        body += [element('h3', 'ACDC'), *acdc_headline(adverse)]
    if runs:
        body += [element('h2', 'Cityscapes-C'), *cityscapes_c_sections(corrupted, published or {})]
    if acdc:
        body += [element('h2', 'ACDC'), *acdc_sections(adverse)]
    body += [*worst_pictures(benchmarks, places, palette), *provenance(benchmarks, places)]
    return page(title, body)

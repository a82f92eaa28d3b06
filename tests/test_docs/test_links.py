"""What README and docs name is there: pages in a table of contents, links and their anchors."""

import re
from pathlib import Path

import pytest

from .pages import DOCS, PAGES, TEXTS, name, prose

INCLUDE = re.compile(r'```\{include\} (\S+)')


def anchors(path: Path) -> set[str]:
    """The anchors that GitHub and MyST give the headings of a page, or of the file that it takes over."""
    text = path.read_text()
    for included in INCLUDE.findall(text):
        text += (path.parent / included).read_text()
    headings = re.findall(r'^#{1,3} (.+)$', prose(text), flags=re.MULTILINE)
    plain = (re.sub(r'[^\w\- ]', '', re.sub(r'\[(.+?)\]\(.+?\)', r'\1', heading)) for heading in headings)
    return {heading.strip().lower().replace(' ', '-') for heading in plain}


@pytest.mark.parametrize('path', TEXTS, ids=name)
def test_links_lead_somewhere(path):
    for target in re.findall(r'\]\(([^)\s]+)\)', prose(path.read_text())):
        if re.match(r'https?:', target):
            continue
        file, _, anchor = target.partition('#')
        linked = (path.parent / file).resolve() if file else path
        assert linked.exists(), f'{target}: there is no {linked}'
        if path.is_relative_to(DOCS):
            assert linked.is_relative_to(DOCS), f'{target} lies outside docs: link the page of the site'
        if anchor:
            assert anchor in anchors(linked), f'{target}: the headings are {sorted(anchors(linked))}'


@pytest.mark.parametrize('path', TEXTS, ids=name)
def test_fences_are_closed(path):
    fences = re.findall(r'^```(.*)$', path.read_text(), flags=re.MULTILINE)
    assert len(fences) % 2 == 0 and not any(fences[1::2])


def test_every_page_is_in_a_table_of_contents():
    listed = set()
    for page in PAGES:
        for block in re.findall(r'^```\{toctree\}\n(.+?)^```$', page.read_text(), flags=re.MULTILINE | re.DOTALL):
            for entry in re.findall(r'^[^:\s].*$', block, flags=re.MULTILINE):
                found = set(page.parent.glob(f'{entry}.md'))
                assert found, f'{name(page)} lists {entry}, which is no page'
                listed |= found - {page}
    assert set(PAGES) - listed == {DOCS / 'index.md'}


def test_every_image_is_shown():
    shown = {Path(target).name for path in TEXTS for target in re.findall(r'!\[.*?\]\((\S+?)\)', path.read_text())}
    assert {path.name for path in (DOCS / 'images').iterdir()} == shown

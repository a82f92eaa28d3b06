"""The texts of the project, and the code in them."""

import re
from pathlib import Path

REPO = Path(__file__).resolve().parents[2]
DOCS = REPO / 'docs'
PAGES = sorted(DOCS.glob('**/*.md'))
NOT_ON_THE_SITE = ('README.md', 'CONTRIBUTING.md', 'SECURITY.md', 'CHANGELOG.md', 'configs/README.md')
TEXTS = [*PAGES, *(REPO / name for name in NOT_ON_THE_SITE)]

_BLOCK = re.compile(r'^```(\w*)\n(.*?)^```$', flags=re.MULTILINE | re.DOTALL)


def name(path: Path) -> str:
    """What a text is called in the names of tests."""
    return str(path.relative_to(REPO))


def prose(text: str) -> str:
    """Without fenced code."""
    return re.sub(r'^```.*?^```$', '', text, flags=re.MULTILINE | re.DOTALL)


def blocks(path: Path, language: str) -> list[str]:
    """The fenced code of a language."""
    return [code for found, code in _BLOCK.findall(path.read_text()) if found == language]

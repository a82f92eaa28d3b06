"""The table of error messages quotes messages that the code has."""

import ast
import re

import pytest

from .pages import DOCS, REPO

SECTIONS = re.split(r'^## ', (DOCS / 'reference/errors.md').read_text(), flags=re.MULTILINE)[1:]
MESSAGES = [
    message
    for section in SECTIONS
    if not section.startswith('Installation')  # those of other packages
    for message in re.findall(r'^\| `(.+?)`[^|]*\|', section.partition('| keys in the list')[0], flags=re.MULTILINE)
]


def texts() -> list[str]:
    """All texts of the code, with a tab where a value stands in them."""
    found = []
    for path in [*(REPO / 'mmrobust').glob('**/*.py'), *(REPO / 'tools').glob('**/*.py')]:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.append(node.value)
            elif isinstance(node, ast.JoinedStr):
                found.append(
                    ''.join(
                        getattr(part, 'value', '\t') if isinstance(part, ast.Constant) else '\t' for part in node.values
                    )
                )
    return found


TEXTS = '\n'.join(texts()) if MESSAGES else ''


def longest_run(message: str) -> int:
    """Most consecutive words of a message that stand together in the code: the others are values that vary."""
    words = message.split()
    runs = [(start, stop) for start in range(len(words)) for stop in range(start + 1, len(words) + 1)]
    return max(stop - start for start, stop in [(0, 0), *runs] if ' '.join(words[start:stop]) in TEXTS)


@pytest.mark.parametrize('message', MESSAGES)
def test_a_message_is_one_of_the_code(message):
    words = len(message.replace('...', '').split())
    assert longest_run(message) >= min(3, words)


def test_another_message_is_not():
    assert longest_run('It would be wise to look elsewhere') < 3

"""The page about results.json names what a results.json has."""

import json
import re

import mmrobust
from tests.test_evaluate_robustness import files  # noqa: F401 (a fixture)

from .pages import DOCS


def keys(table: str) -> set[str]:
    """All names in the first column of a table."""
    return {key for line in re.findall(r'^\| (`.+?) \|', table, re.MULTILINE) for key in re.findall(r'`(\w+)`', line)}


def test_keys_are_those_of_a_run(files, tmp_path):  # noqa: F811
    options = dict(corruptions=['contrast'], severities=[5], num_workers=0, device='cpu', quiet=True)
    mmrobust.evaluate(str(files / 'toy.py'), checkpoint=str(files / 'toy.pth'), out=tmp_path, **options)
    content = json.loads((tmp_path / 'results.json').read_text())
    top, provenance, results = (DOCS / 'reference/results_json.md').read_text().split('\n## ')
    assert keys(top) == set(content)
    assert keys(provenance) == set(content['provenance'])
    assert keys(results) == {key for key in content['results'] if not key.endswith('_interval')}
    for path in re.findall(r'`provenance\.([\w.]+)`', (DOCS / 'how-to/report_a_result.md').read_text()):
        place = content['provenance'] | {'precision': 'float32'}
        for key in path.split('.'):
            place = place[key]

"""The site builds, and nothing in it warns."""

import os
import subprocess
import sys

import pytest

from .pages import DOCS, PAGES, REPO


@pytest.mark.slow
def test_the_site_builds_without_warnings(tmp_path):
    for package in ('furo', 'myst_parser', 'sphinx_copybutton', 'sphinx_design'):
        pytest.importorskip(package)
    command = [sys.executable, '-m', 'sphinx', '-q', '-W', '--keep-going', '-d', str(tmp_path / 'read')]
    built = subprocess.run(
        [*command, str(DOCS), str(tmp_path / 'site')],
        capture_output=True,
        text=True,
        env={**os.environ, 'PYTHONPATH': str(REPO)},
        check=False,
    )
    assert built.returncode == 0, built.stderr[-4000:]
    for page in PAGES:
        assert (tmp_path / 'site' / page.relative_to(DOCS)).with_suffix('.html').is_file()
    tools = (tmp_path / 'site/reference/tools.html').read_text()
    assert 'tools/evaluate_robustness.py' in tools and '--window-batch' in tools
    assert 'mmrobust.AttentionLogHook' in (tmp_path / 'site/reference/registries.html').read_text()
    assert 'mmrobust.evaluate' in (tmp_path / 'site/reference/api/evaluation.html').read_text()

"""Sphinx builds the site from these pages: ``make docs``."""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / 'docs')]

project = 'mmrobust'
copyright = 'the mmrobust authors'
extensions = [
    'myst_parser',
    'sphinx.ext.autodoc',
    'sphinx.ext.napoleon',
    'sphinx_copybutton',
    'sphinx_design',
    'from_code',
]
exclude_patterns = ['_build']
html_theme = 'furo'
html_title = 'mmrobust'
html_static_path = ['_static']
html_css_files = ['site.css']
myst_enable_extensions = ['colon_fence', 'dollarmath']
myst_heading_anchors = 3  # links to headings, by the names that GitHub gives them
copybutton_prompt_text = '$ '
napoleon_use_ivar = True
autodoc_member_order = 'bysource'
smartquotes = False  # quotes and dashes of commands stay as they are

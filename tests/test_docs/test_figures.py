"""``make docs-figures`` writes the images and numbers of a demo into README and docs."""

import json
from importlib.util import module_from_spec, spec_from_file_location

import cv2
import numpy as np
import pytest

from .pages import DOCS, TEXTS


def load_figures():
    spec = spec_from_file_location('docs_figures', DOCS / 'figures.py')
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


FIGURES = load_figures()
OUTPUT = """── 3. Test them on clean images: about 15 seconds ──
$ python tools/test.py
│ baseline │ 19.50 │

Done in 4.0 minutes. Look at
"""
DILATIONS = """model,images,layer,dilation,reading,count,mean
TAP + ADL,clean,1,0,mean weight,4,0.5
TAP + ADL,clean,1,0,share of tokens,4,0.324
TAP + ADL,corrupted,1,0,share of tokens,4,0.03
TAP + ADL,clean,2,0,share of tokens,4,0.9
"""
STATISTICS = """model,images,statistic,layer,head,median
baseline,clean,head_similarity_map,all,all,0.2149
TAP + ADL,clean,head_similarity_map,all,all,0.791
TAP + ADL,corrupted,head_similarity_map,all,all,0.5
"""


@pytest.fixture
def demo(tmp_path, monkeypatch):
    """A folder as a finished demo leaves it, and other docs to write to."""
    docs, folder = tmp_path / 'docs', tmp_path / 'demo'
    (docs / 'images').mkdir(parents=True)
    (folder / 'attention').mkdir(parents=True)
    (folder / 'demo.txt').write_text(OUTPUT)
    (folder / 'attention/dilations.csv').write_text(DILATIONS)
    (folder / 'attention/statistics.csv').write_text(STATISTICS)
    (folder / 'results.json').write_text('{"baseline": {"mIoU": 19.498}, "TAP + ADL": {"mIoU": 18.96}}')
    for name in FIGURES.IMAGES:
        assert cv2.imwrite(str(folder / name), np.zeros((30, 3000, 3), np.uint8))
    (tmp_path / 'README.md').write_text('a <!-- demo:mIoU.baseline -->0.0<!-- /demo --> b')
    (docs / 'page.md').write_text(
        '<!-- demo:output -->\n\n<!-- /demo -->\nno <!-- demo:dilation_0.clean -->x<!-- /demo -->'
    )
    monkeypatch.setattr(FIGURES, 'DOCS', docs)
    monkeypatch.setattr(FIGURES, 'NUMBERS', docs / 'demo.json')
    monkeypatch.setattr(FIGURES, 'BROWSERS', ())
    return folder


def test_numbers_go_between_the_markers(demo, capsys):
    FIGURES.main(['--demo', str(demo)])
    docs = FIGURES.DOCS
    assert (docs.parent / 'README.md').read_text() == 'a <!-- demo:mIoU.baseline -->19.5<!-- /demo --> b'
    page = FIGURES.marked((docs / 'page.md').read_text())
    assert page['dilation_0.clean'] == '32%'
    assert page['output'] == '\n```\n│ baseline │ 19.50 │\nLook at\n```\n'
    kept = json.loads((docs / 'demo.json').read_text())
    assert kept == {'mIoU.baseline': '19.5', **page}
    assert {path.name for path in (docs / 'images').iterdir()} == {name for name, _ in FIGURES.IMAGES.values()}
    assert cv2.imread(str(docs / 'images/demo_overview.jpg')).shape == (16, 1600, 3)
    assert 'There is no browser' in capsys.readouterr().err
    numbers = FIGURES.read_numbers(demo)
    assert (numbers['head_similarity.baseline'], numbers['head_similarity.TAP+ADL']) == ('0.21', '0.79')
    assert numbers['dilation_0.corrupted'] == '3%'


def test_an_unfinished_demo_is_one_sentence(tmp_path, capsys):
    with pytest.raises(SystemExit) as exit_:
        FIGURES.main(['--demo', str(tmp_path)])
    assert exit_.value.code == 2
    assert 'run make demo first' in capsys.readouterr().err


def test_marked_numbers_are_those_of_the_last_demo():
    kept, used = json.loads(FIGURES.NUMBERS.read_text()), set()
    for path in TEXTS:
        for key, text in FIGURES.marked(path.read_text()).items():
            assert text == kept[key], f'{path.name}: {key}: run make demo docs-figures'
            used.add(key)
    assert used == kept.keys()
    assert 'output' in used

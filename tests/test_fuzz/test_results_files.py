"""Results files that are damaged, cut off or of somebody else: a page, or a ValueError in one sentence."""

import copy
import json
from contextlib import nullcontext
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmrobust.evaluation.cells import Cell, CellStore
from mmrobust.evaluation.counts import Confusion, Flips, Predictions
from mmrobust.files import read_json
from tests.reports import report_of
from tests.test_fuzz.examples import examples
from tests.tool_loading import load_tool

read_measured = load_tool('reproduction/measured.py').read_measured
EVIL = '<script>alert("\'&x")</script>'
NAMES = st.one_of(
    st.sampled_from([EVIL, 'fog_1', 'fog_7', f'fog_{"9" * 5000}', '\N{SNOWMAN}' * 300, '\ud800', 'a\n\x1b[31m', '']),
    st.text(max_size=20),
)
VALUES = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.integers(), st.floats(), NAMES, st.sampled_from([10**400, 1e308, -1e308, 1e-308])
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(NAMES, inner, max_size=3)),
    max_leaves=6,
)
SEGMENTOR = 'adversarial, of a segmentor'  # the benchmark adversarial, whose layouts are two
# all that a page looks at, of two cells
RESULTS = {
    'cityscapes-c': {
        'clean_mIoU': 80.0,
        'clean_mIoU_interval': [79.0, 81.0],
        'mPC': 50.0,
        'retention': 62.5,
        'corruptions': {'fog': 60.0, 'snow': 40.0},
        'cells': {'fog_1': {'mIoU': 60.0, 'mIoU_interval': [59.0, 61.0]}, 'snow_5': {'mIoU': 40.0}},
        'groups': {'weather': 50.0},
        'ungrouped': [],
        'severities': {'1': 60.0, '5': 40.0},
        'classes': {'road': {'clean': 98.0, 'corrupted': None}},
        'bootstrap': {'images_sha256': 'ab', 'mPC': [49.0, 51.0]},
    },
    'acdc': {
        'conditions': {'fog': {'mIoU': 50.0, 'mIoU_interval': [49.0, 51.0]}},
        'mean_mIoU': 50.0,
        'pooled_mIoU': 51.0,
        'classes': {'road': {'fog': 90.0, 'pooled': 91.0}},
        'bootstrap': {'images_sha256': 'ab', 'pooled_mIoU': [49.0, 51.0]},
    },
    'imagenet-c': {
        'clean_error': 18.0,
        'mean_error': 30.0,
        'mCE': 47.0,
        'relative_mCE': 60.0,
        'normalised_by': 'AlexNet',
        'corruptions': {'fog': {'error': 30.0, 'CE': 47.0, 'relative_CE': 60.0, 'extra': False}},
        'cells': {'fog_1': {'error': 30.0, 'error_interval': [29.0, 31.0]}},
    },
    'imagenet-variants': {'cells': {'clean': {'error': 20.0, 'num_images': 4, 'error_interval': [19.0, 21.0]}}},
    'adversarial': {
        'cells': {'clean': {'error': 20.0, 'num_images': 4}, 'pgd': {'error': 71.0, 'num_images': 4}},
    },
    SEGMENTOR: {
        'cells': {
            'clean': {'mIoU': 80.0, 'aAcc': 95.0, 'num_images': 4},
            'pgd_8of255_20steps': {
                'mIoU': 9.0,
                'aAcc': 20.0,
                'loss_before': 0.5,
                'loss_after': 9.0,
                'num_blind': 1,
                'num_images': 4,
            },
        },
    },
    'imagenet-p': {
        'perturbations': {'tilt': {'flip_probability': 5.0, 'FR': 60.0, 'uT5D': 1.0, 'num_videos': 2}},
        'mFR': None,
    },
}


def of_run(benchmark):
    """What a results.json holds."""
    results, scope = RESULTS[benchmark], None
    if benchmark == SEGMENTOR:
        benchmark, scope = 'adversarial', 'mmseg'
    identity = dict(num_images=50000, seed=0, corrupted='official', eps=0.004, step_size=0.002, num_steps=5)
    identity |= dict(images_sha256={'clean': 'a' * 64}, classes=['road', 'car'], name='a', split='val', norm='linf')
    identity |= dict(trained_on='unknown')
    provenance = {'config': 'a.py', 'benchmark': benchmark, **identity}
    worst = [{'image': 'a.png', 'cell': 'fog_1', 'mIoU': 3.0}] if 'mIoU' in str(results) else None
    return json.loads(report_of(benchmark, results, provenance, scope, worst=worst).to_json())


def places(value, path=()):
    """The path to everything inside nested lists and dicts."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield (*path, key)
        yield from places(inner, (*path, key))


@st.composite
def damaged(draw):
    """A results.json in which some values are others, gone, or under another name."""
    content = of_run(draw(st.sampled_from(sorted(RESULTS))))
    for _ in range(draw(st.integers(1, 3))):
        *path, key = draw(st.sampled_from(list(places(content)) or [('results',)]))
        holder = content
        for step in path:
            holder = holder[step]
        action = draw(st.sampled_from(['replace', 'remove', 'rename', 'add']))
        if action == 'replace' or isinstance(holder, list):
            holder[key] = draw(VALUES)
        elif action == 'add':
            holder[draw(NAMES)] = copy.deepcopy(holder.get(key))
        else:
            value = holder.pop(key, None)
            if action == 'rename':
                holder[draw(NAMES)] = value
    return content


@pytest.fixture
def tool(monkeypatch):
    """compare_robustness.py that lets every error through."""
    tool = load_tool('analysis_tools/compare_robustness.py')
    monkeypatch.setattr(tool.cli, 'one_sentence', nullcontext)
    return tool


class Tags(HTMLParser):
    """Which tags and attributes a page has."""

    def __init__(self, text):
        super().__init__()
        self.found = set()
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.found |= {tag, *(name for name, _ in attrs)}


def page_or_sentence(tool, folder, *arguments):
    """Compare; the page must be free of what the data says, an error must be one line."""
    out = Path(folder, 'page.html')
    out.unlink(missing_ok=True)
    try:
        tool.main([*map(str, arguments), '--out', str(out), '--allow-differences'])
    except ValueError as error:
        assert str(error) and not out.exists()
        return False
    text = out.read_text()
    assert text.isascii() and '<script' not in text
    assert not {'script', 'onerror', 'alert', 'iframe'} & Tags(text).found
    return True


@examples(150, 2000)
@given(content=damaged(), against=st.booleans())
def test_a_page_or_a_sentence(tool, tmp_path, content, against):
    path = tmp_path / 'results.json'
    path.write_text(json.dumps(content))
    benchmark = content.get('provenance')
    runs, names = [path], ['damaged']
    if against and isinstance(benchmark, dict) and benchmark.get('benchmark') in list(RESULTS):
        (tmp_path / 'good.json').write_text(json.dumps(of_run(benchmark['benchmark'])))
        runs, names = [path, tmp_path / 'good.json'], ['damaged', 'good', '--reference', 'good']
    page_or_sentence(tool, tmp_path, *runs, '--names', *names)


def test_what_is_damaged_here_is_whole_before(tool, tmp_path):
    for benchmark in RESULTS:
        (tmp_path / 'results.json').write_text(json.dumps(of_run(benchmark)))
        assert page_or_sentence(tool, tmp_path, tmp_path / 'results.json')


@examples(20, 500)
@given(name=st.one_of(NAMES, st.text(min_size=300, max_size=400)), benchmark=st.sampled_from(sorted(RESULTS)))
def test_every_name_on_the_page_is_text(tool, tmp_path, name, benchmark):
    """The run, the configuration, a section and an image are called so."""
    content = of_run(benchmark)
    content['provenance'] |= {'config': name, name: name}
    if 'worst' in content:
        content['worst'][0] |= {'image': name, 'cell': name}
    for section in content['results'].values():
        if isinstance(section, dict):
            section[name] = copy.deepcopy(next(iter(section.values())))
    (tmp_path / 'results.json').write_text(json.dumps(content))
    title = name.replace('-', '+')  # for argparse
    assert page_or_sentence(
        tool, tmp_path, tmp_path / 'results.json', '--names', f'run {title}', '--title', f't{title}'
    )


@st.composite
def texts(draw, whole):
    """Files that are cut off, have a byte changed, or are of somebody else."""
    content = whole.encode()
    start = draw(st.integers(0, len(content)))
    kind = draw(st.sampled_from(['cut', 'changed', 'bytes', 'json', 'deep']))
    if kind == 'cut':
        return content[:start]
    if kind == 'changed':
        return content[:start] + draw(st.binary(min_size=1, max_size=3)) + content[start + 1 :]
    if kind == 'deep':
        depth = draw(st.sampled_from([60, 900, 100_000]))
        return (b'[' * depth + b']' * depth) if draw(st.booleans()) else b'{"results":' * depth
    return draw(st.binary(max_size=40)) if kind == 'bytes' else json.dumps(draw(VALUES)).encode()


@examples(40, 1500)
@given(content=st.sampled_from(sorted(RESULTS)).flatmap(lambda name: texts(json.dumps(of_run(name)))))
def test_files_of_somebody_else(tool, tmp_path, content):
    path = tmp_path / 'results.json'
    path.write_bytes(content)
    page_or_sentence(tool, tmp_path, path)
    try:
        read_json(path)
    except ValueError as error:
        assert str(error).startswith(f'{path} is ') and len(str(error).splitlines()) == 1


@examples(40, 1000)
@given(content=damaged())
def test_measured_results(tmp_path, content):
    path = tmp_path / 'results.json'
    path.write_text(json.dumps(content))
    try:
        assert all(0 <= value < 1e6 for value in read_measured(path).values.values())
    except ValueError as error:
        assert str(path) in str(error)


@examples(30, 500)
@given(content=st.one_of(damaged(), VALUES), metric=st.sampled_from(['mPC', 'mCE', 'config']))
def test_numbers_of_a_sweep(tmp_path, content, metric):
    path = tmp_path / 'results.json'
    path.write_text(json.dumps(content))
    try:
        assert abs(load_tool('analysis_tools/plot_sweep.py').read_number(str(path), metric)) < 1e12
    except ValueError as error:
        assert str(path) in str(error)


CELLS = {
    Confusion: {
        'confusion': [[3, 1], [0, 2]],
        'attacked': {'a.png': [0.5, 2.5, 0, 1]},
        'images': {'a.png': [[3, 2], [3, 3], [4, 2]]},
    },
    Predictions: {'images': {'a.png': [1, 2], 'b.png': [0, 0]}},
    Flips: {'videos': {'a.mp4': [1, 20, 30]}},
}


@pytest.mark.parametrize('kind', CELLS)
@examples(40, 1000)
@given(data=st.data())
def test_cells(tmp_path, kind, data):
    store, cell = CellStore(tmp_path, kind, {}), Cell('fog', 3)
    store.path(cell).parent.mkdir(exist_ok=True)
    content = json.dumps(CELLS[kind])
    if data.draw(st.booleans()):
        store.path(cell).write_bytes(data.draw(texts(content)))
    else:
        changed = json.loads(content)
        *path, key = data.draw(st.sampled_from(list(places(changed))))
        holder = changed
        for step in path:
            holder = holder[step]
        holder[key] = data.draw(VALUES)
        store.path(cell).write_text(json.dumps(changed))
    try:
        found = store.read(cell)
    except ValueError as error:
        assert 'fog_3.json is damaged' in str(error) and 'remove it' in str(error)
    else:
        assert type(found).from_json(found.to_json()).to_json() == found.to_json()


@examples(20, 500)
@given(content=texts('{"seed": 0, "format": 2}'))
def test_identity_of_cells(tmp_path, content):
    (tmp_path / 'identity.json').write_bytes(content)
    try:
        CellStore(tmp_path, Predictions, {'seed': 0})
    except ValueError as error:
        assert str(tmp_path) in str(error)
    else:
        assert json.loads(content) == {'seed': 0, 'format': 2}

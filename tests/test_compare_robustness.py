"""tools/analysis_tools/compare_robustness.py on results that no model has to make."""

import dataclasses
import json
import re
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import kendalltau, spearmanr

from mmrobust.evaluation.benchmarks.presets import select_cells
from tests.reports import report_of
from tests.test_evaluation.test_results_page import cityscapes_c

TOOL = 'analysis_tools/compare_robustness.py'
JPEG, PNG = b'\xff\xd8\xff\xe0 and so on', b'\x89PNG\r\n\x1a\n and so on'


@pytest.fixture
def write(tmp_path):
    """Writes what a run on Cityscapes-C writes, with random numbers."""

    def write_run(folder, draw=0, preset='kamann', **identity):
        identity = dict(num_images=2, seed=0, profile='rgb', checkpoint_sha256='abc') | identity
        cells = select_cells(preset)
        miou = dict(zip(cells, np.random.default_rng(draw).uniform(20, 80, len(cells)).tolist(), strict=True))
        corruptions = {
            name: float(np.mean([value for cell, value in miou.items() if cell.name == name]))
            for name in dict.fromkeys(cell.name for cell in cells)
        }
        mpc = float(np.mean(list(corruptions.values())))
        results = {
            'clean_mIoU': 81.25,
            'mPC': mpc,
            'retention': 100 * mpc / 81.25,
            'corruptions': corruptions,
            'ungrouped': [],
            'cells': {cell.key: {'mIoU': value} for cell, value in miou.items()},
            'classes': {'road': {'clean': 98.0, 'corrupted': 90.0}, '<script>': {'clean': None, 'corrupted': None}},
        }
        return save(tmp_path / folder, 'cityscapes-c', identity, results)

    return write_run


@pytest.fixture
def write_acdc(tmp_path):
    """Writes what a run on ACDC writes."""

    def write_run(folder, conditions=('fog', 'night'), miou=50.0, **identity):
        identity = dict(num_images=6, split='val', trained_on='unknown', checkpoint_sha256='abc') | identity
        results = {
            'conditions': {name: {'mIoU': miou} for name in conditions},
            'mean_mIoU': 50.0,
            'pooled_mIoU': 51.75,
            'classes': {'road': {**dict.fromkeys(conditions, 90.0), 'pooled': 91.5}},
        }
        return save(tmp_path / folder, 'acdc', identity, results)

    return write_run


ERRORS = {
    'clean_error': 18.25,
    'mean_error': 30.5,
    'mCE': 47.75,
    'relative_mCE': 60.5,
    'normalised_by': 'AlexNet',
    'corruptions': {'fog': {'error': 30.5, 'CE': 47.75, 'relative_CE': 60.5, 'extra': False}},
    'cells': {'fog_1': {'error': 30.5}},
}
CLASSIFICATION = {
    'imagenet-c': ERRORS,
    'imagenet-variants': {'cells': {'imagenet-a': {'error': 61.125}}},
    'adversarial': {'cells': {'pgd': {'error': 71.125, 'num_images': 6}}},
    'imagenet-p': {'perturbations': {'tilt': {'flip_probability': 5.125, 'FR': None, 'num_videos': 6}}, 'mFR': None},
}


@pytest.fixture
def write_classification(tmp_path):
    """Writes what a run on a benchmark of classifiers writes."""

    def write_run(folder, benchmark, results=None, **identity):
        identity = dict(num_images=6, corrupted='official', checkpoint_sha256='abc') | identity
        identity |= dict(eps=1 / 255, step_size=0.5 / 255, num_steps=5) if benchmark == 'adversarial' else {}
        return save(tmp_path / folder, benchmark, identity, results or CLASSIFICATION[benchmark])

    return write_run


def save(folder, benchmark, identity, results):
    provenance = {'config': f'{folder.name}.py', **identity}
    folder.mkdir(parents=True)
    (folder / 'results.json').write_text(report_of(benchmark, results, provenance).to_json())
    return str(folder)


def stopped(tool, capsys, *arguments):
    """The one sentence that the tool ends with."""
    with pytest.raises(SystemExit) as error:
        tool.main([*map(str, arguments)])
    assert error.value.code == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    return line


def test_two_runs(tool, write, tmp_path, capsys):
    first, second = write('one'), write('two', draw=1)
    out = tmp_path / 'new' / 'page.html'
    names = ['--names', 'A', 'B & C', '--reference', 'A', '--out', str(out)]
    tool.main([first, f'{second}/results.json', *names])
    assert capsys.readouterr().out == f'{out}\n'
    page = out.read_text()
    results = json.loads(Path(second, 'results.json').read_text())['results']
    assert f'{results["mPC"]:.2f}' in page and f'{results["clean_mIoU"]:.2f}' in page
    assert 'B &amp; C' in page and '&lt;script&gt;' in page and '<script' not in page
    assert 'Mean CD: ' in page and '+ TAP &amp; ADL (published)' in page


def test_names_are_those_of_the_folders(tool, write, tmp_path):
    out = tmp_path / 'page.html'
    tool.main([write('one'), write('two') + '/results.json', '--out', str(out)])
    assert ' one</span>' in out.read_text() and ' two</span>' in out.read_text()


def test_published_only_beside_its_own_severities(tool, write, tmp_path):
    out = tmp_path / 'page.html'
    tool.main([write('one', preset='severity5'), '--out', str(out)])
    assert '(published)' not in out.read_text()


@pytest.mark.parametrize(
    ('change', 'phrase'),
    [
        (dict(seed=3), 'cityscapes-c seed (0 in one, 3 in two)'),
        (dict(num_images=9), 'cityscapes-c num_images (2 in one, 9 in two)'),
        (dict(images_sha256={'clean': 'f' * 64}), 'cityscapes-c images_sha256 (none in one, recorded in two)'),
        (dict(profile='bgr'), 'cityscapes-c profile (rgb in one, bgr in two)'),
        (dict(precision='bfloat16'), 'cityscapes-c precision (float32 in one, bfloat16 in two)'),
        (dict(preset='severity5'), 'cityscapes-c cells (72 in one, 16 in two, 12 in common)'),
    ],
)
def test_different_protocols(tool, write, tmp_path, capsys, change, phrase):
    first, second = write('one'), write('two', **change)
    out = tmp_path / 'page.html'
    assert phrase in stopped(tool, capsys, first, second, '--out', out)
    assert not out.exists()
    tool.main([first, second, '--out', str(out), '--allow-differences'])
    assert f'These runs differ in {phrase}.' in out.read_text()


@pytest.mark.parametrize(
    ('change', 'phrase'),
    [
        (dict(images='b' * 64), 'cityscapes-c images_sha256 of clean (aaaaaaaa in one, bbbbbbbb in two)'),
        (dict(classes=['road', 'lorry']), "cityscapes-c classes (number 1 is 'car' in one, 'lorry' in two)"),
        (dict(classes=['road', 'car', 'sky']), 'cityscapes-c classes (2 in one, 3 in two)'),
    ],
)
def test_other_images_and_other_classes(tool, tmp_path, capsys, change, phrase):
    """Also where all names of images are the same, so that their draws could be paired."""
    for name, of in (('one', {}), ('two', change)):
        images, classes = of.get('images', 'a' * 64), of.get('classes', ['road', 'car'])
        palette = [[index, 0, 0] for index in range(len(classes))]
        run = cityscapes_c(1.0, palette=palette, images_sha256={'clean': images})
        run = dataclasses.replace(run, classes=classes, worst=[])
        (tmp_path / name).mkdir()
        (tmp_path / name / 'results.json').write_text(run.to_json())
    arguments = [tmp_path / 'one', tmp_path / 'two', '--reference', 'one', '--out', tmp_path / 'page.html']
    assert phrase in stopped(tool, capsys, *arguments)
    tool.main([*map(str, arguments), '--allow-differences'])
    page = (tmp_path / 'page.html').read_text()
    assert f'These runs differ in {phrase}.' in page.replace('&#39;', "'")
    assert ('no interval, because the images are not known to be the same' in page) is ('images' in change)


def keys_of(page):
    """Names of the runs on a page."""
    return {text.split('</span>')[0].strip() for text in page.split('</svg>')[1:] if '</span>' in text}


def headings(page):
    """Titles of the parts of a page."""
    return re.findall(r'<h2 id="[\w-]+">(.*?)</h2>', page)


@pytest.mark.parametrize(
    'given',
    [
        ['a', 'b'],
        ['a/cityscapes-c', 'a/acdc', 'b/acdc'],
        ['a/cityscapes-c/results.json', 'a/acdc/results.json', 'b'],
    ],
)
def test_both_benchmarks_come_together_by_name(tool, write, write_acdc, tmp_path, given):
    write('a/cityscapes-c'), write_acdc('a/acdc'), write_acdc('b/acdc')
    out = tmp_path / 'page.html'
    tool.main([*(str(tmp_path / path) for path in given), '--reference', 'a', '--out', str(out)])
    page = out.read_text()
    assert headings(page) == ['Cityscapes-C', 'ACDC val', 'Protocol and provenance']
    assert '51.75' in page and '(published)' in page
    assert keys_of(page) >= {'a', 'b'} and not keys_of(page) & {'acdc', 'cityscapes-c'}


def test_one_benchmark_below_the_folder(tool, write_acdc, tmp_path):
    write_acdc('a/acdc')
    out = tmp_path / 'page.html'
    tool.main([str(tmp_path / 'a'), '--out', str(out)])
    assert 'Cityscapes-C' not in out.read_text() and ' a</span>' in out.read_text()


def test_a_run_from_before_there_was_acdc(tool, write, tmp_path):
    path = Path(write('a'), 'results.json')
    content = json.loads(path.read_text())
    del content['provenance']['protocol']
    path.write_text(json.dumps(content))
    out = tmp_path / 'page.html'
    tool.main([str(path), '--out', str(out)])
    assert headings(out.read_text())[0] == 'Cityscapes-C'


def test_a_name_once_for_each_benchmark(tool, write, write_acdc, tmp_path, capsys):
    paths = [write('one'), write_acdc('two')]
    out = ['--out', str(tmp_path / 'page.html')]
    tool.main([*paths, *out, '--names', 'A', 'A'])
    assert ' A</span>' in (tmp_path / 'page.html').read_text()
    sentence = stopped(tool, capsys, *paths, paths[1], *out, '--names', 'A', 'A', 'A')
    assert "two runs on acdc are called 'A': give them different names" in sentence


@pytest.mark.parametrize(
    ('change', 'phrase'),
    [
        (dict(split='train'), 'acdc split (val in a, train in b)'),
        (dict(num_images=9), 'acdc num_images (6 in a, 9 in b)'),
        (dict(conditions=('all',)), 'acdc conditions (2 in a, 1 in b, 0 in common)'),
        (dict(checkpoint_sha256='other'), 'checkpoint of b (abc on cityscapes-c, other on acdc)'),
    ],
)
def test_different_protocols_of_acdc(tool, write, write_acdc, tmp_path, capsys, change, phrase):
    write('b/cityscapes-c'), write_acdc('a/acdc'), write_acdc('b/acdc', **change)
    arguments = [str(tmp_path / 'a'), str(tmp_path / 'b'), '--out', str(tmp_path / 'page.html')]
    assert phrase in stopped(tool, capsys, *arguments)
    tool.main([*arguments, '--allow-differences'])
    assert f'These runs differ in {phrase}.' in (tmp_path / 'page.html').read_text()


@pytest.mark.parametrize('given', [['a', 'b'], ['a/imagenet-c', 'a/adversarial', 'a/imagenet-p/results.json', 'b']])
def test_classification_comes_together_by_name(tool, write_classification, tmp_path, given):
    for benchmark in CLASSIFICATION:
        write_classification(f'b/{benchmark}', benchmark)
    for benchmark in ('imagenet-c', 'adversarial', 'imagenet-p'):
        write_classification(f'a/{benchmark}', benchmark)
    out = tmp_path / 'page.html'
    tool.main([*(str(tmp_path / path) for path in given), '--reference', 'a', '--out', str(out)])
    page = out.read_text()
    assert headings(page) == ['ImageNet-C', 'ImageNet variants', 'Attacks', 'ImageNet-P', 'Protocol and provenance']
    assert '<h1>Classification robustness</h1>' in page and 'against a: ' in page
    assert all(value in page for value in ('18.25', '61.12', '71.12', '5.12'))
    assert keys_of(page) >= {'a', 'b'} and not keys_of(page) & set(CLASSIFICATION)


def test_one_benchmark_of_classification(tool, write_classification, tmp_path):
    out = tmp_path / 'page.html'
    tool.main([write_classification('a/imagenet-p', 'imagenet-p'), '--out', str(out), '--title', 'Steady?'])
    page = out.read_text()
    assert '<h1>Steady?</h1>' in page and 'ImageNet-C' not in page and ' a</span>' in page


def test_table_3_only_beside_all_its_cells(tool, write_classification, tmp_path):
    out = tmp_path / 'page.html'
    tool.main([write_classification('a', 'imagenet-c'), '--out', str(out)])
    assert '(published)' not in out.read_text()
    whole = ERRORS | {'cells': {cell.key: {'error': 30.5} for cell in select_cells('michaelis')}}
    tool.main([write_classification('b', 'imagenet-c', whole), '--out', str(out)])
    assert '+ TAP &amp; ADL (published)' in out.read_text()


def test_segmentation_and_classification_are_two_pages(tool, write, write_classification, tmp_path, capsys):
    paths = [write('a/cityscapes-c'), write_classification('a/imagenet-c', 'imagenet-c')]
    for given in (paths, [tmp_path / 'a']):
        sentence = stopped(tool, capsys, *given, '--out', tmp_path / 'page.html')
        assert 'of segmentation or of classification, not of both, got segmentation on cityscapes-c and ' in sentence
    assert not (tmp_path / 'page.html').exists()


@pytest.mark.parametrize(
    ('change', 'phrase'),
    [
        (dict(num_images=9), 'imagenet-c num_images (6 in a, 9 in b)'),
        (dict(corrupted='on the fly'), 'imagenet-c corrupted (official in a, on the fly in b)'),
        (dict(checkpoint_sha256='other'), 'checkpoint of b (other on imagenet-c, abc on adversarial)'),
    ],
)
def test_different_protocols_of_classification(tool, write_classification, tmp_path, capsys, change, phrase):
    write_classification('a/imagenet-c', 'imagenet-c'), write_classification('b/adversarial', 'adversarial')
    write_classification('b/imagenet-c', 'imagenet-c', **change)
    arguments = [str(tmp_path / 'a'), str(tmp_path / 'b'), '--out', str(tmp_path / 'page.html')]
    assert phrase in stopped(tool, capsys, *arguments)
    tool.main([*arguments, '--allow-differences'])
    assert f'These runs differ in {phrase}.' in (tmp_path / 'page.html').read_text()


def test_worst_images_are_read_by_their_place(tool, write, tmp_path, capsys):
    path = Path(write('one'), 'results.json')
    evil = "../'<script>"
    cases = [{'image': evil, 'cell': evil, 'mIoU': 3.25}, {'image': 'later.png', 'cell': 'fog_5', 'mIoU': 4.0}]
    path.write_text(json.dumps(json.loads(path.read_text()) | {'worst': cases}))
    (path.parent / 'worst').mkdir()
    (path.parent / 'worst' / '0_clean.jpg').write_bytes(JPEG)
    (path.parent / 'worst' / '0_truth.png').write_bytes(PNG)
    out = tmp_path / 'page.html'
    tool.main([str(path), '--out', str(out)])
    page = out.read_text()
    assert page.count('<img ') == 2 and 'data:image/jpeg' in page and '<script' not in page
    assert 'later.png' in page  # listed without images
    (path.parent / 'worst' / '1_prediction.png').write_text('no image')
    assert '1_prediction.png must be a JPEG or PNG file' in stopped(tool, capsys, path, '--out', out)


def test_bad_input_is_one_sentence(tool, write, tmp_path, capsys):
    good = write('one')
    for name, content in (('worst', json.loads(Path(good, 'results.json').read_text()) | {'worst': 'all'}),):
        (tmp_path / f'{name}.json').write_text(json.dumps(content))
    (tmp_path / 'broken.json').write_text('{"results"')
    (tmp_path / 'list.json').write_text('[]')
    (tmp_path / 'other.json').write_text('{"results": {"mPC": 1}}')
    (tmp_path / 'empty').mkdir()
    for arguments, sentence in (
        ([tmp_path / 'absent'], 'There are no results'),
        ([tmp_path / 'empty'], 'a run writes them when all its cells are finished'),
        ([tmp_path / 'broken.json'], 'broken.json is not the results.json'),
        ([tmp_path / 'list.json'], 'list.json is not the results.json'),
        ([tmp_path / 'other.json'], 'its schema must be 2, got None; run it again with this version'),
        ([tmp_path / 'worst.json'], "worst must be a list of cases with image, cell and mIoU, got 'all'"),
        ([good, good], "two runs on cityscapes-c are called 'one': give them different names"),
        ([good, '--names', 'A', 'B'], '--names takes 1 names, one for each path, got A, B'),
        ([good, '--reference', 'B'], "the reference must be one of one, got 'B'"),
        ([good, '--out', tmp_path / 'broken.json' / 'page.html'], 'broken.json'),
    ):
        out = [] if '--out' in arguments else ['--out', tmp_path / 'page.html']
        assert sentence in stopped(tool, capsys, *arguments, *out)


@pytest.mark.parametrize(
    ('path', 'value', 'sentence'),
    [
        (('results', 'corruptions'), [1], 'results / corruptions must hold values by name, got'),
        (('results', 'cells'), None, 'results / cells must hold values by name, got'),
        (('results',), 'cells', 'results must hold values by name, got'),
        (('provenance',), None, 'provenance must hold values by name, got'),
    ],
)
def test_a_section_that_is_none(tool, write_classification, tmp_path, capsys, path, value, sentence):
    file = Path(write_classification('a', 'imagenet-c'), 'results.json')
    content = json.loads(file.read_text())
    *outer, last = path
    holder = content
    for name in outer:
        holder = holder[name]
    holder[last] = value
    file.write_text(json.dumps(content))
    assert sentence in stopped(tool, capsys, file, '--out', tmp_path / 'page.html')


@pytest.mark.parametrize('change', ['bytes', 'cells', 'worst'])
def test_a_file_that_is_too_large_is_refused_at_once(tool, write, tmp_path, capsys, change):
    file = Path(write('a'), 'results.json')
    content, sentence = json.loads(file.read_text()), 'must have 10,000 entries at most, got 10,001'
    if change == 'bytes':
        content['provenance']['note'], sentence = ' ' * 2**24, 'results.json is larger than 16 MiB, which no file'
    elif change == 'cells':
        content['results']['cells'] = {f'a{index}': {'mIoU': 1.0} for index in range(10_001)}
    else:
        content['worst'] = [{'image': 'a.png', 'cell': 'fog_1', 'mIoU': 1.0}] * 10_001
    file.write_text(json.dumps(content))
    assert sentence in stopped(tool, capsys, file, '--out', tmp_path / 'page.html')


@pytest.mark.parametrize('value', [10**400, 1e308, -1e308, 'many', [1], True, {}])
def test_numbers_that_are_none_become_dashes(tool, write, tmp_path, value):
    """Also an interval that is no list of two."""
    file = Path(write('a'), 'results.json')
    content = json.loads(file.read_text())
    results = content['results']
    results['mPC'] = results['clean_mIoU_interval'] = results['corruptions']['fog'] = value
    results['cells']['fog_1'] = {'mIoU': value, 'mIoU_interval': value}
    results['bootstrap'] = {'images_sha256': 'a', 'mPC': value}
    file.write_text(json.dumps(content))
    tool.main([str(file), '--out', str(tmp_path / 'page.html')])
    assert '&#8211;' in (tmp_path / 'page.html').read_text()


def _both(write, write_acdc, number):
    """Results of some models on Cityscapes-C and ACDC, on which the third and fourth change places."""
    places = [0, 1, 3, 2, 4][:number]
    for index, place in enumerate(places):
        write(f'm{index}/cityscapes-c', draw=index, checkpoint_sha256=str(index))
        write_acdc(f'm{index}/acdc', miou=40.0 + place, checkpoint_sha256=str(index))


def test_synthetic_against_real(tool, write, write_acdc, tmp_path):
    """Rank correlations as SciPy gives them for the numbers in the files."""
    _both(write, write_acdc, 5)
    out = tmp_path / 'page.html'
    tool.main([*(str(tmp_path / f'm{index}') for index in range(5)), '--out', str(out), '--allow-differences'])
    page = out.read_text()
    drawn = [json.loads((tmp_path / f'm{i}/cityscapes-c/results.json').read_text())['results'] for i in range(5)]
    real = [40, 41, 43, 42, 44]
    rows = {'mPC': [of['mPC'] for of in drawn], 'fog': [of['corruptions']['fog'] for of in drawn]}
    rows['fog_3'] = [of['cells']['fog_3']['mIoU'] for of in drawn]
    section = page[page.index('id="correlations"') :]
    for measure, name in ((spearmanr, 'Spearman'), (kendalltau, 'Kendall')):
        for row, numbers in rows.items():
            by = 'corruption and severity' if row == 'fog_3' else 'corruption'
            part = section[re.search(rf'{name}[^<]*, by {by}<', section).start() :]
            found = re.search(rf'<th scope="row">{row}</th><td>([-+]?[\d.]+)', part)
            assert float(found[1]) == pytest.approx(measure(numbers, real).statistic, abs=0.005)
    assert 'Of 5 models with results on both Cityscapes-C and ACDC: m0, m1, m2, m3, m4.' in page


@pytest.mark.parametrize(
    ('number', 'said'), [(1, None), (3, 'Too few models for a rank correlation: 3, and it takes 4')]
)
def test_too_few_models_for_a_correlation(tool, write, write_acdc, tmp_path, number, said):
    _both(write, write_acdc, number)
    out = tmp_path / 'page.html'
    tool.main([*(str(tmp_path / f'm{index}') for index in range(number)), '--out', str(out)])
    page = out.read_text()
    assert (said in page) if said else 'Synthetic against real' not in page
    assert 'Spearman' not in page

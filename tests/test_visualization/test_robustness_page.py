import copy
import math
import re
import shutil
import subprocess
from html.parser import HTMLParser

import pytest

from mmrobust.visualization.robustness_page import robustness_page

VOID = {'meta', 'br'}
MODEL = {'corruptions': {'fog': 78.4, 'gaussian_noise': 55.9}, 'average': 67.3}


def run(shift=0.0, **provenance):
    """A results.json of two corruptions at two severities."""
    cells = {'fog_1': 70.0, 'fog_2': 60.0, 'gaussian_noise_1': 50.0, 'gaussian_noise_2': 30.0}
    return {
        'provenance': {
            'config': 'configs/a.py',
            'checkpoint_sha256': 'abc' * 20,
            'protocol': {'preset': 'kamann', 'cells': list(cells)},
            'num_images': 4,
            'seed': 7,
            'profile': 'rgb',
            'versions': {'torch': '2.3.1'},
            **provenance,
        },
        'results': {
            'clean_mIoU': 81.234,
            'clean_mIoU_interval': [80.1, 82.3],
            'mPC': 52.5 + shift,
            'retention': 64.63,
            'groups': {'weather': 65.0 + shift, 'noise': 40.0 + shift},
            'corruptions': {'fog': 65.0 + shift, 'gaussian_noise': 40.0 + shift},
            'severities': {'1': 60.0 + shift, '2': 45.0 + shift},
            'cells': {
                name: {'mIoU': value + shift, 'mIoU_interval': [value - 1, value + 1]} for name, value in cells.items()
            },
            'classes': {'road': {'clean': 98.76, 'corrupted': 91.11}, 'train': {'clean': None, 'corrupted': None}},
        },
    }


class Page(HTMLParser):
    """Fails on a tag that is not closed where it should be; gathers tags, text, and the rows of tables."""

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.text, self.rows = [], [], [], []
        self.feed(text)
        self.close()
        assert not self.open, f'never closed: {self.open}'

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)
        if tag == 'tr':
            self.rows.append([])
        elif tag in ('td', 'th'):
            self.rows[-1].append('')

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)
        if 'td' in self.open or 'th' in self.open:
            self.rows[-1][-1] += data

    def row(self, first):
        """All rows of this heading, without it."""
        return [row[1:] for row in self.rows if row and row[0].strip() == first]


def test_one_run():
    page = Page(robustness_page({'ours': run()}))
    assert page.row('ours')[0] == ['81.2380.10 to 82.30', '52.50', '64.63']
    assert page.row('weather') == [['65.00']]
    assert page.row('fog') == [['65.00', ''], ['70.0', '60.0', '65.00']]
    assert page.row('2') == [['2', '45.00']]
    assert page.row('road') == [['98.76', '91.11']]
    assert page.row('seed') == [['7']] and page.row('versions / torch') == [['2.3.1']]
    assert page.row('checkpoint_sha256') == [['abc' * 20]]
    assert page.row('protocol / cells') == [['4fog_1, fog_2, gaussian_noise_1, gaussian_noise_2']]


def test_reference():
    page = Page(robustness_page({'A': run(), 'B': run(10.0), 'C': run(-5.0)}, reference='A'))
    fog, noise = 100 * (20 + 30) / (30 + 40), 100 * (40 + 60) / (50 + 70)
    assert page.row('B')[0] == ['81.2380.10 to 82.30', '62.50', '64.63', '+10.00', f'{(fog + noise) / 2:.2f}']
    assert page.row('A')[0][-2:] == ['\N{EN DASH}', '100.00']
    assert page.row('fog')[0] == ['65.00', '75.00', '60.00', f'{fog:.2f}', f'{100 * 80 / 70:.2f}', '']
    assert ['+10.0', '+10.0'] in page.row('fog') and ['-5.0', '-5.0'] in page.row('fog')


def test_without_reference_nothing_is_compared():
    text = robustness_page({'A': run(), 'B': run(10.0)})
    assert 'CD' not in text and 'Difference' not in text


def test_other_cells_have_no_degradation_and_a_warning():
    other = run()
    del other['results']['cells']['fog_2']
    page = Page(robustness_page({'A': run(), 'B': other}, reference='A'))
    assert page.row('B')[0][-2:] == ['\N{EN DASH}'] * 2
    assert page.row('fog')[-1] == ['70.0', '\N{EN DASH}', '65.00']
    assert 'These runs differ in cells (4 in A, 3 in B, 3 in common).' in page.text
    assert any('not comparable' in text for text in Page(robustness_page({'B': other})).text)


def test_what_is_missing_is_a_dash():
    poor = run()
    poor['results']['clean_mIoU_interval'] = [math.nan, 80.0]
    poor['results']['cells']['fog_1'] = {'mIoU': math.nan}
    del poor['results']['groups'], poor['results']['classes'], poor['provenance']
    page = Page(robustness_page({'A': run(), 'B': poor}, reference='A'))
    assert page.row('B')[0][0] == '81.23\N{EN DASH}'
    assert page.row('weather') == [['65.00', '\N{EN DASH}']]
    assert page.row('road') == [['98.76', '\N{EN DASH}', '91.11', '\N{EN DASH}']]
    assert page.row('train') == [['\N{EN DASH}'] * 4]
    assert page.row('config') == [['configs/a.py', '\N{EN DASH}']]
    assert 'nan' not in page.text


def test_published_is_labelled_and_only_for_its_corruptions():
    page = Page(robustness_page({'A': run()}, {'FAN': MODEL}))
    assert page.row('fog')[-1] == ['65.00', '78.4'] and page.row('mean') == [['52.50', '67.3']]
    assert 'Published, not measured here' in page.text
    assert ['corruption', ' A (measured)', 'FAN (published)'] in page.rows
    other = copy.deepcopy(MODEL)
    other['corruptions']['snow'] = 1.0
    assert '67.3' not in robustness_page({'A': run()}, {'FAN': other})


def test_every_text_of_the_data_is_escaped():
    evil = "<script>alert(\"'&x')</script>"
    bad = run(config=evil, **{evil: [evil]})
    results = bad['results']
    for section, found in (('classes', 'road'), ('groups', 'noise'), ('corruptions', 'fog')):
        results[section][evil] = results[section][found]
    results['cells'][f'{evil}_1'] = results['cells']['fog_1']
    published = {evil: {'corruptions': dict.fromkeys(results['corruptions'], 1.0), 'average': 1.0}}
    text = robustness_page({evil: bad, 'B': run()}, published, reference=evil, title=evil)
    page = Page(text)
    assert '<script' not in text and 'script' not in {tag for tag, _ in page.tags}
    assert not [name for _, attrs in page.tags for name in attrs if name.startswith('on') or name.startswith('alert')]
    assert len(page.row(evil)) >= 4


@pytest.mark.parametrize('count', [1, 2, 8])
def test_nothing_outside_is_needed(count):
    text = robustness_page({f'run {index}': run(index) for index in range(count)}, {'FAN': MODEL}, 'run 0')
    assert text.startswith('<!DOCTYPE html>\n') and text.isascii()
    assert not re.search(r'https?://|src=|href=|url\(|@import|<script', text)
    assert sum(tag == 'figure' for tag, _ in Page(text).tags) == 2


def test_names_that_utf8_cannot_hold():
    text = robustness_page({'Stra\xdfe \udcff': run()})
    assert text.isascii() and 'Stra&#223;e' in text


def test_reference_without_errors():
    perfect = run()
    for cell in perfect['results']['cells'].values():
        cell['mIoU'] = 100.0
    assert Page(robustness_page({'A': perfect, 'B': run()}, reference='A')).row('B')[0][-1] == '\N{EN DASH}'


@pytest.mark.parametrize(
    ('runs', 'reference', 'message'),
    [({}, None, 'one run at least'), ({'A': run()}, 'B', "one of A, got 'B'")],
)
def test_bad_arguments(runs, reference, message):
    with pytest.raises(ValueError, match=message):
        robustness_page(runs, reference=reference)


@pytest.mark.skipif(shutil.which('chromium') is None, reason='needs chromium')
def test_in_a_browser(tmp_path):
    page = tmp_path / 'page.html'
    page.write_text(robustness_page({'ours': run(), 'B <b>': run(3.0)}, {'FAN': MODEL}, 'ours'))
    options = ['--headless', '--no-sandbox', '--disable-gpu', '--no-first-run', '--disable-background-networking']
    command = ['chromium', *options, f'--user-data-dir={tmp_path / "profile"}', '--dump-dom', page.as_uri()]
    result = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    shown = Page(result.stdout)
    assert shown.row('ours')[0][:2] == ['81.2380.10 to 82.30', '52.50']
    assert shown.row('B <b>')[0][1] == '55.50'

import base64
import copy
import math
import re
import shutil
import subprocess
from html.parser import HTMLParser

import cv2
import numpy as np
import pytest

from mmrobust.visualization.robustness_page import robustness_page

VOID = {'meta', 'br', 'img'}
DASH = '\N{EN DASH}'
JPEG, PNG = b'\xff\xd8\xff\xe0 and so on', b'\x89PNG\r\n\x1a\n and so on'
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
            'mPC_interval': [50.0, 55.0],
            'retention': 64.63,
            'retention_interval': [60.0, 70.0],
            'groups': {'weather': 65.0 + shift, 'noise': 40.0 + shift},
            'corruptions': {'fog': 65.0 + shift, 'gaussian_noise': 40.0 + shift},
            'severities': {'1': 60.0 + shift, '2': 45.0 + shift},
            'cells': {
                name: {'mIoU': value + shift, 'mIoU_interval': [value - 1, value + 1]} for name, value in cells.items()
            },
            'classes': {'road': {'clean': 98.76, 'corrupted': 91.11}, 'train': {'clean': None, 'corrupted': None}},
            'bootstrap': {'images_sha256': 'e' * 64, 'mPC': [50.0 + shift + draw / 10 for draw in range(51)]},
        },
    }


def acdc_run(shift=0.0, conditions=('fog', 'night'), **provenance):
    """A results.json of ACDC with two classes, one of them not in the first condition."""
    return {
        'provenance': {
            'protocol': {'benchmark': 'acdc'},
            'checkpoint_sha256': 'abc' * 20,
            'split': 'val',
            'num_images': 6,
            **provenance,
        },
        'results': {
            'conditions': {
                name: {'mIoU': 70.5 - 40 * index + shift, 'mIoU_interval': [20.0, 75.0]}
                for index, name in enumerate(conditions)
            },
            'mean_mIoU': 50.5 + shift,
            'pooled_mIoU': 51.25 + shift,
            'pooled_mIoU_interval': [49.0, 53.5],
            'classes': {
                'road': {**dict.fromkeys(conditions, 90.1 + shift), 'pooled': 88.4 + shift},
                'train': {**dict.fromkeys(conditions, 30.0 + shift), conditions[0]: None, 'pooled': 29.9 + shift},
            },
            'bootstrap': {'images_sha256': 'f' * 64, 'pooled_mIoU': [50.0 + shift, 52.0 + shift]},
        },
    }


def worst(**panels):
    return {'picture': 'leftImg8bit/val/a/b.png', 'cell': 'fog_5', 'mIoU': 3.214, 'panels': panels}


class Page(HTMLParser):
    """Fails on a tag that is not closed where it should be; gathers tags, text, and the rows of tables."""

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.text, self.inside, self.rows = [], [], [], [], []
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
        self.inside.append(self.open[-1] if self.open else None)
        if 'td' in self.open or 'th' in self.open:
            self.rows[-1][-1] += data

    def headings(self):
        """Texts of the parts of the page, without those inside them."""
        return [text for text, tag in zip(self.text, self.inside, strict=True) if tag == 'h2']

    def row(self, first):
        """All rows of this heading, without it."""
        return [row[1:] for row in self.rows if row and row[0].strip() == first]


def test_one_run():
    page = Page(robustness_page({'ours': run()}))
    assert page.row('ours')[0] == ['81.2380.10 to 82.30', '52.5050.00 to 55.00', '64.6360.00 to 70.00']
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
    change = '+10.00+10.00 to +10.00'
    assert page.row('B')[0][1:] == ['62.5050.00 to 55.00', '64.6360.00 to 70.00', change, f'{(fog + noise) / 2:.2f}']
    assert page.row('A')[0][-2:] == [DASH, '100.00']
    assert page.row('fog')[0] == ['65.00', '75.00', '60.00', f'{fog:.2f}', f'{100 * 80 / 70:.2f}', '']
    assert ['+10.0', '+10.0'] in page.row('fog') and ['-5.0', '-5.0'] in page.row('fog')


def test_interval_of_the_change_is_of_paired_draws():
    ours, base = run(1.0), run()
    base['results']['bootstrap']['mPC'] = [50.0 + draw / 10 for draw in range(51)][::-1]
    row = Page(robustness_page({'A': base, 'B': ours}, reference='A')).row('B')[0]
    assert row[3] == '+1.00-3.75 to +5.75'  # of 1 - 5, 1 - 4.8, ... 1 + 5; draws of their own would give less


@pytest.mark.parametrize(
    'bootstrap',
    [
        None,
        {},
        {'images_sha256': 'other', 'mPC': [50.0] * 51},
        {'images_sha256': 'e' * 64, 'mPC': [50.0] * 50},
        {'images_sha256': 'e' * 64, 'mPC': [math.nan] * 51},
        {'images_sha256': 'e' * 64},
    ],
)
def test_no_interval_of_the_change_without_paired_draws(bootstrap):
    other = run(1.0)
    other['results']['bootstrap'] = bootstrap
    assert Page(robustness_page({'A': run(), 'B': other}, reference='A')).row('B')[0][3] == '+1.00' + DASH


def test_acdc_alone():
    page = Page(robustness_page({}, acdc={'ours': acdc_run()}))
    assert page.row('ours')[0] == ['50.50', '51.2549.00 to 53.50']
    assert page.row('fog') == [['70.5020.00 to 75.00', '']] and page.row('night') == [['30.5020.00 to 75.00', '']]
    assert page.row('mean') == [['50.50', '']] and page.row('pooled') == [['51.2549.00 to 53.50', '']]
    assert page.row('road') == [['90.1', '90.1', '88.4']] and page.row('train') == [[DASH, '30.0', '29.9']]
    assert page.row('split') == [['val']]
    assert page.headings() == ['Headline', 'ACDC', 'Protocol and provenance']
    assert any('The two differ' in text for text in page.text)


def test_acdc_against_a_reference():
    runs = {'A': acdc_run(), 'B': acdc_run(-4.0), 'C': acdc_run(conditions=('all',))}
    page = Page(robustness_page(None, acdc=runs, reference='A'))
    assert page.row('B')[0][-1] == '-4.00-4.00 to -4.00'
    assert page.row('C')[0][-1] == page.row('A')[0][-1] == DASH
    assert page.row('mIoU') == [['-4.0', '-4.0', DASH, '-4.0']] and ['-4.0', '-4.0', DASH, '-4.0'] in page.row('road')
    assert 'These runs differ in ACDC conditions (2 in A, 2 in B, 1 in C, 0 in common).' in page.text


def test_acdc_in_one_folder():
    page = Page(robustness_page({}, acdc={'ours': acdc_run(conditions=('all',))}))
    assert page.row('all') == [['70.5020.00 to 75.00', '']]
    assert any('not told apart by condition' in text for text in page.text)


def test_what_is_missing_of_acdc_is_a_dash():
    poor = {'results': {'conditions': {'fog': {}}}}
    page = Page(robustness_page({}, acdc={'A': acdc_run(), 'B': poor}, reference='A'))
    assert page.row('B')[0] == [DASH, DASH * 2, DASH]
    assert page.row('night') == [['30.5020.00 to 75.00', DASH * 2, '']]
    assert page.row('road') == [['90.1', '90.1', '88.4'], [DASH] * 3]


def test_both_benchmarks_on_one_page():
    text = robustness_page({'A': run(), 'B': run()}, acdc={'C': acdc_run(), 'B': acdc_run()}, reference='A')
    page = Page(text)
    assert page.headings() == ['Headline', 'Cityscapes-C', 'ACDC', 'Protocol and provenance']
    assert len(page.row('B')) == 2 and len(page.row('B')[1]) == 2  # the reference has no results of ACDC
    keys = {name: set(re.findall(rf'<svg[^>]*>((?:(?!</svg>).)*)</svg> {name}</span>', text)) for name in 'ABC'}
    assert all(len(marks) == 1 for marks in keys.values()) and len(set.union(*keys.values())) == 3
    bars = re.findall(r'class="bar" style="width:70.5%;background:(#\w+)"', text)
    assert bars == ['#009e73', '#d55e00']  # C has the third place of the page, B the second


def test_one_name_of_two_checkpoints_is_a_warning():
    page = Page(robustness_page({'A': run()}, acdc={'A': acdc_run(checkpoint_sha256='123456789')}))
    assert 'These runs differ in checkpoint of A (abcabcab on Cityscapes-C, 12345678 on ACDC).' in page.text


@pytest.mark.parametrize(
    ('change', 'phrase'), [(dict(split='train'), 'split (val in A, train in B)'), (dict(num_images=2), 'num_images')]
)
def test_acdc_protocols(change, phrase):
    text = robustness_page({}, acdc={'A': acdc_run(), 'B': acdc_run(**change)})
    assert f'These runs differ in ACDC {phrase}' in text


def test_worst_pictures():
    ours, other = run(), acdc_run()
    ours['worst'] = [
        worst(clean=JPEG, corrupted=JPEG, **{'ground truth': PNG}, prediction=PNG),
        {'picture': 'c.png', 'cell': 'snow_5', 'mIoU': None},
    ]
    other['worst'] = [worst(picture=JPEG)]
    palette = {'road': (128, 64, 128), 'car': (0, 0, 142)}
    page = Page(robustness_page({'ours': ours}, acdc={'ours': other}, palette=palette))
    images = [attrs for tag, attrs in page.tags if tag == 'img']
    data = [(found['src'].partition(';')[0], base64.b64decode(found['src'].partition(',')[2])) for found in images]
    jpeg, png = ('data:image/jpeg', JPEG), ('data:image/png', PNG)
    assert data == [jpeg, jpeg, png, png, jpeg]
    assert all(found['loading'] == 'lazy' for found in images)
    assert images[2]['alt'] == 'ground truth: leftImg8bit/val/a/b.png, fog_5'
    shown = ''.join(page.text)
    assert 'fog_5, mIoU 3.21: leftImg8bit/val/a/b.png' in shown and f'snow_5, mIoU {DASH}: c.png' in shown
    swatches = [attrs['style'] for _, attrs in page.tags if attrs.get('class') == 'swatch']
    assert swatches == ['background:rgb(128,64,128)', 'background:rgb(0,0,142)']
    assert page.headings()[-2:] == ['Worst pictures', 'Protocol and provenance']


def test_no_legend_of_colours_without_pictures():
    ours = run()
    ours['worst'] = [worst()]
    page = Page(robustness_page({'ours': ours}, palette={'road': (1, 2, 3)}))
    assert 'swatch' not in [attrs.get('class') for _, attrs in page.tags]


@pytest.mark.parametrize('content', [b'', b'GIF89a', b'<svg onload="alert(1)">', 'text'])
def test_a_panel_that_is_no_picture(content):
    ours = run()
    ours['worst'] = [worst(clean=content)]
    with pytest.raises(ValueError, match=r'clean: leftImg8bit/val/a/b.png, fog_5 must be a JPEG or PNG file, got one'):
        robustness_page({'ours': ours})


@pytest.mark.parametrize('color', [(1, 2), (0, 0, 256), (-1, 0, 0)])
def test_a_colour_that_is_none(color):
    ours = run()
    ours['worst'] = [worst(clean=JPEG)]
    with pytest.raises(ValueError, match='the colour of road must be three numbers from 0 to 255, got'):
        robustness_page({'ours': ours}, palette={'road': color})


def test_without_reference_nothing_is_compared():
    text = robustness_page({'A': run(), 'B': run(10.0)})
    assert 'CD' not in text and 'Difference' not in text


def test_other_cells_have_no_degradation_and_a_warning():
    other = run()
    del other['results']['cells']['fog_2']
    page = Page(robustness_page({'A': run(), 'B': other}, reference='A'))
    assert page.row('B')[0][-2:] == [DASH] * 2
    assert page.row('fog')[-1] == ['70.0', DASH, '65.00']
    assert 'These runs differ in cells (4 in A, 3 in B, 3 in common).' in page.text
    assert any('not comparable' in text for text in Page(robustness_page({'B': other})).text)


def test_what_is_missing_is_a_dash():
    poor = run()
    poor['results']['clean_mIoU_interval'] = [math.nan, 80.0]
    poor['results']['cells']['fog_1'] = {'mIoU': math.nan}
    del poor['results']['groups'], poor['results']['classes'], poor['provenance']
    page = Page(robustness_page({'A': run(), 'B': poor}, reference='A'))
    assert page.row('B')[0][0] == '81.23' + DASH
    assert page.row('weather') == [['65.00', DASH]]
    assert page.row('road') == [['98.76', DASH, '91.11', DASH]]
    assert page.row('train') == [[DASH] * 4]
    assert page.row('config') == [['configs/a.py', DASH]]
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
    bad['worst'] = [
        {'picture': evil, 'cell': evil, 'mIoU': evil, 'panels': {evil: PNG}},
        {'picture': evil, 'cell': evil},
    ]
    rough = acdc_run(conditions=('fog', evil), **{evil: evil})
    rough['results']['classes'][evil] = rough['results']['classes']['road']
    adverse = {evil: rough, 'B': acdc_run(conditions=('fog', evil))}
    runs, palette = {evil: bad, 'B': run()}, {evil: (1, 2, 3)}
    text = robustness_page(runs, published, reference=evil, title=evil, acdc=adverse, palette=palette)
    page = Page(text)
    assert '<script' not in text and 'script' not in {tag for tag, _ in page.tags}
    assert not [name for _, attrs in page.tags for name in attrs if name.startswith('on') or name.startswith('alert')]
    assert len(page.row(evil)) >= 10
    assert evil in [attrs['alt'][: len(evil)] for tag, attrs in page.tags if tag == 'img']


@pytest.mark.parametrize('count', [1, 2, 8])
def test_nothing_outside_is_needed(count):
    runs = {f'run {index}': run(index) | {'worst': [worst(clean=JPEG)]} for index in range(count)}
    text = robustness_page(runs, {'FAN': MODEL}, 'run 0', acdc={name: acdc_run() for name in runs})
    assert text.startswith('<!DOCTYPE html>\n') and text.isascii()
    assert not re.search(r'https?://|src="(?!data:image/)|href=|url\(|@import|<script', text)
    assert sum(tag == 'figure' for tag, _ in Page(text).tags) == 2 + 2 * count


def test_names_that_utf8_cannot_hold():
    text = robustness_page({'Stra\xdfe \udcff': run()})
    assert text.isascii() and 'Stra&#223;e' in text


def test_reference_without_errors():
    perfect = run()
    for cell in perfect['results']['cells'].values():
        cell['mIoU'] = 100.0
    assert Page(robustness_page({'A': perfect, 'B': run()}, reference='A')).row('B')[0][-1] == DASH


@pytest.mark.parametrize(
    ('runs', 'reference', 'message'),
    [({}, None, 'one run at least'), (None, None, 'one run at least'), ({'A': run()}, 'B', "one of A, got 'B'")],
)
def test_bad_arguments(runs, reference, message):
    with pytest.raises(ValueError, match=message):
        robustness_page(runs, reference=reference)


@pytest.mark.skipif(shutil.which('chromium') is None, reason='needs chromium')
def test_in_a_browser(tmp_path):
    picture = np.full((16, 32, 3), 200, np.uint8)
    panels = {end: cv2.imencode(f'.{end}', picture)[1].tobytes() for end in ('jpg', 'png')}
    runs = {'ours': run() | {'worst': [worst(**panels)]}, 'B <b>': run(3.0)}
    page = tmp_path / 'page.html'
    page.write_text(robustness_page(runs, {'FAN': MODEL}, 'ours', acdc={'B <b>': acdc_run(), 'C': acdc_run()}))
    # a script of the test's own, to read back what the browser made of the pictures
    script = "document.title=[...document.images].map(i=>(i.loading='eager')+i.complete+i.naturalWidth).join()"
    page.write_text(page.read_text() + f'<script>addEventListener("load",()=>{{{script}}})</script>')
    options = ['--headless', '--no-sandbox', '--disable-gpu', '--no-first-run', '--disable-background-networking']
    options += ['--window-size=1000,20000', f'--user-data-dir={tmp_path / "profile"}']
    command = ['chromium', *options, '--dump-dom', page.as_uri()]
    result = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    shown = Page(result.stdout)
    assert shown.row('ours')[0][:2] == ['81.2380.10 to 82.30', '52.5050.00 to 55.00']
    assert shown.row('B <b>')[0][1] == '55.5050.00 to 55.00' and shown.row('B <b>')[1][0] == '50.50'
    assert 'eagertrue32,eagertrue32' in shown.text

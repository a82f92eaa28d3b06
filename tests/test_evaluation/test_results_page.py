"""The page of results: every number where it belongs, nothing that is markup but its own, and the answer first."""

import base64
import copy
import dataclasses
import math
import re
import shutil
import subprocess
from html.parser import HTMLParser

import cv2
import numpy as np
import pytest

from mmrobust.corruptions import GROUPS
from mmrobust.evaluation.page_charts import difference, dots, heat, heat_scale, style_of
from mmrobust.evaluation.report import Number
from mmrobust.evaluation.results_page import to_html
from tests.reports import report_of

VOID = {'meta', 'br', 'img'}
DASH = '\N{EN DASH}'
JPEG, PNG = b'\xff\xd8\xff\xe0 and so on', b'\x89PNG\r\n\x1a\n and so on'
ALL = [name for names in GROUPS.values() for name in names]
EVIL = "<script>alert(\"'&x')</script>"


def report(benchmark, results, worst=None, palette=(), **provenance):
    provenance = {'checkpoint_sha256': 'abc' * 20, **provenance}
    return report_of(benchmark, results, provenance, classes=['road', 'car'], palette=palette, worst=worst)


def cityscapes_c(shift=0.0, levels=(1, 2), change=lambda results: None, **more):
    """Two corruptions."""
    cells = {'fog_1': 70.0, 'fog_2': 60.0, 'gaussian_noise_1': 50.0, 'gaussian_noise_2': 30.0}
    cells = {name: value for name, value in cells.items() if int(name[-1]) in levels}
    of = {name: np.mean([cells[f'{name}_{level}'] for level in levels]) + shift for name in ('fog', 'gaussian_noise')}
    results = {
        'clean_mIoU': 81.234,
        'clean_mIoU_interval': [80.1, 82.3],
        'mPC': 52.5 + shift,
        'mPC_interval': [50.0, 55.0],
        'retention': 64.63,
        'retention_interval': [60.0, 70.0],
        'groups': {'weather': 65.0 + shift, 'noise': 40.0 + shift},
        'ungrouped': [],
        'corruptions': of,
        'severities': {str(level): 60.0 - 15 * level + shift for level in levels},
        'cells': {
            name: {'mIoU': value + shift, 'mIoU_interval': [value - 1, value + 1]} for name, value in cells.items()
        },
        'classes': {'road': {'clean': 98.76, 'corrupted': 91.11}, 'train': {'clean': None, 'corrupted': None}},
        'bootstrap': {
            'images_sha256': 'e' * 64,
            'mPC': [50.0 + shift + draw / 10 for draw in range(51)],
            'corruptions': {name: [value + draw / 10 for draw in range(51)] for name, value in of.items()},
        },
    }
    found = report('cityscapes-c', results, **dict(num_images=4, seed=7, profile='rgb') | more)
    change(found.results)
    return found


def acdc(shift=0.0, conditions=('fog', 'night'), **more):
    """Two classes, one of them not in the first condition."""
    results = {
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
    }
    return report('acdc', results, **dict(split='val', num_images=6, trained_on='unknown') | more)


def imagenet_c(shift=0.0, corruptions=('fog', 'snow', 'spatter'), levels=(1, 2), network='AlexNet', **more):
    """spatter is an extra corruption, and numbers are no one's means."""
    cells = {f'{name}_{level}': 20.0 * level + shift for name in corruptions for level in levels}
    ce = None if network is None else 50.0 + shift
    values = {'clean_error': 18.0, 'mCE': ce, 'relative_mCE': ce and ce + 20, 'mean_error': 30.0}
    values = {name: None if value is None else value + shift for name, value in values.items()}
    draws = {name: [value + draw / 10 for draw in range(51)] for name, value in values.items() if value is not None}
    results = {
        **values,
        **{f'{name}_interval': [value - 1, value + 1] for name, value in values.items() if value is not None},
        'normalised_by': network,
        'corruptions': {
            name: {'error': 30.0 + shift, 'CE': ce, 'relative_CE': ce and ce + 9, 'extra': name == 'spatter'}
            for name in corruptions
        },
        'cells': {name: {'error': value, 'error_interval': [value - 1, value + 1]} for name, value in cells.items()},
        'bootstrap': {'images_sha256': 'e' * 64, **draws},
    }
    return report('imagenet-c', results, **dict(corrupted='official', num_images=4, seed=7) | more)


def errors(shift=0.0, cells=('clean', 'imagenet-a'), images='e' * 64, benchmark='imagenet-variants', **more):
    rows = {
        cell: {
            'error': 40.25 + shift + 10 * index,
            'error_interval': [38.0 + shift, 43.0 + shift],
            'num_images': 400,
            'bootstrap': {'images_sha256': images, 'error': [40.0 + shift + draw for draw in range(5)]},
        }
        for index, cell in enumerate(cells)
    }
    sizes = dict(eps=1 / 255, step_size=0.5 / 255, num_steps=5) if benchmark == 'adversarial' else {}
    return report(benchmark, {'cells': rows}, **dict(num_images=dict.fromkeys(cells, 400)) | sizes | more)


def attacks(shift=0.0, **more):
    return errors(shift, ('clean', 'fgsm', 'pgd'), benchmark='adversarial', **dict(seed=0, num_images=400) | more)


def videos(shift=0.0, rate=60.0, perturbations=('tilt', 'shear'), sha256='e' * 64, **more):
    """shear is an extra perturbation."""
    rows = {
        name: {
            'flip_probability': 6.0 + shift,
            'flip_probability_interval': [5.0, 7.0],
            'uT5D': 2.345,
            'FR': rate,
            'num_videos': 50,
            'bootstrap': {
                'images_sha256': sha256,
                'flip_probability': [6.0 + shift + draw / 100 * (1 + shift) for draw in range(101)],
            },
        }
        for name in perturbations
    }
    mfr = {'mFR': None}
    if rate is not None:
        draws = {'images_sha256': sha256, 'mFR': [rate + shift] * 101}
        mfr = {'mFR': rate + shift, 'mFR_interval': [50.0, 70.0], 'bootstrap': draws}
    identity = dict(difficulty=1, num_images=dict.fromkeys(perturbations, 50))
    return report('imagenet-p', {'perturbations': rows, **mfr}, **identity | more)


def case(cell='fog_5', **panels):
    return {'image': 'leftImg8bit/val/a/b.png', 'cell': cell, 'mIoU': 3.214, 'panels': panels}


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
        if 'style' in self.open:
            return
        self.text.append(data)
        self.inside.append(self.open[-1] if self.open else None)
        if 'td' in self.open or 'th' in self.open:
            self.rows[-1][-1] += ('|' if 'div' in self.open[self.open.index('tr') :] else '') + data.strip()

    def headings(self, tag='h2'):
        return [text for text, inside in zip(self.text, self.inside, strict=True) if inside == tag]

    def row(self, first):
        """All rows of this heading, without it."""
        return [row[1:] for row in self.rows if row and row[0] == first]

    @property
    def shown(self):
        return ' '.join(''.join(self.text).split())


def page_of(reference=None, **runs):
    return Page(to_html({name: [run] for name, run in runs.items()}, reference))


def test_one_run():
    page = page_of(ours=cityscapes_c())
    assert page.row('ours') == [['81.23|80.10 to 82.30', '52.50|50.00 to 55.00', '64.63|60.00 to 70.00']]
    assert page.row('weather') == [['65.00']]
    assert page.row('fog') == [['65.00'], ['70.0', '60.0']]
    assert page.row('2') == [['30.00', '2']]
    assert page.row('road') == [['98.76', '91.11']] and page.row('train') == [[DASH, DASH]]
    assert page.row('seed') == [['7']] and page.row('checkpoint_sha256') == [['abc' * 20]]
    assert '4 images · 2 corruptions · severities 1, 2 · seed 7 · profile rgb · 1 model' in page.shown


def test_the_answer_comes_first():
    page = page_of(ours=cityscapes_c())
    assert 'mPC 52.50 (50.00 to 55.00), 28.73 points below clean images (81.23).' in page.text
    assert 'Worst: gaussian_noise 40.0, fog 65.0.' in page.text
    assert page.shown.index('Worst: gaussian') < page.shown.rindex('By group')
    assert '4 images only: too few for a verdict.' in page.shown and 'one training run' in page.shown
    assert 'too few' not in page_of(ours=cityscapes_c(num_images=100)).shown


def test_rows_come_by_harm():
    page = page_of(ours=cityscapes_c())
    assert [row[0] for row in page.rows if row[0] in ('fog', 'gaussian_noise')] == ['gaussian_noise', 'fog'] * 2
    lower = page_of(ours=errors(cells=('clean', 'imagenet-r', 'imagenet-a')))
    assert [row[0] for row in lower.rows if row[0].startswith('imagenet')] == ['imagenet-a', 'imagenet-r']


def test_what_is_significant_between_two_models():
    def other(results):
        results['bootstrap']['corruptions']['fog'] = [40.0 + draw for draw in range(51)]

    page = page_of('A', A=cityscapes_c(), B=cityscapes_c(2.0, change=other))
    assert (
        'B against A: mPC +2.00 (+2.00 to +2.00), significantly better on these images. Of 2 corruptions, each by '
        'itself: 1 significantly better (gaussian_noise +2.00); none significantly worse; the others do not differ '
        'significantly.'
    ) in page.text
    worse = page_of('A', A=cityscapes_c(), B=cityscapes_c(-2.0)).shown
    assert 'significantly worse on these images' in worse and '2 significantly worse (' in worse
    same = page_of('A', A=cityscapes_c(), B=cityscapes_c()).shown
    assert 'mPC 0.00 (0.00 to 0.00), no significant difference' in same and '-0.0' not in same
    lower = page_of('A', A=imagenet_c(), B=imagenet_c(-4.0)).shown
    assert 'mCE -8.00 (-8.00 to -8.00), significantly better on these images.' in lower
    assert 'Largest changes: fog -4.00, snow -4.00.' in lower, 'without draws of each corruption'


def test_nothing_twice_where_there_is_one_severity():
    page = page_of(ours=cityscapes_c(levels=(2,)))
    assert page.headings('h3') == ['By group', 'By corruption', 'By class', 'Cityscapes-C']
    assert page.row('fog') == [['60.00|59.00 to 61.00']], 'the interval is that of the cell'
    assert len(page_of(ours=cityscapes_c()).headings('h3')) == 7
    assert '2 corruptions · severity 2 · seed 7' in page.shown


def test_reference():
    page = page_of('A', A=cityscapes_c(), B=cityscapes_c(10.0), C=cityscapes_c(-5.0))
    fog, noise = 100 * (20 + 30) / (30 + 40), 100 * (40 + 60) / (50 + 70)
    change = 'change +10.00 (+10.00 to +10.00)'
    assert page.row('B')[0][1] == f'62.50|50.00 to 55.00|{change}'
    assert page.row('A')[0][1] == '52.50|50.00 to 55.00'
    values, changes = ['65.00', '75.00', '60.00'], ['+10.00|+10.00 to +10.00', '-5.00|-5.00 to -5.00']
    assert page.row('fog')[0] == [*values, *changes, f'{fog:.2f}', f'{100 * 80 / 70:.2f}']
    assert f'Mean CD: {(fog + noise) / 2:.2f} of B' in page.shown
    assert ['+10.0', '+10.0'] in page.row('fog') and ['-5.0', '-5.0'] in page.row('fog')


def test_interval_of_the_change_is_of_paired_draws():
    def reverse(results):
        results['bootstrap']['mPC'] = results['bootstrap']['mPC'][::-1]

    page = page_of('A', A=cityscapes_c(change=reverse), B=cityscapes_c(1.0))
    # of 1 - 5, 1 - 4.8, ... 1 + 5; draws of their own would give less
    assert page.row('B')[0][1].endswith('change +1.00 (-3.75 to +5.75)')


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
    other = cityscapes_c(1.0, change=lambda results: results.update(bootstrap=bootstrap))
    page = page_of('A', A=cityscapes_c(), B=other)
    assert page.row('B')[0][1].endswith('change +1.00')
    assert (
        'mPC +1.00; no interval, because the images are not known to be the same, or are of one sequence.' in page.shown
    )


def test_acdc():
    page = page_of(ours=acdc())
    assert page.row('ours') == [
        ['70.50|20.00 to 75.00', '30.50|20.00 to 75.00', '50.50', '51.25|49.00 to 53.50']
    ]  # fog, night, mean, pooled
    assert page.row('fog') == [['70.50|20.00 to 75.00']] and page.row('pooled') == [['51.25|49.00 to 53.50']]
    assert page.row('road') == [['90.10', '90.10', '88.40']] and page.row('train') == [[DASH, '30.00', '29.90']]
    assert page.headings() == ['ACDC val', 'Protocol and provenance'] and page.row('split') == [['val']]
    wide = page_of(ours=acdc(conditions=('fog', 'night', 'rain')))
    assert wide.row('road') == [['90.1', '90.1', '90.1', '88.4']], 'a map of colours'
    assert 'not told apart by condition' in page_of(ours=acdc(conditions=('all',))).shown
    counted = page_of(ours=acdc(num_images={'fog': 100, 'night': 106}, data_root='data/ACDC')).shown
    assert (
        '100 to 106 images a cell · 2 conditions · split val · data in data/ACDC · trained on unknown · 1 model'
        in counted
    )
    assert '8 images a cell · ' in page_of(ours=acdc(num_images={'fog': 8, 'night': 8})).shown


def test_acdc_against_a_reference():
    conditions = ('fog', 'night', 'rain')
    runs = {'A': acdc(conditions=conditions), 'B': acdc(-4.0, conditions), 'C': acdc(conditions=('all',))}
    page = page_of('A', **runs)
    assert page.row('B')[0][-2].endswith('51.25|49.00 to 53.50') is False
    assert 'change -4.00 (-4.00 to -4.00)' in page.row('B')[0][page.rows[0].index('pooled ↑') - 1]
    assert ['-4.0', '-4.0', '-4.0', '-4.0', DASH] in page.row('road')
    assert 'C against A: the two did not run the same cells.' in page.text
    assert 'These runs differ in acdc conditions (3 in A, 3 in B, 1 in C, 0 in common).' in page.text


def test_two_benchmarks_on_one_page():
    text = to_html({'A': [cityscapes_c()], 'B': [acdc(), cityscapes_c()], 'C': [acdc()]}, 'A')
    page = Page(text)
    assert page.headings() == ['Cityscapes-C', 'ACDC val', 'Protocol and provenance']
    keys = {name: set(re.findall(rf'<svg[^>]*>((?:(?!</svg>).)*)</svg> {name}</span>', text)) for name in 'ABC'}
    assert all(len(marks) == 1 for marks in keys.values()) and len(set.union(*keys.values())) == 3


def test_extras_stand_apart():
    page = page_of(ours=imagenet_c(corruptions=('spatter', 'fog')))
    names = [row[0] for row in page.rows if row[0].startswith(('fog', 'spatter'))]
    assert names == ['fog', 'spatter (extra, in no mean)', 'fog', 'spatter (extra)']
    assert page.row('spatter (extra)') == [['20.0', '40.0']]
    labels = [attrs['aria-label'] for tag, attrs in page.tags if tag == 'svg' and 'aria-label' in attrs]
    assert labels[1:] == ['error of fog by severity', 'error of spatter (extra) by severity']
    assert 'Worst: fog 30.0.' in page.text, 'what is in no mean is no verdict'


def test_imagenet_c():
    page = page_of(ours=imagenet_c())
    means = ['18.00|17.00 to 19.00', '50.00|49.00 to 51.00', '70.00|69.00 to 71.00', '30.00|29.00 to 31.00']
    assert page.row('ours') == [means]
    assert page.row('fog') == [['30.00', '50.00', '59.00'], ['20.0', '40.0']]
    assert {'The corrupted images are the official JPEGs.', 'CE is relative to AlexNet.'} <= set(page.text)
    assert 'A dash' not in page.shown.replace('A dash: the class', '')


def test_ce_of_other_networks_is_not_compared():
    changes = page_of('A', A=imagenet_c(), B=imagenet_c(1.0, network='other.py')).row('B')[0]
    assert ['change' in change for change in changes] == [True, False, False, True]
    cells = page_of('A', A=imagenet_c(), B=imagenet_c(corruptions=('fog',))).row('B')[0]
    assert not any('change' in change for change in cells)


def test_why_there_is_no_number_is_said_once():
    bare = imagenet_c(network=None, corrupted='on the fly')
    page = page_of(A=bare, C=imagenet_c(), D=copy.deepcopy(bare))
    assert page.row('A')[0] == ['18.00|17.00 to 19.00', DASH, DASH, '30.00|29.00 to 31.00']
    assert page.shown.count('there is no mCE without a network that CE is relative to (A, D).') == 1
    assert 'CE is relative to AlexNet (C).' in page.shown
    assert 'must not be compared with published ones (A, D).' in page.shown
    assert ['30.00'] in page_of(A=bare).row('fog'), 'no columns of CE without any'


def test_published_beside_runs_of_its_protocol_only():
    whole = dict(corruptions=ALL, levels=(1, 2, 3, 4, 5))
    runs = {
        'A': imagenet_c(**whole),
        'B': imagenet_c(**whole, corrupted='on the fly'),
        'C': imagenet_c(**whole, network='other.py'),
        'D': imagenet_c(corruptions=ALL, levels=(1, 2, 3, 4)),
    }
    page = page_of(**runs)
    header = next(row for row in page.rows if row and 'published' in row[-1])
    models = ['FAN-B-Hybrid', '+ TAP', '+ ADL', '+ TAP & ADL']
    assert header == ['corruption', 'A|CE (measured)', *(f'{model} (published)' for model in models)]
    assert page.row('impulse_noise')[-1] == ['50.00', '36.80', '34.16', '33.51', '32.04']  # as printed, two decimals
    assert page.row('mCE') == [['50.00', '46.2', '44.9', '44.3', '43.7']]
    assert 'They were not measured here' in page.shown
    for name in 'BCD':
        assert '(published)' not in page_of(**{name: runs[name]}).shown


@pytest.mark.parametrize('benchmark', ['imagenet-variants', 'adversarial'])
def test_errors_side_by_side(benchmark):
    page = page_of('A', A=errors(benchmark=benchmark), B=errors(2.0, ('clean', 'other'), benchmark=benchmark))
    ours, theirs = ['40.25|38.00 to 43.00', '42.25|40.00 to 45.00'], ['59.75|57.00 to 62.00', '57.75|55.00 to 60.00']
    assert page.row('clean') == [[*ours, '+2.00|+2.00 to +2.00', *theirs, '400']]
    assert page.row('other') == [[DASH, '52.25|40.00 to 45.00', DASH, DASH, '47.75|55.00 to 60.00', f'{DASH} / 400']]


def test_attacks_are_said():
    said = 'A pixel changes by 1/255 at most; PGD takes 5 steps of 0.5/255.'
    assert said in page_of(A=attacks()).shown
    assert f'{said[:-1]} (A).' in page_of(A=attacks(), B=attacks(num_steps=7)).shown
    fgsm = errors(cells=('clean', 'fgsm'), benchmark='adversarial')
    assert 'PGD takes' not in page_of(A=fgsm).shown


def test_imagenet_p():
    page = page_of('A', A=videos(), B=videos(-1.5))
    assert page.row('A')[0] == ['60.00|50.00 to 70.00']
    assert page.row('B')[0] == ['58.50|50.00 to 70.00|change -1.50 (-1.50 to -1.50)']
    # sample by sample the difference is -1.5 - 1.5 draw / 100, draw by draw from 0 to 100
    flips = ['6.00|5.00 to 7.00', '4.50|5.00 to 7.00', '-1.50|-2.96 to -1.54']
    assert page.row('tilt') == [[*flips, '60.00', '60.00', '2.345', '2.345', '50']]
    assert page.row('shear (extra, in no mean)') == page.row('tilt') and '50 videos' in page.shown
    none = page_of(A=videos(rate=None))
    assert none.row('A')[0] == [DASH] and 'FR is defined at difficulty 1 only' in none.shown


def test_all_benchmarks_of_classification():
    reports = {'B': [videos(), errors(), imagenet_c()], 'A': [attacks(), errors(), imagenet_c()]}
    text = to_html(reports, 'A', title='All of it')
    page = Page(text)
    assert page.headings() == [
        'ImageNet-C', 'ImageNet variants', 'Attacks', 'ImageNet-P', 'Protocol and provenance'
    ]  # fmt: skip
    assert '<title>All of it</title>' in text and page.headings('h1') == ['All of it']


def test_a_map_is_dark_where_it_is_worse():
    text = to_html({'A': [imagenet_c(corruptions=('fog',))], 'B': [imagenet_c(-4.0, ('fog',))]}, 'A')
    colors = dict(re.findall(r'style="background:(rgb\([\d,]+\));[^>]*>([\d.]+)', text))
    colors = {value: color for color, value in colors.items()}
    assert colors['40.0'] == 'rgb(140,45,4)' and colors['16.0'] == 'rgb(255,247,236)'  # the largest error is darkest
    assert heat(80.0, 80.0, 20.0) == heat(20.0, 20.0, 80.0) and heat(80.0, 80.0, 20.0).endswith('color:#fff')
    scale = heat_scale(80.0, 20.0)
    assert scale['low'] == '20.0' and 'rgb(255,247,236),rgb(140,45,4)' in scale['style']
    assert difference(3.0, 3.0, 'lower') == difference(-3.0, 3.0, 'higher') != difference(3.0, 3.0, 'higher')


def test_axis_of_the_dots():
    run = cityscapes_c()
    key, column = {'style': style_of(0)}, run.ran.columns[0]
    plot = dots({row: [(key, run.number(run.ran, row, column))] for row in run.own_rows(run.ran)}, 81.2, 'title')
    assert [text for _, text in plot['ticks']] == ['20', '30', '40', '50', '60', '70', '80', '90']
    assert [row['name'] for row in plot['rows']] == run.own_rows(run.ran) and plot['line'] < plot['ticks'][-1][0]
    assert dots({'fog': [(key, run.first('absent'))]}, None, 'title') is None


@pytest.mark.parametrize(
    ('name', 'left', 'squeezed'),
    [('fog', 130, None), ('worst_pgd+segpgd_8of255_5steps', 203, None), (60 * 'x', 230, 220)],
)
def test_names_beside_the_dots_are_whole(name, left, squeezed):
    plot = dots({name: [({'style': style_of(0)}, Number(1.0))]}, None, 'title')
    assert plot['left'] == pytest.approx(left) and plot['rows'][0]['squeezed'] == squeezed


def test_worst_images():
    cases = [
        case('gaussian_noise_2', clean=JPEG, corrupted=JPEG, **{'ground truth': PNG}, prediction=PNG),
        {'image': 'c.png', 'cell': 'snow_5', 'mIoU': None},
        *(case(f'fog_{level}', image=JPEG) for level in (1, 2)),
    ]
    palette = [(128, 64, 128), (0, 0, 142)]
    page = page_of(ours=dataclasses.replace(cityscapes_c(palette=palette), worst=cases))
    images = [attrs for tag, attrs in page.tags if tag == 'img']
    data = [(found['src'].partition(';')[0], base64.b64decode(found['src'].partition(',')[2])) for found in images]
    jpeg, png = ('data:image/jpeg', JPEG), ('data:image/png', PNG)
    assert data == [jpeg, jpeg, png, png, jpeg, jpeg], 'each once: those of the worst conditions at the top'
    assert images[2]['alt'] == 'ground truth: leftImg8bit/val/a/b.png, gaussian_noise_2'
    assert 'gaussian_noise_2, mIoU 3.21: leftImg8bit/val/a/b.png' in page.shown
    assert f'snow_5, mIoU {DASH}: c.png' in page.shown
    swatches = [attrs['style'] for _, attrs in page.tags if attrs.get('class') == 'swatch']
    assert swatches == ['background:rgb(128,64,128)', 'background:rgb(0,0,142)']
    other = dataclasses.replace(cityscapes_c(palette=[(1, 2, 3), (0, 0, 142)]), classes=['way', 'car'])
    both = page_of(ours=dataclasses.replace(cityscapes_c(palette=palette), worst=cases), theirs=other)
    swatches = [attrs['style'] for _, attrs in both.tags if attrs.get('class') == 'swatch']
    assert swatches == ['background:rgb(128,64,128)', 'background:rgb(0,0,142)', 'background:rgb(1,2,3)']
    bare = dataclasses.replace(cityscapes_c(palette=palette), worst=[case()])
    assert 'swatch' not in [attrs.get('class') for _, attrs in page_of(ours=bare).tags]


def test_images_that_all_runs_show_are_shown_once():
    """Image and truth once, then the prediction and the errors of each; others stay with their run."""
    panels = dict(clean=JPEG, corrupted=JPEG, **{'ground truth': PNG}, prediction=PNG, errors=PNG)
    ours = [case('fog_1', **panels), case('snow_2', clean=JPEG)]
    theirs = [{**case('fog_1', **panels), 'mIoU': 50.0}, case('frost_2', clean=JPEG)]
    page = page_of(
        A=dataclasses.replace(cityscapes_c(), worst=ours), B=dataclasses.replace(cityscapes_c(), worst=theirs)
    )
    alts = [attrs['alt'].partition(':')[0] for tag, attrs in page.tags if tag == 'img']
    assert sorted(alts) == sorted(
        ['clean', 'corrupted', 'ground truth', 'prediction', 'prediction', 'errors', 'errors', 'clean', 'clean']
    )
    assert 'fog_1, mIoU A 3.21, B 50.00: leftImg8bit/val/a/b.png' in ' '.join(page.shown.split())


@pytest.mark.parametrize('content', [b'', b'GIF89a', b'<svg onload="alert(1)">', 'text'])
def test_a_panel_that_is_no_image(content):
    with pytest.raises(ValueError, match=r'clean: leftImg8bit/val/a/b.png, fog_5 must be a JPEG or PNG file, got one'):
        page_of(ours=dataclasses.replace(cityscapes_c(), worst=[case(clean=content)]))


@pytest.mark.parametrize('color', [(1, 2), (0, 0, 256), (-1, 0, 0), 'red'])
def test_a_colour_that_is_none(color):
    with pytest.raises(ValueError, match='the colour of road must be three numbers from 0 to 255, got'):
        page_of(ours=dataclasses.replace(cityscapes_c(palette=[color]), worst=[case(clean=JPEG)]))


def test_without_reference_nothing_is_compared():
    text = to_html({'A': [cityscapes_c()], 'B': [cityscapes_c(10.0)]})
    assert 'CD' not in text and 'change' not in text and 'Change' not in text


def test_what_is_missing_is_a_dash():
    def poor(results):
        results['clean_mIoU_interval'] = [math.nan, 80.0]
        results['cells']['fog_1'] = {'mIoU': math.nan}
        del results['groups'], results['classes']

    page = page_of('A', A=cityscapes_c(config='a.py'), B=cityscapes_c(change=poor))
    assert page.row('B')[0][0].startswith('81.23|change 0.00') and page.row('weather') == [['65.00', DASH]]
    assert page.row('road') == [['98.76', DASH, '91.11', DASH]] and page.row('config') == [['a.py', DASH]]
    assert not re.search(r'\bnan\b', page.shown)


def test_other_cells_have_a_warning():
    def part(results):
        del results['cells']['fog_2']

    page = page_of('A', A=cityscapes_c(), B=cityscapes_c(change=part))
    assert page.row('fog')[0] == ['65.00', '65.00', '0.00|0.00 to 0.00', DASH]
    assert 'B against A: the two did not run the same cells.' in page.text
    assert 'These runs differ in cityscapes-c cells (4 in A, 3 in B, 3 in common).' in page.text
    assert 'are not comparable' in page_of(B=cityscapes_c(change=part)).shown


@pytest.mark.parametrize(
    ('first', 'second', 'phrase'),
    [
        (cityscapes_c(), cityscapes_c(seed=1), 'cityscapes-c seed (7 in A, 1 in B)'),
        (cityscapes_c(), cityscapes_c(precision='bfloat16'), 'cityscapes-c precision (float32 in A, bfloat16 in B)'),
        (acdc(), acdc(split='train'), 'acdc split (val in A, train in B)'),
        (imagenet_c(), imagenet_c(corrupted='on the fly'), 'imagenet-c corrupted (official in A, on the fly in B)'),
        (imagenet_c(), imagenet_c(network=None), 'imagenet-c normalised_by (AlexNet in A, None in B)'),
        (
            errors(),
            errors(num_images={'clean': 4, 'imagenet-a': 400}),
            'imagenet-variants num_images of clean (400 in A, 4 in B)',
        ),
        (attacks(), attacks(eps=0.5), 'adversarial eps (0.00392156862745098 in A, 0.5 in B)'),
        (videos(), videos(difficulty=2), 'imagenet-p difficulty (1 in A, 2 in B)'),
        (videos(), videos(perturbations=('tilt',)), 'imagenet-p perturbations (2 in A, 1 in B, 1 in common)'),
    ],
)
def test_different_protocols_are_a_warning(first, second, phrase):
    assert f'These runs differ in {phrase}.' in page_of(A=first, B=second).text


def test_one_name_of_two_checkpoints_is_a_warning():
    page = Page(to_html({'A': [cityscapes_c(), acdc(checkpoint_sha256='123456789')]}))
    assert 'These runs differ in checkpoint of A (abcabcab on cityscapes-c, 12345678 on acdc).' in page.text


def test_every_text_of_the_data_is_escaped():
    def bad(results):
        for section in ('classes', 'groups', 'corruptions'):
            results[section][EVIL] = next(iter(results[section].values()))
        results['cells'][f'{EVIL}_1'] = results['cells']['fog_1']

    cases = [{'image': EVIL, 'cell': EVIL, 'mIoU': EVIL, 'panels': {EVIL: PNG}}, {'image': EVIL, 'cell': EVIL}]
    ours = dataclasses.replace(cityscapes_c(change=bad, config=EVIL, **{EVIL: [EVIL]}), worst=cases, classes=[EVIL])
    layout = dataclasses.replace(ours.layout, title=EVIL, about=EVIL, sentences=(EVIL,), benchmark=EVIL)
    ours = dataclasses.replace(ours, layout=layout, palette=[(1, 2, 3)])
    text = to_html({EVIL: [ours, acdc(conditions=('fog', EVIL))], 'B': [ours]}, EVIL, EVIL)
    page = Page(text)
    assert '<script' not in text and 'script' not in {tag for tag, _ in page.tags}
    assert not [name for _, attrs in page.tags for name in attrs if name.startswith('on') or name.startswith('alert')]
    assert len(page.row(EVIL)) >= 8
    assert EVIL in [attrs['alt'][: len(EVIL)] for tag, attrs in page.tags if tag == 'img']


@pytest.mark.parametrize('count', [1, 2, 8])
def test_nothing_outside_is_needed(count):
    runs = {
        f'run {index}': [dataclasses.replace(cityscapes_c(index), worst=[case(clean=JPEG)]), acdc()]
        for index in range(count)
    }
    text = to_html(runs, 'run 0')
    assert text.startswith('<!DOCTYPE html>\n') and text.isascii()
    assert not re.search(r'https?://|src="(?!data:image/)|href="(?!#)|url\(|@import|<script', text)
    ids = re.findall(r' id="([^"]*)"', text)
    assert len(ids) == len(set(ids)) and set(re.findall(r'href="#([^"]*)"', text)) <= set(ids)


def test_names_that_utf8_cannot_hold():
    text = to_html({'Stra\xdfe \udcff': [cityscapes_c()]})
    assert text.isascii() and 'Stra&#223;e' in text


@pytest.mark.parametrize(
    ('runs', 'reference', 'message'),
    [
        ({}, None, 'one run at least'),
        ({'A': []}, None, 'one run at least'),
        ({'A': [acdc()]}, 'B', "one of A, got 'B'"),
        ({'A': [acdc(), acdc()]}, None, "two runs on acdc are called 'A'"),
        (
            {'A': [acdc(), imagenet_c()]},
            None,
            'not of both, got segmentation on acdc and classification on imagenet-c',
        ),
        (
            {
                'A': [attacks()],
                'B': [
                    dataclasses.replace(attacks(), layout=dataclasses.replace(attacks().layout, kind='segmentation'))
                ],
            },
            None,
            'got classification on adversarial and segmentation on adversarial',
        ),
    ],
)
def test_bad_arguments(runs, reference, message):
    with pytest.raises(ValueError, match=message):
        to_html(runs, reference)


@pytest.mark.skipif(shutil.which('chromium') is None, reason='needs chromium')
def test_in_a_browser(tmp_path):
    image = np.full((16, 32, 3), 200, np.uint8)
    panels = {end: cv2.imencode(f'.{end}', image)[1].tobytes() for end in ('jpg', 'png')}
    ours = dataclasses.replace(cityscapes_c(), worst=[case(**panels)])
    page = tmp_path / 'page.html'
    # a script of the test's own, to read back what the browser made of the images
    script = "document.title=[...document.images].map(i=>(i.loading='eager')+i.complete+i.naturalWidth).join()"
    text = to_html({'ours': [ours], 'B <b>': [cityscapes_c(3.0), acdc()], 'C': [acdc()]}, 'ours')
    page.write_text(text + f'<script>addEventListener("load",()=>{{{script}}})</script>')
    options = ['--headless', '--no-sandbox', '--disable-gpu', '--no-first-run', '--disable-background-networking']
    options += ['--window-size=1000,20000', f'--user-data-dir={tmp_path / "profile"}']
    command = ['chromium', *options, '--dump-dom', page.as_uri()]
    result = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    shown = Page(result.stdout)
    assert shown.row('ours')[0][:2] == ['81.23|80.10 to 82.30', '52.50|50.00 to 55.00']
    assert shown.row('B <b>')[1][2] == '50.50' and 'eagertrue32,eagertrue32' in shown.text

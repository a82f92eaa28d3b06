import copy
import re

import pytest

from mmrobust.corruptions import GROUPS
from mmrobust.evaluation.published import TABLE_3
from mmrobust.visualization import classification_page
from mmrobust.visualization.html_elements import difference_cell, heat_cell, heat_scale
from tests.test_visualization.test_robustness_page import DASH, Page

ALL = [name for names in GROUPS.values() for name in names]


def run(shift=0.0, corruptions=('fog', 'snow', 'spatter'), levels=(1, 2), network='AlexNet', **provenance):
    """A results.json of ImageNet-C; spatter is an extra corruption, and numbers are no one's means."""
    cells = {f'{name}_{level}': 20.0 * level + shift for name in corruptions for level in levels}
    ce = None if network is None else 50.0 + shift
    values = {'clean_error': 18.0, 'mCE': ce, 'relative_mCE': ce and ce + 20, 'mean_error': 30.0}
    values = {name: None if value is None else value + shift for name, value in values.items()}
    draws = {name: [value + draw / 10 for draw in range(51)] for name, value in values.items() if value is not None}
    return {
        'provenance': {
            'checkpoint_sha256': 'abc' * 20,
            'corrupted': 'official',
            'num_images': 4,
            'seed': 7,
            'protocol': {'cells': list(cells)},
            **provenance,
        },
        'results': {
            **values,
            **{f'{name}_interval': [value - 1, value + 1] for name, value in values.items() if value is not None},
            'normalised_by': network,
            'corruptions': {
                name: {'error': 30.0 + shift, 'CE': ce, 'relative_CE': ce and ce + 9, 'extra': name == 'spatter'}
                for name in corruptions
            },
            'cells': {
                name: {'error': value, 'error_interval': [value - 1, value + 1]} for name, value in cells.items()
            },
            'bootstrap': {'images_sha256': 'e' * 64, **draws},
        },
    }


def errors(shift=0.0, cells=('clean', 'imagenet-a'), pictures='e' * 64, **provenance):
    """A results.json of ImageNet variants or attacks."""
    rows = {
        cell: {
            'error': 40.25 + shift,
            'error_interval': [38.0 + shift, 43.0 + shift],
            'num_images': 400,
            'bootstrap': {'images_sha256': pictures, 'error': [40.0 + shift + draw for draw in range(5)]},
        }
        for cell in cells
    }
    identity = {'checkpoint_sha256': 'abc' * 20, 'num_images': dict.fromkeys(cells, 400)}
    return {'provenance': identity | provenance, 'results': {'cells': rows}}


def attacks(shift=0.0, **provenance):
    identity = dict(eps=1 / 255, step_size=0.5 / 255, num_steps=5, seed=0, num_images=400)
    return errors(shift, ('clean', 'fgsm', 'pgd'), **identity | provenance)


def videos(shift=0.0, rate=60.0, perturbations=('tilt', 'shear'), sha256='e' * 64, **provenance):
    """A results.json of ImageNet-P; shear is an extra perturbation."""
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
    identity = {'checkpoint_sha256': 'abc' * 20, 'difficulty': 1, 'num_images': dict.fromkeys(perturbations, 50)}
    return {'provenance': identity | provenance, 'results': {'perturbations': rows, **mfr}}


def page_of(runs, *arguments, **options):
    return Page(classification_page({'imagenet-c': runs}, *arguments, **options))


def shown(page):
    return ' '.join(''.join(page.text).split())


def test_one_run():
    page = page_of({'ours': run()})
    means = ['18.0017.00 to 19.00', '50.0049.00 to 51.00', '70.0069.00 to 71.00', '30.0029.00 to 31.00']
    assert page.row('ours') == [means]
    assert page.row('fog') == [['30.00', ''], ['50.00', '59.00'], ['20.0', '40.0', '30.00']]
    assert page.row('seed') == [['7']] and page.row('protocol / cells') == [
        ['6' + ', '.join(run()['results']['cells'])]
    ]
    assert 'The corrupted pictures are the official JPEGs. CE is relative to AlexNet.' in shown(page)
    assert 'A dash' not in shown(page) and 'Change against' not in shown(page) and 'differ in' not in shown(page)


def test_extras_stand_apart():
    text = classification_page({'imagenet-c': {'ours': run(corruptions=('spatter', 'fog'))}})
    usual, extra = (Page(part) for part in re.findall(r'<div class="beside">.*?</table></div>\n</div>', text, re.S)[:2])
    assert [row[0] for row in usual.rows] == ['corruption', 'fog'] * 2
    assert [row[0] for row in extra.rows] == ['corruption', 'spatter'] * 2
    assert 'Extra corruptions, in no mean' in text
    page = Page(text)
    assert page.row('spatter (extra)') == [['20.0', '40.0', '30.00']]
    labels = [attrs['aria-label'] for tag, attrs in page.tags if tag == 'svg' and 'aria-label' in attrs]
    assert labels == ['Top-1 error of fog by severity', 'Top-1 error of spatter (extra) by severity']
    assert 'Extra' not in classification_page({'imagenet-c': {'ours': run(corruptions=('fog',))}})


def test_reference():
    page = page_of({'A': run(), 'B': run(-4.0)}, 'A')
    changes = page.row('B')[1]
    assert changes[0] == '-4.00-4.00 to -4.00' and changes[1:] == ['-8.00-8.00 to -8.00'] * 2 + [changes[0]]
    assert len(page.row('A')) == 1
    assert page.row('fog')[-1] == ['-4.0', '-4.0']
    assert 'Blue and -: better than the reference; orange and +: worse.' in shown(page)


@pytest.mark.parametrize(
    ('other', 'compared'),
    [
        (run(network='other.py'), [True, False, False, True]),
        (run(corruptions=('fog',)), [False] * 4),
    ],
)
def test_no_change_of_what_cannot_be_compared(other, compared):
    changes = page_of({'A': run(), 'B': other}, 'A').row('B')[1]
    assert [change != DASH for change in changes] == compared


def test_no_paired_interval_of_other_pictures():
    other = run()
    other['results']['bootstrap']['images_sha256'] = 'other'
    assert page_of({'A': run(), 'B': other}, 'A').row('B')[1] == [f'+0.00{DASH}'] * 4


def test_lower_is_better_in_colours():
    text = classification_page({'imagenet-c': {'A': run(corruptions=('fog',)), 'B': run(-4.0, ('fog',))}}, 'A')
    colors = dict(re.findall(r'style="background:(rgb\([\d,]+\))[^>]*>([\d.]+)<', text))
    colors = {value: color for color, value in colors.items()}
    assert colors['40.0'] == 'rgb(140,45,4)' and colors['16.0'] == 'rgb(255,247,236)'  # the largest error is darkest
    assert re.search(r'background:rgb\(110,175,225\)">-4.0<', text)  # blue
    assert heat_cell(80.0, 80.0, 20.0, None) == heat_cell(20.0, 20.0, 80.0, None).replace('20.0', '80.0')
    assert 'rgb(255,247,236),rgb(198,146,120),rgb(140,45,4)' in heat_scale(80.0, 20.0)
    assert heat_scale(80.0, 20.0).index('20.0') < heat_scale(80.0, 20.0).index('80.0')
    assert difference_cell(3.0, 3.0, lower_is_better=True) == difference_cell(-3.0, 3.0).replace('-', '+')


def test_why_there_is_no_number_is_said_once():
    bare, part = run(network=None, corrupted='on the fly'), run()
    bare['results']['mean_error'] = bare['results']['clean_error_interval'] = None
    part['results'].update(mCE=None, relative_mCE=None)
    page = page_of({'A': bare, 'B': part, 'C': run(), 'D': copy.deepcopy(bare)})
    assert page.row('A')[0] == [f'18.00{DASH}', DASH * 2, DASH * 2, f'{DASH}29.00 to 31.00']
    assert (
        'A dash: there is no mCE without a network that CE is relative to (A, D); '
        'there is no mCE, because not all 15 corruptions were run at all 5 severities (B); '
        'there is no mean error, because none of the 15 corruptions was run (A, D).'
    ) in shown(page)
    assert 'CE is relative to AlexNet (B, C)' in shown(page)
    assert 'made on the fly' in shown(page) and 'must not be compared with published ones (A, D)' in shown(page)
    assert 'official JPEGs (B, C)' in shown(page)


def test_what_is_missing_is_a_dash():
    poor = {'results': {'corruptions': {'fog': {}}, 'cells': {'fog_1': {}, 'fog_2': {'error': float('nan')}}}}
    page = page_of({'A': run(corruptions=('fog',)), 'B': poor}, 'A')
    assert page.row('B') == [[DASH * 2] * 4, [DASH * 2, DASH, DASH, DASH * 2]]
    assert page.row('fog')[0] == ['30.00', DASH, ''] and [DASH] * 3 in page.row('fog')
    assert 'not recorded' in shown(page) and 'nan' not in page.text


def test_no_columns_of_ce_without_any():
    assert ['30.00', ''] in page_of({'A': run(network=None)}).row('fog')
    assert len(page_of({'A': run(network=None)}).row('fog')) == 2


def whole(**change):
    return run(**dict(corruptions=ALL, levels=(1, 2, 3, 4, 5)) | change)


def test_published_beside_runs_of_its_protocol_only():
    runs = {
        'A': whole(),
        'B': whole(corrupted='on the fly'),
        'C': whole(network='other.py'),
        'D': whole(levels=(1, 2, 3, 4)),
    }
    page = page_of(runs, published=TABLE_3)
    header = next(row for row in page.rows if row and 'published' in row[-1])
    assert header == ['corruption', ' A (measured)', *(f'{model} (published)' for model in TABLE_3)]
    assert page.row('impulse_noise')[-1] == ['50.00', '36.80', '34.16', '33.51', '32.04']  # as printed, two decimals
    assert page.row('mCE') == [['50.00', '46.2', '44.9', '44.3', '43.7']]
    assert 'They were not measured here' in shown(page)
    for name in 'BCD':
        assert '(published)' not in shown(page_of({name: runs[name]}, published=TABLE_3))
    assert '(published)' not in shown(page_of({'A': whole()}))


@pytest.mark.parametrize('benchmark', ['imagenet-variants', 'adversarial'])
def test_errors_side_by_side(benchmark):
    page = Page(classification_page({benchmark: {'A': errors(), 'B': errors(2.0, ('clean', 'other'))}}, 'A'))
    ours, theirs = ['40.2538.00 to 43.00', '42.2540.00 to 45.00'], ['59.7557.00 to 62.00', '57.7555.00 to 60.00']
    assert page.row('clean') == [['400', *ours, *theirs, ''], ['+2.00+2.00 to +2.00']]
    assert page.row('other') == [['400', DASH * 2, ours[1], DASH * 2, theirs[1], ''], [DASH * 2]]
    assert sum(attrs.get('class') == 'bar' for _, attrs in page.tags) == 4


def test_error_of_other_pictures_has_no_paired_interval():
    text = classification_page({'adversarial': {'A': attacks(), 'B': attacks(1.0, pictures='other')}}, 'A')
    assert Page(text).row('pgd')[1] == ['+1.00' + DASH]


def test_attacks_are_said():
    assert 'A pixel changes by 1/255 at most; PGD takes 5 steps of 0.5/255.' in shown(
        Page(classification_page({'adversarial': {'A': attacks()}}))
    )
    assert 'PGD takes' not in classification_page({'adversarial': {'A': attacks(), 'B': attacks(num_steps=7)}})
    assert 'PGD takes' not in classification_page({'adversarial': {'A': errors()}})


def test_imagenet_p():
    page = Page(classification_page({'imagenet-p': {'A': videos(), 'B': videos(-1.5)}}, 'A'))
    assert page.row('A') == [['60.0050.00 to 70.00', DASH]]
    assert page.row('B') == [['58.5050.00 to 70.00', '-1.50-1.50 to -1.50']]
    # sample by sample the difference is -1.5 - 1.5 draw / 100, draw by draw from 0 to 100
    flips = ['50', '6.005.00 to 7.00', '4.505.00 to 7.00', '-1.50-2.96 to -1.54']
    assert page.row('tilt') == page.row('shear') == [flips, ['60.00', '60.00', '2.35', '2.35']]
    assert [row[0] for row in page.rows if row[0] in ('tilt', 'shear')] == ['tilt', 'tilt', 'shear', 'shear']
    assert 'Extra perturbations, in no mean' in page.text and 'difficulty 1 only' not in shown(page)


def test_imagenet_p_of_other_videos_has_no_paired_interval():
    page = Page(classification_page({'imagenet-p': {'A': videos(), 'B': videos(-1.5, sha256='other')}}, 'A'))
    assert page.row('B')[0][-1] == page.row('tilt')[0][-1] == '-1.50' + DASH


def test_imagenet_p_without_rates():
    page = Page(classification_page({'imagenet-p': {'A': videos(rate=None)}}))
    assert page.row('A') == [[DASH * 2]] and page.row('tilt')[1] == [DASH, '2.35']
    assert 'FR is defined at difficulty 1 only' in shown(page)


def test_all_benchmarks_on_one_page():
    found = {'imagenet-p': {'B': videos()}, 'adversarial': {'A': attacks()}}
    found |= {'imagenet-variants': {'B': errors(), 'A': errors()}, 'imagenet-c': {'A': run(), 'B': run()}}
    text = classification_page(found, 'A', title='All of it')
    page = Page(text)
    headings = ['ImageNet-C', 'ImageNet variants', 'Attacks', 'ImageNet-P', 'Protocol and provenance']
    assert page.headings() == headings
    keys = {name: set(re.findall(rf'<svg[^>]*>((?:(?!</svg>).)*)</svg> {name}</span>', text)) for name in 'AB'}
    assert all(len(marks) == 1 for marks in keys.values()) and keys['A'] != keys['B']
    assert 'mFR change' not in text  # the reference has no results of ImageNet-P
    assert text.startswith('<!DOCTYPE html>\n') and text.isascii() and '<title>All of it</title>' in text
    assert not re.search(r'https?://|src=|href=|url\(|@import|<script', text)


@pytest.mark.parametrize(
    ('benchmark', 'first', 'second', 'phrase'),
    [
        ('imagenet-c', run(), run(seed=0), 'ImageNet-C seed (7 in A, 0 in B)'),
        ('imagenet-c', run(), run(num_images=9), 'ImageNet-C num_images (4 in A, 9 in B)'),
        ('imagenet-c', run(), run(corrupted='on the fly'), 'ImageNet-C corrupted (official in A, on the fly in B)'),
        ('imagenet-c', run(), run(network=None), 'ImageNet-C normalised_by (AlexNet in A, None in B)'),
        ('imagenet-c', run(), run(levels=(1,)), 'ImageNet-C cells (6 in A, 3 in B, 3 in common)'),
        (
            'imagenet-variants',
            errors(),
            errors(num_images={'clean': 4, 'imagenet-a': 400}),
            'ImageNet variants num_images of clean (400 in A, 4 in B)',
        ),
        ('adversarial', attacks(), attacks(eps=0.5), 'Attacks eps (0.00392156862745098 in A, 0.5 in B)'),
        ('adversarial', attacks(), attacks(num_steps=7), 'Attacks num_steps (5 in A, 7 in B)'),
        ('imagenet-p', videos(), videos(difficulty=2), 'ImageNet-P difficulty (1 in A, 2 in B)'),
        (
            'imagenet-p',
            videos(),
            videos(perturbations=('tilt',)),
            'ImageNet-P perturbations (2 in A, 1 in B, 1 in common)',
        ),
    ],
)
def test_different_protocols_are_a_warning(benchmark, first, second, phrase):
    page = Page(classification_page({benchmark: {'A': first, 'B': second}}))
    assert f'These runs differ in {phrase}.' in page.text


def test_one_name_of_two_checkpoints_is_a_warning():
    other = errors(checkpoint_sha256='123456789')
    page = Page(classification_page({'imagenet-c': {'A': run()}, 'imagenet-variants': {'A': other}}))
    phrase = 'checkpoint of A (abcabcab on ImageNet-C, 12345678 on ImageNet variants)'
    assert f'These runs differ in {phrase}.' in page.text


def test_every_text_of_the_data_is_escaped():
    evil = "<script>alert(\"'&x')</script>"
    bad = run(corruptions=(evil, 'fog'), network=evil, corrupted=evil, **{evil: [evil]})
    rough = errors(cells=('clean', evil), num_images={evil: evil})
    rough['results']['cells'][evil]['num_images'] = evil
    found = {
        'imagenet-c': {evil: bad, 'B': run(), f'{evil}!': whole()},
        'imagenet-variants': {evil: rough, 'B': errors()},
        'adversarial': {evil: rough, 'B': attacks()},
        'imagenet-p': {evil: videos(perturbations=(evil,), difficulty=evil), 'B': videos()},
    }
    published = {evil: TABLE_3['+ TAP']}
    text = classification_page(found, evil, evil, published)
    page = Page(text)
    assert f'{evil} (published)' in page.text and f'{evil}! (measured)' in shown(page)
    assert '<script' not in text and 'script' not in {tag for tag, _ in page.tags}
    assert not [name for _, attrs in page.tags for name in attrs if name.startswith('on') or name.startswith('alert')]
    assert len(page.row(evil)) >= 10


def test_a_reference_of_another_benchmark_compares_nothing_here():
    found = {'imagenet-c': {'A': run()}, 'adversarial': {'B': attacks(), 'C': attacks()}}
    assert 'Change against' not in classification_page(found, 'A')


@pytest.mark.parametrize(
    ('found', 'reference', 'message'),
    [
        ({}, None, 'one run at least'),
        ({'imagenet-c': {}}, None, 'one run at least'),
        ({'imagenet-c': {'A': run()}}, 'B', "the reference must be one of A, got 'B'"),
        ({'acdc': {'A': run()}}, None, "a benchmark must be one of imagenet-c, .*, got 'acdc'"),
    ],
)
def test_bad_arguments(found, reference, message):
    with pytest.raises(ValueError, match=message):
        classification_page(found, reference)

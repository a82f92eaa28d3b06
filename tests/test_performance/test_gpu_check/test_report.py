import json

import pytest

from performance.gpu_check.report import PartReport, Report


def _row(seconds, peak, **more):
    return {'seconds': seconds, 'device_seconds': seconds / 2, 'peak_bytes': peak, 'time_ratio': 1.0,
            'device_ratio': 1.0, 'memory_ratio': 1.0} | more  # fmt: skip


def _step(seconds, peak, **more):
    return {'seconds': seconds, 'peak_bytes': peak, 'blocks': 16, 'losses': {}} | more


def _equal(held=True, **more):
    return {'op': 'TAP', 'dtype': 'float32', 'compiled': False, 'tolerance': 2e-4, 'held': held, 'fell back': False,
            'errors': {'value': 1e-7, 'gradient of tokens': 2e-6 if held else 1e-3}, 'kernels': ['_pool'],
            'warnings': [], 'failure': None} | more  # fmt: skip


PROFILE = {
    'kernels': [{'name': 'a_kernel', 'calls': 3, 'seconds': 0.05}],
    'launches': 9,
    'seconds': 0.2,
    'own': ['_adl'],
}
FOUND = {
    'environment': {'device': 'a GPU', 'commit': 'abc'},
    'equality': {'TAP, float32, a': _equal(), 'TAP, float32, b': _equal(False)},
    'ops': {
        'ADL, batch 8, bfloat16': {
            'title': 'of ADL', 'rows': {'attention alone': _row(1e-3, 100), 'ours': _row(2e-3, 120, time_ratio=2.0)}
        },
        'TAP, bfloat16': {
            'title': 'of TAP',
            'rows': {'copy': _row(1e-4, 0), 'ours': _row(5e-4, 7e6, **{'bandwidth by device_seconds': 0.55})},
        },
    },
    'steps': {'batch 8, baseline': _step(0.5, 26e9), 'batch 8, TAP + ADL': _step(0.6, 27e9),
              'batch 2, baseline': {'error': 'line\nOutOfMemoryError: of memory'}},
    'compiled': {'batch 8, baseline': _step(0.2, 19e9, compile_seconds=40, profile=PROFILE),
                 'batch 2, baseline': _step(0.1, 5e9, compile_seconds=40, profile=PROFILE),
                 'batch 8, TAP + ADL': _step(0.26, 19e9, compile_seconds=50, profile=PROFILE)},
    'combinations': {'compiled, float32': {'loss error': 1e-6, 'gradient error': 1e-5, 'tolerances': [1e-3, 1e-2],
                                           'held': True}},
    'minicity': {
        'draw': {'seconds': 3},
        'train --amp': {'seconds_per_iteration': 0.2, 'of these waiting for data': 0.01, 'iterations': 100,
                        'losses': {'10': 3.0, '100': 2.0}, 'wall_seconds': 30},
        'train --amp --compile': {'seconds_per_iteration': 0.04, 'of these waiting for data': 0.01, 'iterations': 100,
                                  'losses': {'10': 3.0, '100': 2.0}, 'wall_seconds': 50},
        'evaluate': {'float32': {'clean_mIoU': 20.0, 'mPC': 10.0, 'wall_seconds': 9},
                     '--amp': {'clean_mIoU': 20.01, 'mPC': 10.1, 'wall_seconds': 8}, 'difference': 0.1},
    },
    'evaluation': {'float32': {'seconds_per_image': 0.3, 'seconds_to_start_a_cell': 1, 'extrapolated_hours': 3.0,
                               'loaders': 16, 'measured': '2 cells of 16 images'},
                   '--amp': {'error': 'a\nValueError: not this'}},
    'tests': {'tests': {'passed': 20, 'failed': 1, 'skipped': 0, 'seconds': 40, 'waited': 30,
                        'slowest': {'tests/test_a.py::test_b': 20.04},
                        'failures': {'tests/test_a.py::test_b': 'x\nE   AssertionError: that'}}},
}  # fmt: skip


@pytest.fixture
def report(tmp_path):
    def report(found, dry_run=False, state='done'):
        parts = {name: PartReport(state, 3, 9, '', dict(of_part)) for name, of_part in found.items()}
        run = dict(started='now', command='gpu_check.py', minutes=7, dry_run=dry_run)
        return Report(tmp_path, run, parts)

    return report


def _measured(report):
    return {row['what']: (row['measured'], row['held']) for row in report.targets()}


def test_targets(report):
    found = _measured(report(FOUND))
    assert found == {
        'baseline step, batch 8, time': (200, True),
        'baseline step, batch 8, memory': (19, True),
        'TAP + ADL step, batch 8, time': (pytest.approx(1.3), False),
        'TAP + ADL step, batch 8, memory': (1, True),
        'ADL and attention, N = 4096, batch 8': (2, True),
        'ADL and attention, N = 4096, batch 1': (None, None),
        'TAP, kernels alone, bfloat16': (0.55, True),
        'or TAP of all blocks, kernels alone': (pytest.approx(100 * 16 * 2.5e-4 / 0.26), True),
        'FAN-T, MiniCity, batch 4': (0.04, True),
        'Cityscapes-C, 72 cells of 500 images, extrapolated': (3, False),
        'mIoU of the fast evaluation, MiniCity': (0.1, False),
        'kernels and forms that differ from the formula': (1, False),
        'compile, AMP, with_cp: combinations that differ': (0, True),
        'resumed after SIGTERM, first losses': (None, None),
        'tests that need a GPU': (1, False),
        'tests that need a GPU, time': (40, True),
    }


def test_steps_are_compared_in_one_form(report):
    """Where TAP + ADL was measured eager alone, it is not beside a compiled baseline."""
    found = _measured(report(FOUND | {'compiled': {'batch 8, baseline': FOUND['compiled']['batch 8, baseline']}}))
    assert found['TAP + ADL step, batch 8, time'] == (None, None)
    found = _measured(report({name: part for name, part in FOUND.items() if name != 'compiled'}))
    assert found['TAP + ADL step, batch 8, time'] == (pytest.approx(1.2), True)


def test_nothing_measured_is_nothing_held(report):
    assert set(_measured(report({})).values()) == {(None, None)}
    assert set(_measured(report(FOUND, dry_run=True)).values()) == {(None, None)}
    assert _measured(report({name: {} for name in FOUND})) == _measured(report({}))


def test_part_of_the_comparisons_is_no_verdict(report):
    found = _measured(report(FOUND, state='out of time'))
    assert found['kernels and forms that differ from the formula'] == (None, None)
    assert found['baseline step, batch 8, time'] == (200, True)


def test_markdown(report):
    text = report(FOUND).markdown()
    for line in (
        'device a GPU, commit abc.',
        '| baseline step, batch 8, time | 200 | <= 220 ms | held |',
        '| TAP + ADL step, batch 8, time | 1.3 | <= 1.25 x baseline | **missed** |',
        '| ADL and attention, N = 4096, batch 1 | - | <= 3 x attention alone | not measured |',
        '| TAP | float32 | eager | 1.0e-07 | 1.0e-03 | 2e-04 | 1 of 2 | 1 kernels | 0 |',
        '- TAP, float32, b: gradient of tokens 1.0e-03',
        'Kernels of this project that ran: _pool.',
        '| batch 8, TAP + ADL | compiled | 260 | 1.3 | 19 | 1 | 50 |',
        '- batch 2, baseline, eager: OutOfMemoryError: of memory',
        '| `a_kernel` | 3 | 50.00 | 25.0% |',
        '| train --amp --compile | 0.04 | 0.01 | 3 to 2 | 100 | 50 |',
        '| float32 | 0.3 | 1 | 3 | 16 | 2 cells of 16 images |',
        '| --amp | - | - | - | - | ValueError: not this |',
        '20 passed, 1 failed, 0 skipped in 40 s, besides 30 s of waiting.',
        '| tests/test_a.py::test_b | 20.0 |',
        '- tests/test_a.py::test_b: E   AssertionError: that',
    ):
        assert line in text.splitlines(), line
    assert '### batch 8, baseline, compiled' in text
    assert '### batch 2' not in text  # only in JSON


def test_every_beginning_of_a_run_can_be_written(report):
    """A run may be interrupted after any finding."""
    found = {}
    for name, of_part in FOUND.items():
        found[name] = {}
        for step, row in of_part.items():
            found[name][step] = row
            one = report(found)
            one.write()
            assert json.loads((one.folder / 'gpu_check.json').read_text())['parts'][name]['found'][step] == row
            assert name in (one.folder / 'gpu_check.md').read_text()
    assert {path.name for path in one.folder.iterdir()} == {'gpu_check.json', 'gpu_check.md'}


def test_numbers_that_are_not_finite_are_text_in_json(report):
    one = report({'equality': {'TAP, a': _equal(False, errors={'value': float('inf')})}})
    one.write()
    content = json.loads((one.folder / 'gpu_check.json').read_text(), parse_constant=lambda name: pytest.fail(name))
    assert content['parts']['equality']['found']['TAP, a']['errors'] == {'value': 'inf'}


def test_a_part_whose_step_failed_is_not_done(report):
    part = PartReport(found={'a': {'error': 'first\nlast'}, 'b': {'seconds': 1}})
    part.end('done', '')
    assert (part.state, part.reason) == ('failed in parts', 'a:\nfirst\nlast')
    part = PartReport(found={'b': {'seconds': 1}})
    part.end('done', '')
    assert (part.state, part.reason) == ('done', '')


def test_failures_are_shown(report):
    one = report({'ops': {}})
    one.parts['ops'].end('failed', 'its process was ended by SIGSEGV')
    assert '### ops: failed\n```\nits process was ended by SIGSEGV\n```' in one.markdown()

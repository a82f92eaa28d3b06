"""The comparison finds what is wrong, and has something to compare."""

from unittest import mock

import pytest
import torch

from mmrobust.ops import ADL_MODES
from performance.gpu_check import equality
from performance.gpu_check.equality import Case, cases, compare


@pytest.mark.parametrize('case', [case for case in cases(tiny=True) if not case.compiled], ids=lambda case: case.name)
def test_every_case_holds_and_says_something(case):
    found = compare(case)
    assert found['held'], found
    assert {'value', 'loss'} & found['errors'].keys()
    assert all(error < found['tolerance'] for error in found['errors'].values())
    torch.manual_seed(0)
    _, expected = case.values(lambda function: function)
    assert all(tensor.abs().max() > 1e-4 for tensor in expected.values())  # nothing is equal because it is zero


def test_a_compiled_case():
    case = next(case for case in cases(tiny=True) if case.compiled and case.op == 'TAP')
    assert compare(case, 'aot_eager')['held']


def test_all_forms_are_there():
    for tiny in (True, False):
        found = cases(tiny)
        assert len({case.name for case in found}) == len(found)
        for dtype in equality.DTYPES:
            of_dtype = [case for case in found if case.dtype == dtype]
            for op in ('ADL', 'ADL + attention'):
                for mode in ADL_MODES:
                    for heads in ('heads averaged', 'per head'):
                        assert any(case.op == op and f'{mode}, {heads}' in case.detail for case in of_dtype)
        assert {(case.op, case.dtype) for case in found if case.compiled} == {
            (op, dtype) for op in ('TAP', 'ADL + attention') for dtype in (torch.bfloat16, torch.float32)
        }


def _adl_case(op):
    return next(case for case in cases(tiny=True) if case.op == op and case.dtype == torch.float32)


@pytest.mark.parametrize('op', ['TAP', 'ADL', 'ADL + attention'])
def test_a_wrong_gradient_is_found(op):
    name = {'TAP': 'weighted_avg_pool', 'ADL': 'attention_diversification', 'ADL + attention': 'diversified_attention'}
    right = getattr(equality, name[op])

    def wrong(first, *others, **options):
        # the value is right, and one entry of the gradient is not: of the tokens of TAP, or the query of ADL
        tokens = (first if op == 'TAP' else first.query) + 0
        tokens.register_hook(lambda grad: grad * (1 + 1e-2 * (grad.abs() == grad.abs().max())))
        return right(tokens if op == 'TAP' else first._replace(query=tokens), *others, **options)

    with mock.patch.object(equality, name[op], wrong):
        found = compare(_adl_case(op))
    assert not found['held']
    assert [error > found['tolerance'] for error in found['errors'].values()].count(True) == 1


def _one(result, expected=(1.0, 2.0)):
    values = ({'value': torch.tensor(result)}, {'value': torch.tensor(expected, dtype=torch.float64)})
    return compare(Case('TAP', 'made up', torch.float32, False, True, lambda compiling: values))


def test_what_is_not_finite_or_of_another_shape_does_not_hold():
    assert _one((1.0, 2.0))['held']
    assert _one((1.0, 2.0004))['errors']['value'] == pytest.approx(2e-4, rel=1e-2)
    assert not _one((1.0, float('nan')))['held']
    assert not _one((1.0, 2.0, 3.0))['held']


def test_an_error_is_reported():
    def values(compiling):
        raise RuntimeError('CUDA error: made up')

    found = compare(Case('TAP', 'made up', torch.float32, False, True, values))
    assert not found['held']
    assert 'RuntimeError: CUDA error: made up' in found['error']


@pytest.mark.parametrize('has_kernel', [False, True])
def test_a_silent_fallback_does_not_hold(has_kernel, monkeypatch):
    """On a machine that is said to have a GPU, and where no kernel runs."""
    case = _adl_case('ADL')._replace(has_kernel=has_kernel)
    monkeypatch.setattr(equality, 'launched_kernels', lambda compiled: _nothing())
    values = case.values(lambda function: function)
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    found = compare(case._replace(values=lambda compiling: values))
    assert found['fell back'] is has_kernel
    assert found['held'] is not has_kernel


def _nothing():
    from contextlib import nullcontext

    return nullcontext(set())


@pytest.mark.gpu
@pytest.mark.parametrize('op', ['TAP', 'ADL', 'ADL + attention'])
def test_kernels_run_on_a_gpu(op):
    found = compare(_adl_case(op))
    assert found['held'] and found['kernels'], found


def test_own_kernels_among_those_of_a_profile():
    pytest.importorskip('triton')
    from mmrobust.ops import token_pooling_triton  # noqa: F401

    own = equality.own_kernels({'void at::native::copy', '_pool', '_row_sum_12', 'a_pool'})
    assert own == {'_pool', '_row_sum'}

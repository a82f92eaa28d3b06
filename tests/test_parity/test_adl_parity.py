"""Values and gradients of ADL, in both forms, measured on the released function and on the paper's formula."""

import json

import pytest

from mmrobust.ops import Attention, attention_diversification

from .conftest import golden_folder
from .seeded import image

CASES = [case for path in sorted(golden_folder().glob('adl_*.json')) for case in json.loads(path.read_text())]


@pytest.mark.skipif(not CASES, reason='no adl_*.json in the golden folder')
@pytest.mark.parametrize('mode', ['official', 'paper'])
@pytest.mark.parametrize('case', CASES, ids=lambda case: case['name'])
def test_value_and_gradient(case, mode):
    name, shape = case['name'], tuple(case[letter] for letter in 'BHND')
    sink = image(f'{name}.u', shape[-1:]).double()
    sink = case['sink'] * sink / sink.norm()
    query = case['sharp'] * image(f'{name}.q', shape).double() + sink
    key = image(f'{name}.k', shape).double()
    key[:, :, 3] += sink
    query.requires_grad_()
    key.requires_grad_()
    attention = Attention(query * shape[-1] ** -0.5, key)
    loss = attention_diversification(attention, tau=case['tau'], mode=mode)
    loss.backward()
    assert loss.item() == pytest.approx(case[mode], rel=1e-10, abs=1e-14)
    assert query.grad.norm().item() == pytest.approx(case[f'{mode}_grad_q_norm'], rel=1e-10, abs=1e-14)
    assert key.grad.norm().item() == pytest.approx(case[f'{mode}_grad_k_norm'], rel=1e-10, abs=1e-14)

import pytest
import torch

from mmrobust.models.layers import AttentionView
from mmrobust.models.losses import AttentionDiversificationLoss
from mmrobust.ops import Attention, attention_diversification


def _view():
    torch.manual_seed(0)
    query, key = torch.randn(2, 2, 5, 4) * 2, torch.randn(2, 2, 5, 4)
    query[..., 0] += 3
    key[:, :, 0, 0] += 3
    return AttentionView(Attention(query, key), (1, 5))


@pytest.mark.parametrize('options', [{}, {'tau': 1.0}, {'mode': 'official'}, {'mode': 'pairwise'}, {'per_head': True}])
def test_layer_term(options):
    view = _view()
    expected = attention_diversification(view.attention, **options)
    torch.testing.assert_close(AttentionDiversificationLoss(**options).layer_term(view), expected)
    assert expected > 0


def test_drawn_rows_are_others_at_every_call():
    """With and without the output of attention, which is that of all rows."""
    view = _view()
    term = AttentionDiversificationLoss(mode='pairwise', sample_rows=3).layer_term
    assert len({term(view).item() for _ in range(5)}) > 1
    out, _ = term.with_output(view, view.attention.key)
    torch.testing.assert_close(out, view.probs() @ view.attention.key)


def test_average_over_layers():
    terms = [torch.tensor(0.2), torch.tensor(0.6)]
    assert AttentionDiversificationLoss(loss_weight=3.0)(terms).item() == pytest.approx(1.2)
    assert AttentionDiversificationLoss(mode='pairwise')(terms).item() == pytest.approx(0.4)
    official = AttentionDiversificationLoss(mode='official')(terms).item()
    assert official == pytest.approx(0.8 / (2 + 1e-6), rel=1e-7)


def test_log_layers():
    terms = [torch.tensor(0.2, requires_grad=True), torch.tensor(0.6)]
    assert set(AttentionDiversificationLoss().losses(terms)) == {'loss_adl'}
    entries = AttentionDiversificationLoss(log_layers=True).losses(terms)
    assert set(entries) == {'loss_adl', 'adl_layer_0', 'adl_layer_1'}
    assert not entries['adl_layer_0'].requires_grad and entries['loss_adl'].requires_grad


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        ({'tau': -1.0}, 'tau of ADL must be 0 or more, got -1.0'),
        ({'tau': float('nan')}, 'tau of ADL must be 0 or more, got nan'),
        ({'loss_weight': -0.5}, 'loss_weight of ADL must be 0 or more, got -0.5'),
        ({'mode': 'papier'}, "must be one of .*'paper', 'official', 'pairwise'.*, got 'papier'"),
        ({'sample_rows': 1}, 'sample_rows of ADL must be 2 or more, or None for all rows, got 1'),
        ({'sample_rows': True}, 'sample_rows of ADL must be 2 or more, or None for all rows, got True'),
        ({'loss_name': 'adl'}, "must contain 'loss'.*, got 'adl'"),
    ],
)
def test_bad_arguments(options, message):
    with pytest.raises(ValueError, match=message):
        AttentionDiversificationLoss(**options)

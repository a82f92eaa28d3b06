"""Losses and gradients of two ranks are those of one process with the joint batch."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from mmrobust.ops import Attention, attention_diversification
from tests.test_distributed.tiny_models import Case, build, share, step

SEGMENTATION = Case()
EXACT = dict(rtol=1e-9, atol=1e-12)  # float64; the order of the sums differs


def assert_equal_to_joint_batch(ranks, case: Case) -> dict[str, float]:
    """Return the losses of one process."""
    losses, gradients = step(case)
    (first_losses, first), (second_losses, second) = ranks.run(step, case)
    assert set(first_losses) == set(losses)
    for name, value in losses.items():
        assert (first_losses[name] + second_losses[name]) / 2 == pytest.approx(value, rel=1e-9), name
        assert first_losses[name] != second_losses[name], 'each rank has images of its own'
    for name, value in gradients.items():
        np.testing.assert_array_equal(first[name], second[name], err_msg=name)
        np.testing.assert_allclose(first[name], value, **EXACT, err_msg=name)
        assert np.any(value != 0), name
    return losses


@pytest.mark.parametrize(
    'case',
    [
        SEGMENTATION,
        Case(with_cp=True),
        Case(adl={'mode': 'official'}),
        Case(adl={'per_head': True}),
        Case(num_images=2),
        Case(task='classification'),
        Case(task='classification', with_cp=True, adl={'per_head': True}),
    ],
    ids=['segmentation', 'checkpointed', 'official ADL', 'ADL per head', 'one image each', 'classification', 'both'],
)
def test_losses_and_gradients(ranks, case):
    losses = assert_equal_to_joint_batch(ranks, case)
    assert losses['loss_adl'] > 0.01
    assert {'decode.loss_ce', 'loss_cls'} & set(losses)


def test_the_gradient_of_adl_is_part_of_it():
    """The test above would notice an ADL that reaches no weight: query weights without it get another gradient."""
    name = 'backbone.blocks.1.attn.q.weight'
    with_adl, without = (step(replace(SEGMENTATION, adl={'loss_weight': weight}))[1][name] for weight in (1.0, 0.0))
    assert np.abs(with_adl - without).max() > 1e-3 * np.abs(without).max()


@pytest.mark.parametrize('mode', ['paper', 'official'])
def test_adl_is_a_mean_over_images(mode):
    """Ours is in both modes. The released code is not: its loss of one image is 0 whatever the attention is."""
    query, key = torch.randn(2, 4, 2, 24, 8, dtype=torch.float64) * 2
    whole = attention_diversification(Attention(query, key), tau=1.0, mode=mode)
    images = [Attention(query[i : i + 1], key[i : i + 1]) for i in range(4)]
    parts = [attention_diversification(image, tau=1.0, mode=mode) for image in images]
    assert min(parts) > 0
    torch.testing.assert_close(torch.stack(parts).mean(), whole, rtol=1e-12, atol=0)


def test_mean_over_labelled_pixels_depends_on_the_split(ranks):
    """MMSegmentation's default divides by all pixels. With ``avg_non_ignore`` each rank divides by its own number."""
    case = Case(decode={'avg_non_ignore': True})
    losses, _ = step(case)
    first, second = (losses for losses, _ in ranks.run(step, case))
    assert (first['loss_adl'] + second['loss_adl']) / 2 == pytest.approx(losses['loss_adl'], rel=1e-9)
    mean = (first['decode.loss_ce'] + second['decode.loss_ce']) / 2
    assert mean == pytest.approx(losses['decode.loss_ce'], rel=0.05)
    assert mean != pytest.approx(losses['decode.loss_ce'], rel=1e-6)


@pytest.mark.parametrize('norm', ['BN', 'SyncBN'])
def test_on_a_cpu_batch_norm_sees_its_own_rank_only(ranks, norm):
    """Each rank is one process with its share of the batch; synchronised batch norm becomes a plain one on a CPU."""
    case = Case(norm=norm)
    joint, _ = step(replace(case, norm='BN'))
    for rank, (losses, _) in enumerate(ranks.run(step, case)):
        alone = _adl_of_share(replace(case, norm='BN'), rank)
        assert losses['loss_adl'] == pytest.approx(alone, rel=1e-9)
        assert losses['loss_adl'] != pytest.approx(joint['loss_adl'], rel=1e-4)


def _adl_of_share(case: Case, rank: int) -> float:
    images, labels = share(case)
    return build(case)(images[rank::2], labels[rank::2], mode='loss')['loss_adl'].item()


@pytest.mark.gpu
def test_synchronised_batch_norm_on_a_gpu(ranks):
    """Two ranks on one GPU over gloo, which NCCL would refuse."""
    losses, gradients = step(Case(norm='BN'), 'cuda')
    (first_losses, first), (second_losses, _) = ranks.run(step, Case(norm='SyncBN'), 'cuda')
    for name, value in losses.items():
        assert (first_losses[name] + second_losses[name]) / 2 == pytest.approx(value, rel=1e-7), name
    for name, value in gradients.items():
        np.testing.assert_allclose(first[name], value, rtol=1e-6, atol=1e-9, err_msg=name)


def test_bfloat16(ranks):
    """The split changes gradients by no more than bfloat16 itself does."""
    case = Case(dtype=torch.float32, autocast=True)
    full_losses, full = step(replace(case, autocast=False))
    losses, gradients = step(case)
    (first_losses, first), (second_losses, second) = ranks.run(step, case)
    for name, value in losses.items():
        assert value == pytest.approx(full_losses[name], rel=0.05), name
        assert (first_losses[name] + second_losses[name]) / 2 == pytest.approx(value, rel=0.02), name
    assert all(np.array_equal(first[name], second[name]) for name in first)
    rounding, split = (_distance(gradients, other) for other in (full, first))
    assert 0 < rounding < 0.2
    assert split < rounding


def _distance(gradients: dict[str, np.ndarray], others: dict[str, np.ndarray]) -> float:
    """Relative to the gradients' own length, over all weights."""
    difference = sum(np.square(gradients[name] - others[name]).sum() for name in gradients)
    return float(np.sqrt(difference / sum(np.square(value).sum() for value in gradients.values())))

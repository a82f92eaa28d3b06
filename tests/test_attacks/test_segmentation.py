"""Attacks on segmentation models, each against a plain form of its paper."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from mmrobust.attacks import SEA, SEGMENTATION_ATTACKS, attack_segmentation

CLASSES, IGNORE = 5, 255
EPS = 8 / 255
ROUNDING = 1e-12  # of float64 pixels


@pytest.fixture
def net():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.GELU(), nn.Conv2d(8, CLASSES, 1, bias=False))
    for parameter in net.parameters():
        nn.init.normal_(parameter)
    return net.double().eval()


@pytest.fixture
def batch(net):
    """Images with black and white pixels; labels of which some are ignored, some right, and one image has none."""
    generator = torch.Generator().manual_seed(1)
    images = (torch.rand(4, 3, 6, 8, generator=generator, dtype=torch.float64) * 1.4 - 0.2).clamp(0, 1)
    labels = torch.randint(CLASSES, (4, 6, 8), generator=generator)
    with torch.no_grad():
        labels[:, :3] = net(images).argmax(1)[:, :3]
    labels[torch.rand(labels.shape, generator=generator) < 0.2] = IGNORE
    labels[3] = IGNORE
    return images, labels


def _plain_loss(attack, logits, label, step, num_steps):
    """The mean over the labelled pixels of one image, pixel by pixel, as the papers write it down."""
    terms = []
    labelled = [(y, x) for y in range(label.size(0)) for x in range(label.size(1)) if label[y, x] != IGNORE]
    for y, x in labelled:
        u, k = logits[:, y, x], int(label[y, x])
        p = u.exp() / u.exp().sum()
        ce, right = -p[k].log(), int(u.argmax()) == k
        if attack == 'segpgd':
            share = (step - 1) / (2 * num_steps)
            term = (1 - share) * ce if right else share * ce
        elif attack == 'cospgd':
            one_hot = torch.eye(CLASSES, dtype=torch.float64)[k]
            term = F.cosine_similarity(p, one_hot, dim=0).item() * ce
        elif attack == 'sea-js':
            e = torch.eye(CLASSES, dtype=torch.float64)[k]
            m = (p + e) / 2
            term = ((p * (p / m).log()).sum() + (e[k] / m[k]).log()) / 2
        elif attack == 'sea-mce':
            term = ce if right else 0 * ce
        elif attack == 'sea-mce-bal':
            term = ce / int((label == k).sum()) if right else 0 * ce
        else:
            term = ce
        terms.append(term)
    return sum(terms) / len(terms) if terms else 0 * logits.sum()


def _plain_step(gradient, current, image, norm, eps, size):
    if norm == 'linf':
        moved = current + size * gradient.sign()
        return torch.min(torch.max(moved, image - eps), image + eps).clamp(0, 1)
    length = gradient.pow(2).sum().sqrt()
    change = current + size * (gradient / length if length else gradient) - image
    length = change.pow(2).sum().sqrt()
    return (image + (change * eps / length if length > eps else change)).clamp(0, 1)


def _plain_attack(net, image, label, attack, norm, eps, size, num_steps, start):
    current = start
    for step in range(1, num_steps + 1):
        leaf = current.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(_plain_loss(attack, net(leaf[None])[0], label, step, num_steps), leaf)
        current = _plain_step(gradient, current, image, norm, eps, size)
    return current


@pytest.mark.parametrize('norm', ['linf', 'l2'])
@pytest.mark.parametrize('attack', SEGMENTATION_ATTACKS)
def test_one_step_equals_the_formula(net, batch, attack, norm):
    images, labels = batch
    eps, size = {'linf': (EPS, 0.01), 'l2': (0.3, 0.1)}[norm]
    ours = attack_segmentation(net, images, labels, attack, norm, eps, size, 1, random_start=False).images
    for image, label, changed in zip(images, labels, ours, strict=True):
        expected = _plain_attack(net, image, label, attack, norm, eps, size, 1, image)
        torch.testing.assert_close(changed, expected, rtol=0, atol=ROUNDING)
    assert torch.equal(ours[3], images[3]) and not torch.equal(ours[0], images[0])


@pytest.mark.parametrize('norm', ['linf', 'l2'])
@pytest.mark.parametrize('attack', ['pgd', 'segpgd', 'cospgd'])
def test_steps_equal_a_plain_loop_from_the_seeds(net, batch, attack, norm):
    images, labels = batch
    eps, size = {'linf': (EPS, 0.01), 'l2': (0.3, 0.1)}[norm]
    ours = attack_segmentation(net, images, labels, attack, norm, eps, size, 5, seeds=range(4))
    for index, (image, label) in enumerate(zip(images, labels, strict=True)):
        noise = 2 * torch.rand(image.shape, generator=torch.Generator().manual_seed(index)).double() - 1
        start = image + eps * (noise if norm == 'linf' else noise / noise.norm())
        expected = _plain_attack(net, image, label, attack, norm, eps, size, 5, start.clamp(0, 1))
        torch.testing.assert_close(ours.images[index], expected, rtol=0, atol=1e-7)  # of float32 noise
    for of, losses in ((images, ours.before), (ours.images, ours.after)):
        with torch.no_grad():
            expected = [_plain_loss('pgd', logits, label, 1, 1) for logits, label in zip(net(of), labels, strict=True)]
        torch.testing.assert_close(losses, torch.stack(expected))


def _right(net, images, labels):
    return ((net(images).argmax(1) == labels) & (labels != IGNORE)).flatten(1).sum(1)


@pytest.mark.parametrize('attack', SEA)
def test_sea_shrinks_its_ball_and_keeps_the_worst_point_of_the_last(net, batch, attack):
    images, labels = (of[:1] for of in batch)
    eps, size, steps = 0.04, 0.01, 10
    ours = attack_segmentation(net, images, labels, attack, 'linf', eps, size, steps, random_start=False).images
    current, seen = images[0], []
    for step, factor in enumerate([2] * 3 + [1.5] * 3 + [1] * 4, 1):
        current = current.clamp(images[0] - factor * eps, images[0] + factor * eps)
        if factor == 1:
            seen.append(current)
        leaf = current.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(_plain_loss(attack, net(leaf[None])[0], labels[0], step, steps), leaf)
        current = _plain_step(gradient, current, images[0], 'linf', factor * eps, factor * size)
    seen = torch.stack([*seen, current])
    right = _right(net, seen, labels)
    last = int((right == right.min()).nonzero().max())
    torch.testing.assert_close(ours[0], seen[last], rtol=0, atol=ROUNDING)


@pytest.mark.parametrize('norm', ['linf', 'l2'])
@pytest.mark.parametrize('attack', SEGMENTATION_ATTACKS)
def test_stays_in_the_ball_and_in_the_valid_range(net, batch, attack, norm):
    images, labels = batch
    for eps in (0.0, EPS, 0.9):
        found = attack_segmentation(net, images, labels, attack, norm, eps, 0.3, 7, seeds=range(4)).images
        change = (found - images).flatten(1)
        largest = change.abs().amax(1) if norm == 'linf' else change.norm(dim=1)
        assert (largest <= eps + ROUNDING).all() and found.min() >= 0 and found.max() <= 1
        assert not eps or (largest > 0.5 * eps).all()


@pytest.mark.parametrize('attack', SEGMENTATION_ATTACKS)
def test_ignored_pixels_count_nothing(batch, attack):
    """Where a pixel depends on itself only, one without a label has no gradient and stays as it is."""
    images, labels = batch
    net = nn.Conv2d(3, CLASSES, 1).double()
    found = attack_segmentation(net, images, labels, attack, random_start=False)
    ignored = (labels == IGNORE)[:, None].expand_as(images)
    assert torch.equal(found.images[ignored], images[ignored])
    assert not torch.equal(found.images[~ignored], images[~ignored])
    assert found.before[3] == found.after[3] == 0 and not found.blind[3]
    other = attack_segmentation(
        net, images, torch.where(labels == IGNORE, 7, labels), attack, random_start=False, ignore_index=7
    )
    assert torch.equal(found.images, other.images)


@pytest.mark.parametrize('attack', SEGMENTATION_ATTACKS)
def test_lowers_what_it_attacks(net, batch, attack):
    images, labels = (of[:3] for of in batch)
    with torch.no_grad():
        labels = torch.where(labels == IGNORE, IGNORE, net(images).argmax(1))  # all are right before an attack
    found = attack_segmentation(net, images, labels, attack, eps=0.25, num_steps=20, seeds=range(3))
    assert (found.after > found.before).all()
    assert (_right(net, found.images, labels) < 0.9 * _right(net, images, labels)).all()


def test_loss_rises_with_the_steps(net, batch):
    images, labels = (of[:3] for of in batch)
    found = [attack_segmentation(net, images, labels, 'pgd', step_size=1e-3, num_steps=n, random_start=False)
             for n in range(1, 7)]  # fmt: skip
    losses = torch.stack([found[0].before, *(of.after for of in found)])
    assert (losses.diff(dim=0) > 0).all()


def test_is_told_where_there_was_no_gradient(net, batch):
    images, labels = batch
    with torch.no_grad():
        right = torch.where(labels == IGNORE, IGNORE, net(images).argmax(1))
        wrong = torch.where(labels == IGNORE, IGNORE, (right + 1) % CLASSES)
    found = attack_segmentation(lambda of: 1e6 * net(of), images, right, 'segpgd', eps=0.1, random_start=False)
    assert found.by_margin.tolist() == [True] * 3 + [False] and not found.blind.any()
    assert (_right(net, found.images, right)[:3] < _right(net, images, right)[:3]).all()
    steps = lambda of: net((of * 4).round() + 0 * of)  # noqa: E731
    found = attack_segmentation(steps, images, right, random_start=False)
    assert torch.equal(found.images, images)
    with torch.no_grad():
        assert found.blind.tolist() == (_right(steps, images, right) > 0).tolist() == [True] * 3 + [False]
    found = attack_segmentation(net, images, wrong, 'sea-mce', random_start=False)  # nothing is left to be attacked
    assert not found.blind.any() and not found.by_margin.any()


def test_depends_neither_on_batch_nor_on_order(net, batch):
    images, labels = batch
    seeds = torch.tensor([7, 3, 2**62, 0])
    for attack in ('segpgd', 'sea-js'):
        whole = attack_segmentation(net, images, labels, attack, seeds=seeds.tolist())
        order = torch.tensor([2, 0, 3, 1])
        torch.manual_seed(123)
        other = attack_segmentation(net, images[order], labels[order], attack, seeds=seeds[order].tolist())
        torch.testing.assert_close(other.images, whole.images[order], rtol=0, atol=ROUNDING)
        alone = attack_segmentation(net, images[1:2], labels[1:2], attack, seeds=[3])
        torch.testing.assert_close(alone.images, whole.images[1:2], rtol=0, atol=ROUNDING)


def test_works_in_inference_mode_and_changes_nothing(net, batch):
    images, labels = batch
    kept = images.clone()
    expected = attack_segmentation(net, images, labels, seeds=range(4)).images
    with torch.inference_mode():
        found = attack_segmentation(net, images.clone(), labels.clone(), seeds=range(4)).images
    assert torch.equal(found, expected) and torch.equal(images, kept) and not found.requires_grad
    assert all(parameter.grad is None for parameter in net.parameters())


@pytest.mark.parametrize(
    ('changed', 'error', 'said'),
    [
        (dict(attack='fgsm'), ValueError, "attack must be one of pgd, segpgd, cospgd, sea-js, .*, got 'fgsm'"),
        (dict(norm='l1'), ValueError, "norm must be one of linf, l2, got 'l1'"),
        (dict(eps=1.0), ValueError, 'eps must be 0 to less than 1'),
        (dict(eps=-1.0, norm='l2'), ValueError, 'eps must be 0 or more'),
        (dict(eps=math.inf, norm='l2'), ValueError, 'eps must be 0 or more'),
        (dict(step_size=math.nan), ValueError, 'step_size must be 0 to less than 1'),
        (dict(num_steps=0), ValueError, 'num_steps must be 1 or more, got 0'),
        (dict(seeds=[1]), ValueError, 'seeds must be one for each of the 4 images, got 1'),
        (dict(images=torch.full((4, 3, 6, 8), 2.0)), ValueError, r'images must be in \[0, 1\], not normalised'),
        (dict(images=torch.zeros(4, 3, 6, 8, dtype=torch.half)), TypeError, 'images must be float32 or float64'),
        (dict(labels=torch.zeros(4, 6, 8)), TypeError, 'labels must be int64'),
        (dict(labels=torch.zeros(4, dtype=torch.int64)), ValueError, r'labels must be \(4, h, w\), got \(4,\)'),
        (dict(labels=torch.zeros(4, 3, 8, dtype=torch.int64)), ValueError, r'in the size of the labels \(4, 3, 8\)'),
        (dict(labels=torch.full((4, 6, 8), 9)), ValueError, 'labels must be 0 to 4 as the logits are, or ignore_index'),
        (dict(labels=torch.full((4, 6, 8), -1)), ValueError, 'labels must be 0 to 4 as the logits are, or ignore_ind'),
        (dict(logits_of=lambda of: of[:, :1] * 2), ValueError, 'with K of 2 or more, got'),
        (dict(logits_of=lambda of: of.detach() * 2), ValueError, 'logits must have a gradient'),
        (dict(logits_of=lambda of: of.sqrt() / 0), FloatingPointError, 'gradient of 4 of 4 images is not finite'),
    ],
)  # fmt: skip
def test_refuses_what_does_not_fit(net, batch, changed, error, said):
    given = dict(zip(('logits_of', 'images', 'labels'), (net, *batch), strict=True)) | changed
    if 'logits_of' in changed:
        given['labels'] = given['labels'] * 0
    with pytest.raises(error, match=said):
        attack_segmentation(**given)


@pytest.mark.parametrize('norm', ['linf', 'l2'])
@pytest.mark.parametrize('attack', ['segpgd', 'cospgd'])
def test_equals_the_package_of_cospgd(net, batch, attack, norm):
    """Its authors' package, which has SegPGD too; it knows no ignored pixels."""
    functions = pytest.importorskip('cospgd').functions
    images = batch[0]
    labels = batch[1] % CLASSES
    eps, size, steps = {'linf': (EPS, 0.01), 'l2': (0.3, 0.1)}[norm] + (6,)
    current = images
    for step in range(steps):
        leaf = current.clone().requires_grad_()
        logits = net(leaf)
        loss = F.cross_entropy(logits, labels, reduction='none')
        if attack == 'segpgd':
            loss = functions.segpgd_scale(logits, labels, loss, step, steps)
        else:
            loss = functions.cospgd_scale(logits, labels, loss, num_classes=CLASSES)
        (gradient,) = torch.autograd.grad(loss.sum(), leaf)
        how = {'linf': functions.step_inf, 'l2': functions.step_l2}[norm]
        current = how(current, eps, gradient, images, size, False)
    ours = attack_segmentation(net, images, labels, attack, norm, eps, size, steps, random_start=False).images
    torch.testing.assert_close(ours, current, rtol=0, atol=1e-7)


def test_equals_torchattacks(net, batch):
    torchattacks = pytest.importorskip('torchattacks')
    images, labels = batch[0].float(), batch[1] % CLASSES
    net = net.float()
    theirs = torchattacks.PGD(net, EPS, 0.01, 6, random_start=False)(images, labels)
    ours = attack_segmentation(net, images, labels, 'pgd', eps=EPS, step_size=0.01, num_steps=6, random_start=False)
    different = (ours.images - theirs).abs() > 1e-6
    assert np.mean(different.numpy()) < 0.01  # a gradient near 0 rounds to another sign

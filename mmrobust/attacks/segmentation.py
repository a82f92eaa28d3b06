"""Attacks on segmentation models: PGD, SegPGD, CosPGD and the three of SEA.

They climb the mean of a loss of single pixels over the labelled pixels of an image, inside a ball of norm L_inf or L_2,
from a random start. Plain cross-entropy has its largest gradients at pixels that are wrong already; SegPGD, CosPGD and
SEA give the weight to those that are still right.

SEA (Croce et al., ECCV 2024) runs three losses, each with radii 2 eps, 1.5 eps and eps over the first 3, the next 3 and
the last 4 of 10 steps, and takes the worst case. What differs here:

- Steps are a quarter of the radius; the paper runs APGD, which adapts them, for 300 steps.
- Of the points of the last radius the one with the fewest right pixels is kept; APGD keeps the one of the highest loss.
- ``N_y`` of the balanced loss is counted in the image, see :func:`balanced_masked_cross_entropy`.

So these are lower bounds of what the paper's attack does; numbers of the two do not compare. The worst case over the
losses is that of :mod:`mmrobust.evaluation.statistics.iou`.

With ``u`` the logits of a pixel, ``y`` its label, ``p = softmax(u)`` and ``CE = -log p_y``, every loss is a function of
logits ``(B, K, H, W)``, classes ``(B, H, W)`` from 0 to K - 1, the weight ``(B, H, W)`` of 1 for pixels that have a
label and 0 for the others, the step from 1 to T, and T. It returns ``(B, H, W)``, any value where there is no label.
Weights of ``CE`` are constants: no gradient flows through them.
"""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from mmrobust.attacks.ascent import BALLS, ascend, margins_of, require_images, require_sizes, uniform_noise

PixelLoss = Callable[[Tensor, Tensor, Tensor, int, int], Tensor]


def cross_entropy(logits: Tensor, classes: Tensor, labelled: Tensor, step: int = 1, num_steps: int = 1) -> Tensor:
    """``CE``, of PGD (Madry et al. 2018)."""
    return F.cross_entropy(logits, classes, reduction='none')


def segpgd_cross_entropy(logits: Tensor, classes: Tensor, labelled: Tensor, step: int, num_steps: int) -> Tensor:
    """``(1 - l) CE`` where the pixel is right and ``l CE`` where it is wrong, ``l = (step - 1) / (2 T)``.

    SegPGD (Gu et al., ECCV 2022, eq. 4 and 5): wrong pixels count nothing at first, and half at the end.
    """
    share = (step - 1) / (2 * num_steps)
    weight = _right(logits, classes) * (1 - 2 * share) + share
    return weight * cross_entropy(logits, classes, labelled)


def cosine_cross_entropy(logits: Tensor, classes: Tensor, labelled: Tensor, step: int, num_steps: int) -> Tensor:
    """``cos(p, e_y) CE``, with ``e_y`` the one-hot label: ``p_y / |p| * CE``.

    CosPGD (Agnihotri et al., ICML 2024), untargeted, with the cosine as a constant, as in the authors' package.
    """
    probs = logits.detach().softmax(1)
    return _of_class(probs, classes) / probs.norm(dim=1) * cross_entropy(logits, classes, labelled)


def jensen_shannon(logits: Tensor, classes: Tensor, labelled: Tensor, step: int, num_steps: int) -> Tensor:
    """Jensen-Shannon divergence of ``p`` and ``e_y``, in nats, 0 to log 2 (Croce et al., ECCV 2024, sec. 3.4).

    ``(KL(p | m) + KL(e_y | m)) / 2`` with ``m = (p + e_y) / 2``, which depends on ``p_y`` alone.
    """
    log_prob = _of_class(logits.log_softmax(1), classes)
    prob = log_prob.exp()
    return math.log(2) + (prob * log_prob - (1 + prob) * prob.log1p()) / 2


def masked_cross_entropy(logits: Tensor, classes: Tensor, labelled: Tensor, step: int, num_steps: int) -> Tensor:
    """``CE`` where the pixel is right, 0 where it is wrong (Croce et al., ECCV 2024, sec. 3.4)."""
    return _right(logits, classes) * cross_entropy(logits, classes, labelled)


def balanced_masked_cross_entropy(
    logits: Tensor, classes: Tensor, labelled: Tensor, step: int, num_steps: int
) -> Tensor:
    """The same over ``N_y``, the number of labelled pixels of class y in this image.

    Croce et al. count ``N_y`` over the training images. Here an image's own pixels are counted: an attack needs no
    other image then, and rare classes are raised all the same.
    """
    flat = classes.flatten(1)
    numbers = logits.new_zeros(logits.shape[:2]).scatter_add_(1, flat, labelled.flatten(1).to(logits.dtype))
    weight = 1 / numbers.gather(1, flat).clamp(min=1).view_as(classes)
    return weight * masked_cross_entropy(logits, classes, labelled, step, num_steps)


def _right(logits: Tensor, classes: Tensor) -> Tensor:
    """1 where the best logit is that of the class, else 0."""
    return (logits.argmax(1) == classes).to(logits.dtype)


def _of_class(values: Tensor, classes: Tensor) -> Tensor:
    return values.gather(1, classes[:, None]).squeeze(1)


SEA = ('sea-js', 'sea-mce', 'sea-mce-bal')
_LOSSES: dict[str, PixelLoss] = {
    'pgd': cross_entropy,
    'segpgd': segpgd_cross_entropy,
    'cospgd': cosine_cross_entropy,
    'sea-js': jensen_shannon,
    'sea-mce': masked_cross_entropy,
    'sea-mce-bal': balanced_masked_cross_entropy,
}
SEGMENTATION_ATTACKS = tuple(_LOSSES)
USUAL_EPS = {'linf': 8 / 255, 'l2': 64 / 255}
USUAL_STEP = {'linf': 0.01, 'l2': 0.1}  # of CosPGD; SEA takes a quarter of the radius


class AttackedImages(NamedTuple):
    """Result of an attack on B images.

    Attributes:
        images: of the shape, type and device of the originals, detached, not rounded to 8 bits.
        before: ``(B,)`` mean cross-entropy of the labelled pixels of the originals, 0 where nothing is labelled.
        after: ``(B,)`` the same of ``images``.
        by_margin: ``(B,)`` bool, images whose loss had no gradient at a step, while pixels were right: there the mean
            margin of these, the best wrong logit minus the true one, was climbed.
        blind: ``(B,)`` bool, images with right pixels and without any gradient at every step. They are no evidence of
            robustness.
    """

    images: Tensor
    before: Tensor
    after: Tensor
    by_margin: Tensor
    blind: Tensor


def attack_segmentation(
    logits_of: Callable[[Tensor], Tensor],
    images: Tensor,
    labels: Tensor,
    attack: str = 'segpgd',
    norm: str = 'linf',
    eps: float | None = None,
    step_size: float | None = None,
    num_steps: int = 20,
    random_start: bool = True,
    seeds: Sequence[int] | None = None,
    ignore_index: int = 255,
) -> AttackedImages:
    """Adversarial images, each within ``eps`` of its original, on which a model labels fewer pixels right.

    Pixels without a label are changed as all others are, and count in no loss. Nothing of the model is changed. It
    works when called under ``torch.no_grad``, ``torch.inference_mode`` and autocast, and runs without autocast.

    Args:
        logits_of: a differentiable function of images ``(B, C, H, W)`` in [0, 1] that gives logits ``(B, K, h, w)`` in
            the size of the labels, such as :func:`mmrobust.attacks.segmentor_logits`.
        images: ``(B, C, H, W)``, float32 or float64, pixels in [0, 1], not normalised. They are not changed.
        labels: ``(B, h, w)``, int64, classes from 0 to K - 1 or ``ignore_index``, on the device of the images.
        attack: one of ``SEGMENTATION_ATTACKS``.
        norm: ``'linf'`` or ``'l2'``.
        eps: largest change: of a pixel, in [0, 1), or the length of the change of an image. None: 8/255, or 64/255.
        step_size: length of a step in the same measure. None: 0.01, or 0.1; of SEA ``eps / 4``. While SEA's radius is
            larger, its steps are too.
        num_steps: T, at least 1. SEA's larger radii need 4 at least.
        random_start: start at a random point of the ball instead of at the image.
        seeds: B integers of which the starts are drawn on the CPU; see :func:`mmrobust.attacks.pgd`.
        ignore_index: label of pixels that have none.

    Raises:
        TypeError: images that are not float32 or float64, labels that are not int64.
        ValueError: a wrong shape or range of an argument, labels that are no class of the logits, logits that do not
            depend on the images in a differentiable way.
        FloatingPointError: a gradient that is not finite.
    """
    if attack not in _LOSSES:
        raise ValueError(f'attack must be one of {", ".join(_LOSSES)}, got {attack!r}')
    require_images(images, labels)
    if labels.dim() != 3 or len(labels) != len(images):
        raise ValueError(f'labels must be ({len(images)}, h, w), got {tuple(labels.shape)}')
    require_sizes(0, 0, num_steps, norm)
    eps = USUAL_EPS[norm] if eps is None else eps
    if step_size is None:
        step_size = eps / 4 if attack in SEA else USUAL_STEP[norm]
    require_sizes(eps, step_size, num_steps, norm)
    factors = _radii(num_steps) if attack in SEA else [1.0] * num_steps
    noise = uniform_noise(images, seeds) if random_start else None
    with torch.inference_mode(False):
        labels = labels.clone()
        labelled = labels != ignore_index
        classes = labels.masked_fill(~labelled, 0)

    def mean(values: Tensor) -> Tensor:
        """Mean over the labelled pixels of each image."""
        return torch.where(labelled, values, 0).flatten(1).sum(1) / labelled.flatten(1).sum(1).clamp(min=1)

    def losses_of(logits: Tensor, classes: Tensor, step: int) -> Tensor:
        _check_logits(logits, classes)
        return mean(_LOSSES[attack](logits, classes, labelled, step + 1, num_steps))

    def margins_of_right(logits: Tensor, classes: Tensor) -> Tensor:
        return mean(torch.where(logits.argmax(1) == classes, margins_of(logits, classes), 0))

    def judge(of: Tensor, logits: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Images, their number of right pixels ``(B,)``, and their cross-entropy ``(B,)``."""
        right = ((logits.argmax(1) == classes) & labelled).flatten(1).sum(1)
        return of, right, mean(cross_entropy(logits, classes, labelled))

    points: list[tuple[Tensor, Tensor, Tensor]] = []  # the best so far, if any

    def watch(step: int, current: Tensor, logits: Tensor, losses: Tensor) -> None:
        if attack in SEA and factors[step] == 1:
            points[:] = [_worse(*points, judge(current, logits))]

    with torch.no_grad(), torch.autocast(images.device.type, enabled=False):
        logits = logits_of(images)
        _check_logits(logits, classes)
        _, _, before = judge(images, logits)
        del logits
        sizes = [(factor * eps, factor * step_size) for factor in factors]
        found = ascend(logits_of, images, classes, losses_of, margins_of_right, BALLS[norm], sizes, noise, watch)
        final, right, after = _worse(*points, judge(found.images, logits_of(found.images)))
    some = right > 0  # an attack that has nothing left to climb is not blind
    return AttackedImages(final, before, after, found.by_margin, found.blind & some)


def _radii(num_steps: int) -> list[float]:
    """Radius of each step of SEA over the last one."""
    part = 3 * num_steps // 10
    return [2.0] * part + [1.5] * part + [1.0] * (num_steps - 2 * part)


def _worse(first: tuple[Tensor, Tensor, Tensor], *others: tuple[Tensor, Tensor, Tensor]) -> tuple:
    """Of each image the point with the fewest right pixels, the later one of two as good."""
    for other in others:
        better = other[1] <= first[1]
        first = (
            torch.where(better.view(-1, 1, 1, 1), other[0], first[0]),
            *(torch.where(better, *pair) for pair in zip(other[1:], first[1:], strict=True)),
        )
    return first


def _check_logits(logits: Tensor, classes: Tensor) -> None:
    if logits.dim() != 4 or logits.shape[:1] + logits.shape[2:] != classes.shape or logits.size(1) < 2:
        raise ValueError(
            f'logits must be (B, K, h, w) in the size of the labels {tuple(classes.shape)} with K of 2 or more, got '
            f'{tuple(logits.shape)}'
        )
    if not ((classes >= 0) & (classes < logits.size(1))).all():
        raise ValueError(
            f'labels must be 0 to {logits.size(1) - 1} as the logits are, or ignore_index, got {classes.min()} to '
            f'{classes.max()}'
        )

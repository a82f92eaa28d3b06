"""Losses of single pixels that attacks on segmentation models climb.

With ``u`` the logits of a pixel, ``y`` its label, ``p = softmax(u)`` and ``CE = -log p_y``, every loss is a function of
logits ``(B, K, H, W)``, classes ``(B, H, W)`` from 0 to K - 1, the weight ``(B, H, W)`` of 1 for pixels that have a
label and 0 for the others, the step from 1 to T, and T. It returns ``(B, H, W)``, any value where there is no label.
Weights of ``CE`` are constants: no gradient flows through them.
"""

import math
from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor

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

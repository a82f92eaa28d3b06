"""Gradient ascent on pixels inside an L_inf ball: PGD (Madry et al. 2018) and FGSM (Goodfellow et al. 2015).

With ``x`` an image, ``y`` its label, ``L`` the cross-entropy and ``P`` the projection to ``|x' - x| <= eps`` and to
``0 <= x' <= 1``::

    x_0     = P(x + u),  u uniform in [-eps, eps]       or x itself
    x_(t+1) = P(x_t + step_size * sign(dL(x_t, y) / dx_t))

Where a network is so sure that the gradient of ``L`` is exactly 0 in its number type, the attack would do nothing and
the image would count as robust. There the gradient is that of the margin, the best wrong logit minus the true one.

The default values are the protocol of RVT (Mao et al. 2022): PGD-5 with eps 1/255, steps of 0.5/255 and a random start,
and FGSM with eps 1/255. RVT steps in normalised space with a step and a ball per channel, which is the same in pixels.
"""

from collections.abc import Callable, Sequence

import torch.nn.functional as F
from torch import Tensor

from mmrobust.attacks.ascent import BALLS, ascend, margins_of, require_images, require_sizes, uniform_noise


def pgd(
    logits_of: Callable[[Tensor], Tensor],
    images: Tensor,
    labels: Tensor,
    eps: float = 1 / 255,
    step_size: float = 0.5 / 255,
    num_steps: int = 5,
    random_start: bool = True,
    seeds: Sequence[int] | None = None,
    observe: Callable[[Tensor], object] | None = None,
    tell_gradients: Callable[[Tensor, Tensor], object] | None = None,
) -> Tensor:
    """Adversarial images, each within ``eps`` of its original, whose cross-entropy with the labels is raised.

    Only the images are differentiated: nothing of the model is changed, its parameters' ``.grad`` included. It works
    when called under ``torch.no_grad``, ``torch.inference_mode`` and autocast. The attack itself runs without autocast,
    as in RVT; ``logits_of`` may enter it.

    An image's result depends on that image, its label and its seed, not on the rest of the batch, as far as this holds
    for ``logits_of``. On a GPU other batch sizes choose other kernels, and a gradient near 0 may then change its sign.

    Args:
        logits_of: a differentiable function of images ``(B, C, H, W)`` in [0, 1] that gives logits ``(B, K)``, of a
            model in evaluation mode, such as :func:`mmrobust.attacks.pixel_logits`.
        images: ``(B, C, H, W)``, float32 or float64, pixels in [0, 1], not normalised. They are not changed. Near 1
            the numbers of a 16 bit type are too far apart for a step.
        labels: ``(B,)``, int64, true classes from 0 to K - 1, on the device of the images.
        eps: largest change of a pixel, in [0, 1).
        step_size: change of a pixel in one step, in [0, 1).
        num_steps: how many steps, at least 1.
        random_start: start at a random point of the ball instead of at the image.
        seeds: B integers of which the starts are drawn on the CPU, the same on all devices. Derived from a name of the
            image they make the start independent of batches, workers and order. With None they are drawn from torch's
            global CPU generator. Not used without ``random_start``.
        observe: is called before every step with the losses ``(B,)`` of the images as they are, ``num_steps`` times.
        tell_gradients: is called at the end with two tensors ``(B,)``, bool: images for which the margin stood in at a
            step, and images without any gradient at every step. The latter are no evidence of robustness.

    Returns:
        Images of the shape, type and device of ``images``, detached. They are not rounded to 8 bits: rounded to
        uint8 they would be other images, and at eps 1/255 a changed pixel would change by 0 or by all of eps.

    Raises:
        TypeError: images that are not float32 or float64, labels that are not int64.
        ValueError: a wrong shape or range of an argument, labels that are no class of the logits, logits that do not
            depend on the images in a differentiable way.
        FloatingPointError: a gradient that is not finite. Its sign would be 0 and the image would count as robust.
    """
    require_images(images, labels)
    if labels.shape != images.shape[:1]:
        raise ValueError(f'labels must be ({len(images)},), got {tuple(labels.shape)}')
    require_sizes(eps, step_size, num_steps)
    noise = uniform_noise(images, seeds) if random_start else None
    sizes = [(eps, step_size)] * num_steps

    def watch(step: int, current: Tensor, logits: Tensor, losses: Tensor) -> None:
        if observe is not None:
            observe(losses)

    found = ascend(logits_of, images, labels, _losses, margins_of, BALLS['linf'], sizes, noise, watch)
    if tell_gradients is not None:
        tell_gradients(found.by_margin, found.blind)
    return found.images


def fgsm(
    logits_of: Callable[[Tensor], Tensor],
    images: Tensor,
    labels: Tensor,
    eps: float = 1 / 255,
    tell_gradients: Callable[[Tensor, Tensor], object] | None = None,
) -> Tensor:
    """One step of length ``eps`` from the image itself: ``clamp(x + eps * sign(dL/dx), 0, 1)``.

    Arguments, result and errors are those of :func:`pgd`.
    """
    return pgd(logits_of, images, labels, eps, eps, 1, random_start=False, tell_gradients=tell_gradients)


def _losses(logits: Tensor, labels: Tensor, step: int) -> Tensor:
    """Cross-entropy of each image, ``(B,)``."""
    if logits.dim() != 2 or len(logits) != len(labels):
        raise ValueError(f'logits must be ({len(labels)}, K), got {tuple(logits.shape)}')
    if not ((labels >= 0) & (labels < logits.size(1))).all():
        raise ValueError(
            f'labels must be 0 to {logits.size(1) - 1} as the logits are, got {labels.min()} to {labels.max()}'
        )
    return F.cross_entropy(logits, labels, reduction='none')

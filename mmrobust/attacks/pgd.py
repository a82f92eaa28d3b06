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

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ['fgsm', 'pgd']


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
        eps: largest change of a pixel, in [0, 1].
        step_size: change of a pixel in one step, in [0, 1].
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
    _check(images, labels, eps, step_size, num_steps)
    with torch.inference_mode(False), torch.enable_grad(), torch.autocast(images.device.type, enabled=False):
        images, labels = images.detach().clone(), labels.clone()  # a tensor of inference mode has no gradient
        lower, upper = (images - eps).clamp(min=0), (images + eps).clamp(max=1)
        current = images
        if random_start:
            current = (images + eps * _uniform(images, seeds)).clamp(lower, upper)
        by_margin, blind = torch.zeros_like(labels, dtype=torch.bool), torch.ones_like(labels, dtype=torch.bool)
        for _ in range(num_steps):
            current.requires_grad_()
            losses = _losses(logits_of(current), labels)
            if observe is not None:
                observe(losses.detach())
            gradient = _gradient(losses, current)
            flat = ~gradient.flatten(1).any(1)
            if flat.any():
                leaf = current.detach()[flat].requires_grad_()
                gradient[flat] = _gradient(_margins(logits_of(leaf), labels[flat]), leaf)
                by_margin |= flat
                blind &= ~gradient.flatten(1).any(1)
            else:
                blind[:] = False
            current = (current.detach() + step_size * gradient.sign()).clamp(lower, upper)
        if tell_gradients is not None:
            tell_gradients(by_margin, blind)
        return current


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


def _uniform(images: Tensor, seeds: Sequence[int] | None) -> Tensor:
    """Noise in [-1, 1) of the shape of ``images``, each image's from its own generator."""
    if seeds is None:
        seeds = torch.randint(2**63 - 1, (len(images),), device='cpu').tolist()
    if len(seeds) != len(images):
        raise ValueError(f'seeds must be one for each of the {len(images)} images, got {len(seeds)}')
    noise = torch.empty(images.shape, dtype=torch.float32, device='cpu')
    for of_image, seed in zip(noise, seeds, strict=True):
        of_image.uniform_(-1, 1, generator=torch.Generator('cpu').manual_seed(int(seed)))
    return noise.to(images)


def _losses(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy of each image, ``(B,)``."""
    if logits.dim() != 2 or len(logits) != len(labels):
        raise ValueError(f'logits must be ({len(labels)}, K), got {tuple(logits.shape)}')
    if not ((labels >= 0) & (labels < logits.size(1))).all():
        raise ValueError(
            f'labels must be 0 to {logits.size(1) - 1} as the logits are, got {labels.min()} to {labels.max()}'
        )
    if not logits.requires_grad:
        raise ValueError('logits must have a gradient, got some from under no_grad, detach or rounding')
    return F.cross_entropy(logits, labels, reduction='none')


def _margins(logits: Tensor, labels: Tensor) -> Tensor:
    """The best wrong logit minus the true one, of each image, ``(B,)``."""
    true = logits.gather(1, labels[:, None])
    return (logits.scatter(1, labels[:, None], -torch.inf).amax(1, keepdim=True) - true).squeeze(1)


def _gradient(losses: Tensor, images: Tensor) -> Tensor:
    """Gradient of each image's own loss: of the sum, as the mean would scale it with the batch."""
    (gradient,) = torch.autograd.grad(losses.sum(), images, allow_unused=True)
    if gradient is None:
        raise ValueError('logits must depend on the images, got some that do not')
    broken = (~gradient.isfinite()).flatten(1).any(1).nonzero().flatten().tolist()
    if broken:
        raise FloatingPointError(
            f'The gradient of {len(broken)} of {len(images)} images is not finite, first of image {broken[0]}.'
        )
    return gradient


def _check(images: Tensor, labels: Tensor, eps: float, step_size: float, num_steps: int) -> None:
    if images.dtype not in (torch.float32, torch.float64):
        raise TypeError(f'images must be float32 or float64 in [0, 1], got {images.dtype}')
    if images.dim() != 4:
        raise ValueError(f'images must be (B, C, H, W), got {tuple(images.shape)}')
    if not ((images >= 0) & (images <= 1)).all():
        raise ValueError(f'images must be in [0, 1], not normalised, got {images.min():g} to {images.max():g}')
    if labels.dtype != torch.int64:
        raise TypeError(f'labels must be int64, got {labels.dtype}')
    if labels.shape != images.shape[:1]:
        raise ValueError(f'labels must be ({len(images)},), got {tuple(labels.shape)}')
    for name, value in (('eps', eps), ('step_size', step_size)):
        if not 0 <= value <= 1:
            raise ValueError(f'{name} must be 0 to 1, such as 1/255, got {value}')
    if num_steps < 1:
        raise ValueError(f'num_steps must be 1 or more, got {num_steps}')

"""Gradient ascent on the pixels of images inside a ball around each, which is what all attacks here do.

A ball is that of a norm, cut by the valid range: every image in it has pixels in [0, 1].
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

import torch
from torch import Tensor


class Ball(Protocol):
    """What an attack asks of a norm; images are ``(B, C, H, W)``, ``eps`` is the radius."""

    def start(self, images: Tensor, noise: Tensor, eps: float) -> Tensor:
        """A point of the ball of uncut range, from ``noise`` in [-1, 1) of the shape of the images."""

    def direction(self, gradient: Tensor) -> Tensor:
        """The step of length 1 that a linear loss with this gradient rises most by; 0 where there is no gradient."""

    def project(self, current: Tensor, images: Tensor, eps: float) -> Tensor:
        """Bring images back into the ball around ``images``, and into the valid range."""


class _LInf:
    """No pixel changes by more than ``eps``."""

    def start(self, images: Tensor, noise: Tensor, eps: float) -> Tensor:
        return images + eps * noise

    def direction(self, gradient: Tensor) -> Tensor:
        return gradient.sign()

    def project(self, current: Tensor, images: Tensor, eps: float) -> Tensor:
        return current.clamp((images - eps).clamp(min=0), (images + eps).clamp(max=1))


class _L2:
    """The change of an image, as one vector, is no longer than ``eps``."""

    def start(self, images: Tensor, noise: Tensor, eps: float) -> Tensor:
        return images + eps * self.direction(noise)

    def direction(self, gradient: Tensor) -> Tensor:
        # by its largest part first: the square of a small gradient is 0 in float32
        gradient = gradient / _largest(gradient)
        return gradient / _length(gradient).clamp(min=1)

    def project(self, current: Tensor, images: Tensor, eps: float) -> Tensor:
        change = current - images
        shrunk = change * (eps / _length(change).clamp(min=eps)) if eps else torch.zeros_like(change)
        return (images + shrunk).clamp(0, 1)  # which brings no pixel farther from the image


BALLS: dict[str, Ball] = {'linf': _LInf(), 'l2': _L2()}


class Ascent(NamedTuple):
    """Result of an ascent.

    Attributes:
        images: as given, changed and detached.
        by_margin: ``(B,)`` bool, images for which the margin stood in at a step.
        blind: ``(B,)`` bool, images without any gradient at every step.
    """

    images: Tensor
    by_margin: Tensor
    blind: Tensor


def ascend(
    logits_of: Callable[[Tensor], Tensor],
    images: Tensor,
    labels: Tensor,
    losses_of: Callable[[Tensor, Tensor, int], Tensor],
    margins_of: Callable[[Tensor, Tensor], Tensor],
    ball: Ball,
    sizes: Sequence[tuple[float, float]],
    noise: Tensor | None,
    watch: Callable[[int, Tensor, Tensor, Tensor], object],
) -> Ascent:
    """Climb a loss, one step for each of ``sizes``; only the images are differentiated.

    It works when called under ``torch.no_grad``, ``torch.inference_mode`` and autocast. It runs without autocast
    itself; ``logits_of`` may enter it.

    Args:
        logits_of: a differentiable function of images in [0, 1].
        images: ``(B, C, H, W)``, see :func:`require_images`. They are not changed.
        labels: of the images, as the losses take them.
        losses_of: of logits, labels and step, from 0, the losses ``(B,)`` to be raised.
        margins_of: of logits and labels, what is climbed ``(B,)`` where the loss of an image has no gradient; 0 where
            there is nothing left to climb.
        ball: where the images stay.
        sizes: radius and step size of each step. Where the radius changes, the images are projected first.
        noise: of the start, see :func:`uniform_noise`; None starts at the images themselves.
        watch: is called before each step with the step, the images as they are, their logits and losses, detached.

    Raises:
        ValueError: logits that do not depend on the images in a differentiable way.
        FloatingPointError: a gradient that is not finite. Its sign would be 0 and the image would count as robust.
    """
    with torch.inference_mode(False), torch.enable_grad(), torch.autocast(images.device.type, enabled=False):
        images, labels = images.detach().clone(), labels.clone()  # a tensor of inference mode has no gradient
        radius = sizes[0][0]
        current = ball.project(images if noise is None else ball.start(images, noise, radius), images, radius)
        by_margin = torch.zeros(len(images), dtype=torch.bool, device=images.device)
        blind = ~by_margin
        for step, (eps, step_size) in enumerate(sizes):
            if eps != radius:
                current, radius = ball.project(current, images, eps), eps
            current.requires_grad_()
            logits = logits_of(current)
            losses = losses_of(logits, labels, step)
            if not losses.requires_grad:
                raise ValueError('logits must have a gradient, got some from under no_grad, detach or rounding')
            watch(step, current.detach(), logits.detach(), losses.detach())
            gradient = _gradient(losses, current)
            del logits, losses  # and with them the graph, before there is another
            flat = ~gradient.flatten(1).any(1)
            if flat.any():
                margins = margins_of(logits_of(current), labels)
                gradient[flat] = _gradient(margins[flat], current)[flat]
                by_margin |= flat & (margins.detach() != 0)
                del margins
                blind &= ~gradient.flatten(1).any(1)
            else:
                blind[:] = False
            current = ball.project(current.detach() + step_size * ball.direction(gradient), images, eps)
        return Ascent(current, by_margin, blind)


def margins_of(logits: Tensor, labels: Tensor) -> Tensor:
    """The best wrong logit minus the true one, in the shape of the labels: logits have the classes in axis 1."""
    true = logits.gather(1, labels[:, None])
    return (logits.scatter(1, labels[:, None], -torch.inf).amax(1, keepdim=True) - true).squeeze(1)


def uniform_noise(images: Tensor, seeds: Sequence[int] | None) -> Tensor:
    """Noise in [-1, 1) of the shape of ``images``, each image's from its own generator, on the CPU.

    Args:
        images: ``(B, C, H, W)``.
        seeds: B integers; with None they are drawn from torch's global CPU generator.

    Raises:
        ValueError: there are more or fewer seeds than images.
    """
    if seeds is None:
        seeds = torch.randint(2**63 - 1, (len(images),), device='cpu').tolist()
    if len(seeds) != len(images):
        raise ValueError(f'seeds must be one for each of the {len(images)} images, got {len(seeds)}')
    noise = torch.empty(images.shape, dtype=torch.float32, device='cpu')
    for of_image, seed in zip(noise, seeds, strict=True):
        of_image.uniform_(-1, 1, generator=torch.Generator('cpu').manual_seed(int(seed)))
    return noise.to(images)


def require_images(images: Tensor, labels: Tensor) -> None:
    """Raise TypeError or ValueError if images are not float pixels in [0, 1], or labels not int64.

    Near 1 the numbers of a 16 bit type are too far apart for a step.
    """
    if images.dtype not in (torch.float32, torch.float64):
        raise TypeError(f'images must be float32 or float64 in [0, 1], got {images.dtype}')
    if images.dim() != 4:
        raise ValueError(f'images must be (B, C, H, W), got {tuple(images.shape)}')
    if not ((images >= 0) & (images <= 1)).all():
        raise ValueError(f'images must be in [0, 1], not normalised, got {images.min():g} to {images.max():g}')
    if labels.dtype != torch.int64:
        raise TypeError(f'labels must be int64, got {labels.dtype}')


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


def require_sizes(eps: float, step_size: float, num_steps: int, norm: str = 'linf') -> None:
    """Raise ValueError if a size of an attack is not in its range; an eps of 1 would make every image any other."""
    if norm not in BALLS:
        raise ValueError(f'norm must be one of {", ".join(BALLS)}, got {norm!r}')
    for name, value in (('eps', eps), ('step_size', step_size)):
        if norm == 'linf' and not 0 <= value < 1:
            raise ValueError(f'{name} must be 0 to less than 1, the whole range of a pixel, such as 1/255, got {value}')
        if not 0 <= value < float('inf'):
            raise ValueError(f'{name} must be 0 or more, the length of a change of the whole image, got {value}')
    if num_steps < 1:
        raise ValueError(f'num_steps must be 1 or more, got {num_steps}')


def _length(images: Tensor) -> Tensor:
    return images.flatten(1).norm(dim=1).view(-1, 1, 1, 1)


def _largest(images: Tensor) -> Tensor:
    """The largest size of a value in each image, or 1 where all are 0."""
    largest = images.flatten(1).abs().amax(1).view(-1, 1, 1, 1)
    return torch.where(largest > 0, largest, 1)

"""Balls around an image in which an attack stays, by their norm: where it starts, how it steps, how it comes back.

A ball is cut by the valid range: every image in it has pixels in [0, 1].
"""

from typing import Protocol

import torch
from torch import Tensor

__all__ = ['BALLS', 'Ball', 'require_sizes']


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

"""Adversarial attacks on classifiers."""

from mmrobust.attacks.pgd import fgsm, pgd
from mmrobust.attacks.pixel_logits import pixel_logits

__all__ = ['fgsm', 'pgd', 'pixel_logits']

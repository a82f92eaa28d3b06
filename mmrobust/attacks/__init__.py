"""Adversarial attacks on classifiers and segmentation models."""

from mmrobust.attacks.logits import pixel_logits, segmentor_logits
from mmrobust.attacks.pgd import fgsm, pgd
from mmrobust.attacks.segmentation import SEA, SEGMENTATION_ATTACKS, AttackedImages, attack_segmentation

__all__ = [
    'SEA',
    'SEGMENTATION_ATTACKS',
    'AttackedImages',
    'attack_segmentation',
    'fgsm',
    'pgd',
    'pixel_logits',
    'segmentor_logits',
]

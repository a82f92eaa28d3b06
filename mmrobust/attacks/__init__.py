"""Adversarial attacks on classifiers and segmentation models."""

from mmrobust.attacks.pgd import fgsm, pgd
from mmrobust.attacks.pixel_logits import pixel_logits
from mmrobust.attacks.segmentation import SEA, SEGMENTATION_ATTACKS, AttackedImages, attack_segmentation
from mmrobust.attacks.segmentor_logits import segmentor_logits

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

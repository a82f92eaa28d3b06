"""Images that are changed on purpose, and too little to see, so that a classifier gets them wrong."""

from mmrobust.attacks.pgd import fgsm, pgd
from mmrobust.attacks.pixel_logits import pixel_logits

__all__ = ['fgsm', 'pgd', 'pixel_logits']

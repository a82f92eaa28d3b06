"""AutoAttack (Croce and Hein 2020), by its authors' code, on a classifier of MMPretrain as a function of pixels."""

import pytest
import torch
from mmengine.registry import DefaultScope
from mmpretrain.registry import MODELS

from mmrobust.attacks import pgd, pixel_logits

EPS = 8 / 255


@pytest.fixture
def classifier():
    torch.manual_seed(0)
    config = dict(
        type='mmrobust.RobustImageClassifier',
        data_preprocessor=dict(mean=[120.0, 110.0, 100.0], std=[60.0, 50.0, 40.0], to_rgb=True),
        backbone=dict(
            type='mmrobust.FAN',
            arch=dict(embed_dims=16, depth=1, num_heads=2, feature_blocks=(0,)),
            out_type='cls_token',
        ),
        head=dict(type='LinearClsHead', num_classes=5, in_channels=16),
    )
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        classifier = MODELS.build(config).eval()
    for parameter in classifier.parameters():  # scores that differ from image to image
        torch.nn.init.normal_(parameter, std=0.5)
    return classifier


def test_apgd_leaves_no_more_images_right_than_pgd(classifier):
    pyautoattack = pytest.importorskip('pyautoattack')
    logits_of = pixel_logits(classifier)
    images = torch.rand(48, 3, 32, 32)
    with torch.no_grad():
        labels = logits_of(images).argmax(1)  # all are right before an attack
    ours = pgd(logits_of, images, labels, EPS, EPS / 2, seeds=range(48))
    attack = pyautoattack.AutoAttack(logits_of, attacks=['apgd-ce'], eps=EPS, version='custom', seed=0)
    theirs, _ = attack.run_standard_evaluation(images, labels, batch_size=48)
    assert (theirs - images).abs().max() <= EPS + 1e-6 and theirs.min() >= 0 and theirs.max() <= 1
    with torch.no_grad():
        right = [float((logits_of(of).argmax(1) == labels).float().mean()) for of in (ours, theirs)]
    assert right[1] <= right[0] and 0 < right[0] < 1

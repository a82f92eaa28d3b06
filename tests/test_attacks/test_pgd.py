import pytest
import torch
import torch.nn.functional as F
from mmengine.registry import DefaultScope
from mmpretrain.registry import MODELS
from mmpretrain.structures import DataSample
from torch import nn

from mmrobust.attacks import fgsm, pgd, pixel_logits

CLASSES = 5
EPS = 1 / 255
ROUNDING = 1e-7  # of float32 pixels
MEAN, STD = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1), torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)


@pytest.fixture
def net():
    """A smooth toy network whose normalisation belongs to the batch norm, in evaluation mode."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.GELU(), nn.Flatten(), nn.Linear(8 * 36, CLASSES))
    return net.eval()


@pytest.fixture
def batch():
    """Images with black and white pixels, which stop at the valid range before they reach the ball."""
    generator = torch.Generator().manual_seed(1)
    images = (torch.rand(6, 3, 8, 8, generator=generator) * 1.4 - 0.2).clamp(0, 1)
    return images, torch.randint(CLASSES, (6,), generator=generator)


def _plain_pgd(net, images, labels, start, eps, step_size, num_steps):
    """RVT's recipe as it is written there: in normalised space, with a ball, a step and a valid range per channel."""
    black, white = (0 - MEAN) / STD, (1 - MEAN) / STD
    attacked = []
    for image, label, first in zip((images - MEAN) / STD, labels, (start - MEAN) / STD, strict=True):
        current = first
        for _ in range(num_steps):
            current = current.detach().requires_grad_()
            F.cross_entropy(net(current[None]), label[None]).backward()
            offset = current.detach() + step_size / STD * torch.sign(current.grad) - image
            current = image + torch.max(torch.min(offset, eps / STD), -eps / STD)
            current = torch.max(torch.min(current, white), black)
        attacked.append(current * STD + MEAN)
    net.zero_grad()
    return torch.stack(attacked)


def _start(images, seeds, eps=EPS):
    """The start as documented: uniform in the ball, from the image's own generator, in the valid range."""
    noise = [torch.rand(images.shape[1:], generator=torch.Generator().manual_seed(seed)) for seed in seeds]
    return (images + eps * (2 * torch.stack(noise) - 1)).clamp(0, 1)


@pytest.mark.parametrize(
    ('given', 'plain'),
    [({}, (1 / 255, 0.5 / 255, 5)), (dict(eps=8 / 255, step_size=2 / 255, num_steps=10), (8 / 255, 2 / 255, 10))],
    ids=['rvt', 'strong'],
)
def test_equals_a_plain_loop(net, batch, given, plain):
    images, labels = batch
    ours = pgd(lambda pixels: net((pixels - MEAN) / STD), images, labels, seeds=range(6), **given)
    plain = _plain_pgd(net, images, labels, _start(images, range(6), plain[0]), *plain)
    torch.testing.assert_close(ours, plain, rtol=0, atol=1e-6)


def test_equals_foolbox(net, batch):
    foolbox = pytest.importorskip('foolbox')
    images, labels = batch
    start = _start(images, range(6))

    class FromOurStart(foolbox.attacks.LinfPGD):
        def get_random_start(self, x0, epsilon):
            return type(x0)(start)

    model = foolbox.PyTorchModel(net, bounds=(0, 1), device='cpu')
    theirs = FromOurStart(abs_stepsize=0.5 / 255, steps=5).run(model, images, labels, epsilon=EPS)
    torch.testing.assert_close(pgd(net, images, labels, seeds=range(6)), theirs, rtol=0, atol=1e-6)

    theirs = foolbox.attacks.LinfPGD(abs_stepsize=0.5 / 255, steps=5, random_start=False).run(
        model, images, labels, epsilon=EPS
    )
    torch.testing.assert_close(pgd(net, images, labels, random_start=False), theirs, rtol=0, atol=1e-6)

    theirs = foolbox.attacks.FGSM().run(model, images, labels, epsilon=EPS)
    torch.testing.assert_close(fgsm(net, images, labels), theirs, rtol=0, atol=1e-6)


def test_fgsm_is_the_sign_formula(net, batch):
    images, labels = batch
    leaf = images.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(F.cross_entropy(net(leaf), labels), leaf)
    expected = (images + 3 / 255 * gradient.sign()).clamp(0, 1)
    torch.testing.assert_close(fgsm(net, images, labels, eps=3 / 255), expected, rtol=0, atol=ROUNDING)


def test_loss_rises_step_by_step(net, batch):
    images, labels = batch
    observed = []
    attacked = pgd(net, images, labels, EPS, EPS / 10, num_steps=8, random_start=False, observe=observed.append)
    losses = torch.stack([*observed, F.cross_entropy(net(attacked), labels, reduction='none')])
    assert losses.shape == (9, 6) and not observed[0].requires_grad
    torch.testing.assert_close(losses[0], F.cross_entropy(net(images), labels, reduction='none'))
    assert (losses.diff(dim=0) > 0).all()


@pytest.mark.parametrize('attack', [fgsm, lambda *args, **kwargs: pgd(*args, seeds=range(6), **kwargs)])
def test_a_network_that_is_too_sure_is_attacked_by_its_margin(net, batch, attack):
    """Multiplied logits predict the same, but their cross-entropy has no gradient where they are right."""
    images, _ = batch
    with torch.no_grad():
        labels = net(images).argmax(1)
        labels[0] = (labels[0] + 1) % CLASSES  # one is wrong: there is a gradient

    def margin(logits):
        others = logits.masked_fill(F.one_hot(labels, CLASSES).bool(), -torch.inf)
        return others.amax(1) - logits.gather(1, labels[:, None]).squeeze(1)

    told = []
    attacked = attack(
        lambda pixels: 1e6 * net(pixels), images, labels, 0.01, tell_gradients=lambda *of: told.append(of)
    )
    [(by_margin, blind)] = told
    assert by_margin.tolist() == [False] + [True] * 5 and not blind.any()
    with torch.no_grad():
        assert (margin(net(attacked)) > margin(net(images)))[1:].all()
    attack(net, images, labels, 0.01, tell_gradients=lambda *of: told.append(of))
    assert not torch.stack(told[1]).any()


def test_without_any_gradient_it_says_so(net, batch):
    images, labels = batch
    told = []
    steps = lambda pixels: net(pixels + (pixels * 4).round() - 1 * pixels)  # noqa: E731
    attacked = pgd(steps, images, labels, random_start=False, tell_gradients=lambda *of: told.append(of))
    assert torch.equal(attacked, images)
    assert told[0][1].all()


@pytest.mark.parametrize('eps', [0.0, EPS, 0.1])
def test_stays_in_the_ball_and_in_the_valid_range(net, batch, eps):
    images, labels = batch
    attacked = pgd(net, images, labels, eps, step_size=0.05, num_steps=7, seeds=range(6))
    assert (attacked - images).abs().max() <= eps + ROUNDING
    assert attacked.min() >= 0 and attacked.max() <= 1
    if eps:  # steps longer than the ball end at its border, or at black and white
        at_border = ((attacked - images).abs() - eps).abs() < ROUNDING
        assert (at_border | (attacked == 0) | (attacked == 1)).float().mean() > 0.99


def test_is_not_rounded_to_8_bits(net, batch):
    images, labels = batch
    levels = 255 * pgd(net, (images * 255).round() / 255, labels, step_size=0.3 / 255, seeds=range(6))
    assert ((levels - levels.round()).abs() > 0.01).any()


def test_result_depends_neither_on_batches_nor_on_order(net, batch):
    images, labels = batch
    images, labels, net = images.double(), labels, net.double()  # kernels for other batch sizes round differently
    seeds = torch.tensor([7, 3, 2**62, 0, 11, 5])
    whole = pgd(net, images, labels, seeds=seeds.tolist())
    order = torch.tensor([4, 0, 5, 2, 1, 3])
    torch.manual_seed(123)  # the global state plays no part
    shuffled = pgd(net, images[order], labels[order], seeds=seeds[order].tolist())
    split = [pgd(net, images[i : i + 1], labels[i : i + 1], seeds=[int(seeds[i])]) for i in range(6)]
    torch.testing.assert_close(shuffled, whole[order], rtol=0, atol=1e-12)
    torch.testing.assert_close(torch.cat(split), whole, rtol=0, atol=1e-12)


def test_start_is_drawn_from_the_seeds_or_from_the_global_generator(net, batch):
    images, labels = batch

    def run(seeds):
        return pgd(net, images, labels, step_size=0, num_steps=1, seeds=seeds)  # the start itself

    torch.testing.assert_close(run(range(6)), _start(images, range(6)), rtol=0, atol=ROUNDING)
    assert not run(range(6)).equal(run(range(1, 7)))
    torch.manual_seed(0)
    first, second = run(None), run(None)
    torch.manual_seed(0)
    assert run(None).equal(first) and not second.equal(first)


@pytest.mark.parametrize('random_start', [True, False])
def test_changes_nothing(net, batch, random_start):
    images, labels = batch
    before, state = images.clone(), {name: value.clone() for name, value in net.state_dict().items()}
    net[0].weight.grad = torch.ones_like(net[0].weight)
    attacked = pgd(net, images, labels, random_start=random_start)
    assert net[0].weight.grad.eq(1).all() and net[4].weight.grad is None
    assert all(parameter.requires_grad for parameter in net.parameters())
    assert all(value.equal(state[name]) for name, value in net.state_dict().items())
    assert images.equal(before) and not images.requires_grad and images.grad is None
    assert not attacked.requires_grad and attacked.dtype == images.dtype


@pytest.mark.parametrize('context', [torch.no_grad, torch.inference_mode, lambda: torch.autocast('cpu')])
def test_works_in_the_contexts_of_an_evaluation(net, batch, context):
    images, labels = batch
    losses, losses_in_context = [], []
    expected = pgd(net, images, labels, seeds=range(6), observe=losses.append)
    with context():
        mode = torch.is_grad_enabled()
        attacked = pgd(net, images.clone(), labels.clone(), seeds=range(6), observe=losses_in_context.append)
        assert torch.is_grad_enabled() == mode
    torch.testing.assert_close(attacked, expected, rtol=0, atol=0)
    torch.testing.assert_close(losses_in_context, losses, rtol=0, atol=0)  # not in bfloat16


@pytest.mark.parametrize(
    ('change', 'error', 'message'),
    [
        (
            dict(images=torch.zeros(6, 3, 8, 8, dtype=torch.uint8)),
            TypeError,
            'images must be float32 or float64 in .*, got torch.uint8',
        ),
        (dict(images=torch.zeros(6, 3, 8, 8, dtype=torch.bfloat16)), TypeError, 'got torch.bfloat16'),
        (dict(images=torch.zeros(3, 8, 8)), ValueError, r'images must be \(B, C, H, W\), got \(3, 8, 8\)'),
        (dict(images=torch.full((6, 3, 8, 8), 255.0)), ValueError, 'not normalised, got 255 to 255'),
        (dict(images=torch.full((6, 3, 8, 8), float('nan'))), ValueError, 'got nan to nan'),
        (dict(labels=torch.zeros(6)), TypeError, 'labels must be int64, got torch.float32'),
        (dict(labels=torch.zeros(6, CLASSES, dtype=torch.int64)), ValueError, r'labels must be \(6,\), got \(6, 5\)'),
        (
            dict(labels=torch.tensor([0, 1, 2, 3, 4, 5])),
            ValueError,
            'labels must be 0 to 4 as the logits are, got 0 to 5',
        ),
        (dict(labels=torch.tensor([0, 1, 2, 3, 4, -100])), ValueError, 'got -100 to 4'),
        (dict(eps=8), ValueError, 'eps must be 0 to less than 1, the whole range of a pixel, such as 1/255, got 8'),
        (dict(eps=255 / 255), ValueError, 'got 1.0'),
        (dict(step_size=1), ValueError, 'step_size must be 0 to less than 1'),
        (dict(eps=float('nan')), ValueError, 'got nan'),
        (dict(step_size=-0.1), ValueError, 'step_size must be 0 to less than 1, .* got -0.1'),
        (dict(num_steps=0), ValueError, 'num_steps must be 1 or more, got 0'),
        (dict(seeds=[1, 2]), ValueError, 'seeds must be one for each of the 6 images, got 2'),
        (dict(logits_of=lambda x: x), ValueError, r'logits must be \(6, K\), got \(6, 3, 8, 8\)'),
        (dict(logits_of=lambda x: x.detach().flatten(1)), ValueError, 'logits must have a gradient'),
        (
            dict(logits_of=lambda x: torch.ones(6, 9, requires_grad=True)),
            ValueError,
            'logits must depend on the images',
        ),
        (dict(logits_of=lambda x: x.flatten(1) * float('inf')), FloatingPointError, 'of 6 of 6 images is not finite'),
    ],
)
def test_says_what_is_wrong(net, batch, change, error, message):
    arguments = dict(logits_of=net, images=batch[0], labels=batch[1])
    with pytest.raises(error, match=message):
        pgd(**(arguments | change))


@pytest.fixture(autouse=True)
def _scope():
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        yield


def _classifier(**kwargs):
    torch.manual_seed(0)
    config = dict(
        type='ImageClassifier',
        data_preprocessor=dict(mean=[120.0, 110.0, 100.0], std=[60.0, 50.0, 40.0], to_rgb=True, pad_size_divisor=32),
        backbone=dict(type='MobileNetV2', widen_factor=0.1),
        neck=dict(type='GlobalAveragePooling'),
        head=dict(type='LinearClsHead', num_classes=CLASSES, in_channels=1280),
    )
    return MODELS.build(config | kwargs).eval()


@pytest.mark.parametrize('to_rgb', [True, False])
def test_pixel_logits_are_those_of_a_prediction(to_rgb):
    classifier = _classifier(data_preprocessor=dict(mean=[120.0, 110.0, 100.0], std=[60.0, 50.0, 40.0], to_rgb=to_rgb))
    loaded = torch.randint(256, (2, 3, 32, 32), dtype=torch.uint8)  # as the pipeline delivers it
    logits = pixel_logits(classifier)(loaded / 255)
    inputs = classifier.data_preprocessor({'inputs': loaded})['inputs']
    torch.testing.assert_close(logits, classifier(inputs, mode='tensor'))
    samples = classifier.test_step({'inputs': list(loaded), 'data_samples': [DataSample(), DataSample()]})
    torch.testing.assert_close(logits.softmax(1), torch.stack([sample.pred_score for sample in samples]))
    by_hand = (loaded.flip(1) if to_rgb else loaded).float()
    by_hand = (by_hand - torch.tensor([120.0, 110.0, 100.0]).view(3, 1, 1)) / torch.tensor([60.0, 50, 40]).view(3, 1, 1)
    torch.testing.assert_close(logits, classifier.head(classifier.neck(classifier.backbone(by_hand))))


def test_pixel_logits_of_a_distilled_head():
    classifier = _classifier(
        backbone=dict(type='DistilledVisionTransformer', arch='deit-tiny', img_size=32, patch_size=16),
        neck=None,
        head=dict(type='DeiTClsHead', num_classes=CLASSES, in_channels=192),
    )
    images = torch.rand(2, 3, 32, 32)
    inputs = classifier.data_preprocessor({'inputs': images * 255})['inputs']
    torch.testing.assert_close(pixel_logits(classifier)(images), classifier(inputs, mode='tensor'))


def test_attack_on_a_classifier_raises_its_loss():
    classifier = _classifier(
        type='mmrobust.RobustImageClassifier',
        backbone=dict(
            type='mmrobust.FAN',
            arch=dict(embed_dims=16, depth=2, num_heads=2, feature_blocks=(0, 1)),
            out_type='cls_token',
        ),
        neck=None,
        head=dict(type='LinearClsHead', num_classes=CLASSES, in_channels=16),
    )
    images, labels = torch.rand(4, 3, 32, 32), torch.arange(4)
    logits_of = pixel_logits(classifier)
    with torch.no_grad():
        attacked = pgd(logits_of, images, labels, eps=4 / 255, step_size=1 / 255, seeds=range(4))
        before = F.cross_entropy(logits_of(images), labels, reduction='none')
        after = F.cross_entropy(logits_of(attacked), labels, reduction='none')
    assert (after > before).all()
    assert all(parameter.grad is None for parameter in classifier.parameters())


def test_training_mode_is_refused():
    classifier = _classifier()
    logits_of = pixel_logits(classifier)
    classifier.backbone.layer1.train()
    with pytest.raises(ValueError, match=r'in training mode \(backbone.layer1\)'):
        logits_of(torch.rand(1, 3, 32, 32))
    with pytest.raises(ValueError, match=r'in training mode \(the whole\)'):
        pixel_logits(classifier.train())(torch.rand(1, 3, 32, 32))


def test_models_without_logits_are_refused():
    with pytest.raises(TypeError, match='classifier must be one of MMPretrain, got Linear'):
        pixel_logits(nn.Linear(1, 1))
    with pytest.raises(TypeError, match=r'must give logits \(B, K\) from a head, got a tuple'):
        pixel_logits(_classifier(head=None))(torch.rand(1, 3, 32, 32))

"""The zoo: every entry has a config or a reason, weights or a word about them, and figures with a source."""

import ast
from pathlib import Path

import pytest
import torch
from mmengine.config import Config

from mmrobust import cli
from mmrobust.checkpoint import fitting
from mmrobust.complexity import build
from tests.test_models.test_backbones.released import as_released
from tests.tool_loading import load_tool

REPRODUCE = load_tool('reproduce.py')
Size, compare, size_of, sources, zoo = (
    getattr(REPRODUCE, name) for name in ('Size', 'compare', 'size_of', 'sources', 'zoo')
)
Figure = load_tool('reproduction/entries.py').Figure
CONFIGS = Path(__file__).parents[2] / 'configs'
BUILT = [entry for entry in zoo().values() if entry.config]

every_entry = pytest.mark.parametrize('entry', zoo().values(), ids=lambda entry: entry.name)
every_built = pytest.mark.parametrize('entry', BUILT, ids=lambda entry: entry.name)


def keys_of(config: dict) -> set[str]:
    """All keys of nested dicts whose value is not None, and all types."""
    found = set()
    for key, value in config.items():
        if value is not None:
            found |= {key, value} if key == 'type' else {key}
        for item in value if isinstance(value, list | tuple) else [value]:
            found |= keys_of(item) if isinstance(item, dict) else set()
    return found


def test_every_zoo_config_has_an_entry():
    assert {f'zoo/{path.name}' for path in (CONFIGS / 'zoo').glob('*.py')} <= {entry.config for entry in BUILT}


@every_entry
def test_entry_has_a_config_or_says_why_not(entry):
    assert (entry.config is None) != (entry.missing is None)
    assert entry.config is None or Path(entry.config).stem == entry.name


@every_entry
def test_figures_have_a_source(entry):
    for figure in entry.figures:
        assert figure.source in sources() or figure.source.startswith('paper, Table ')
        assert figure.value > 0 and figure.quantity in ('parameters', 'macs')


@every_built
def test_config(entry, tmp_path):
    path = CONFIGS / entry.config
    assert ast.get_docstring(ast.parse(path.read_text()))
    config = Config.fromfile(path)
    config.dump(tmp_path / 'dumped.py')
    assert Config.fromfile(tmp_path / 'dumped.py').to_dict() == config.to_dict()
    assert entry.name.endswith({'mmseg': '_cityscapes', 'mmpretrain': '_imagenet'}[config.default_scope])
    assert (config.load_from is None) == (entry.weights is not None), 'weights are named once'
    # so that a network without a checkpoint is refused, and not tested with random weights behind ImageNet's
    assert config.model.get('pretrained') in (None, False)
    assert 'Pretrained' not in keys_of(config.model.to_dict())


@pytest.mark.parametrize(
    ('published', 'why', 'verdict', 'passed'),
    [
        (100.0, None, 'ok', True),
        (101.0, None, 'ok', True),
        (102.0, None, 'too far', False),
        (98.9, None, 'too far', False),
        (102.0, 'another network', 'explained', True),
        (100.0, 'another network', 'reason not needed', False),
    ],
)
@pytest.mark.parametrize('quantity', ['parameters', 'macs'])
def test_verdict(quantity, published, why, verdict, passed):
    size = Size(100.0 if quantity == 'parameters' else 1.0, {(4, 8): 100.0 if quantity == 'macs' else 1.0})
    (comparison,) = compare([Figure(quantity, published, 'timm', (4, 8), why)], size)
    assert (comparison.verdict, comparison.passed) == (verdict, passed)


def test_size_of_a_hand_count(tmp_path):
    path = tmp_path / 'linear.py'
    path.write_text(
        "default_scope = 'mmpretrain'\n"
        "model = dict(type='ImageClassifier', backbone=dict(type='LeNet5'), neck=dict(type='GlobalAveragePooling'),\n"
        "    head=dict(type='LinearClsHead', num_classes=7, in_channels=120))\n"
        "model['data_preprocessor'] = dict(to_rgb=False)\n"
    )
    config = cli.load_config(
        str(path), {'model.backbone': dict(type='ResNet', depth=18), 'model.head.in_channels': 512}
    )
    size = size_of(config, [(32, 32), (64, 64)])
    assert size.parameters == pytest.approx(11.689512 - (1000 - 7) * 513 / 1e6, abs=1e-9)  # torchvision's ResNet-18
    # four times the positions, but one vector into the head
    head = 512 * 7 / 1e9
    assert size.macs[64, 64] - head == pytest.approx(4 * (size.macs[32, 32] - head))


@pytest.mark.parametrize('size', ['t', pytest.param('l', marks=pytest.mark.slow)])
def test_weights_in_the_layout_of_stl_fit(size):
    """Those of NVlabs' FAN, with a head of the patch tokens beside them."""
    model = build(cli.load_config(str(CONFIGS / f'zoo/fan_{size}_stl_imagenet.py')))
    released = as_released(model.backbone.state_dict())
    for head in ('head', 'aux_head'):
        released |= {f'{head}.weight': torch.rand(1000, model.head.in_channels), f'{head}.bias': torch.rand(1000)}
    with pytest.warns(UserWarning, match='2 keys of an auxiliary head'):
        weights = fitting(model, {'state_dict': released}, 'student.pth.tar')
    assert torch.equal(weights['head.fc.weight'], released['head.weight'])
    with pytest.raises(ValueError, match='does not fit the model'):
        fitting(build(cli.load_config(str(CONFIGS / 'zoo/fan_s_stl_imagenet.py'))), weights, 'student.pth.tar')


@pytest.mark.slow
@every_built
def test_built_size_is_the_published_one(entry):
    shapes = {figure.shape for figure in entry.figures} or {(224, 224)}
    size = size_of(cli.load_config(str(CONFIGS / entry.config)), shapes)
    assert [one for one in compare(entry.figures, size) if not one.passed] == []


def test_documented():
    text = (CONFIGS.parent / 'docs/reference/model_zoo.md').read_text()
    named = {f'segformer_b{size}_cityscapes' for size in range(1, 5)}  # between the first and the last
    assert [name for name in zoo() if f'{name}`' not in text and name not in named] == []

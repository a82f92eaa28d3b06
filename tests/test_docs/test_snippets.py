"""The Python of README and docs: it compiles, its names and bases are there, and what can run here runs."""

import re
from importlib import import_module

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmseg.registry import MODELS

from mmrobust import corruptions, registry
from mmrobust.models import AttentionDiversificationLoss

from .pages import DOCS, TEXTS, blocks, name


def files_of(page: str, tmp_path) -> list:
    """Write the blocks whose first line names a file."""
    written = []
    for code in blocks(DOCS / page, 'python'):
        found = re.match(r'# (\w+\.py)\n', code)
        if found:
            written.append(tmp_path / found[1])
            written[-1].write_text(code)
    return written


@pytest.mark.parametrize('path', TEXTS, ids=name)
def test_python_compiles(path):
    for code in blocks(path, 'python'):
        compile(code, str(path), 'exec')


@pytest.mark.parametrize('path', [path for path in TEXTS if path.name != 'CHANGELOG.md'], ids=name)  # it names the gone
def test_names_of_the_package_are_there(path):
    registries = [getattr(registry, kind) for kind in registry.__all__]
    for dotted in set(re.findall(r'\bmmrobust(?:\.\w+)+', path.read_text())):
        first, *rest = dotted.split('.')[1:]
        if first in ('egg', 'NAME') or any(types.get(dotted) for types in registries):
            continue
        thing, module = import_module('mmrobust'), 'mmrobust'
        for part in (first, *rest):
            module = f'{module}.{part}'
            thing = getattr(thing, part, None) or import_module(module)  # its error names what is missing


@pytest.mark.parametrize('path', TEXTS, ids=name)
def test_bases_are_there(path, tmp_path):
    for base in set(re.findall(r"_base_ = '((?:mmrobust|mmseg|mmpretrain)::[^'.]+\.py)'", path.read_text())):
        (tmp_path / 'mine.py').write_text(f'_base_ = {base!r}\n')
        Config.fromfile(tmp_path / 'mine.py')


def test_configs_of_the_tutorial(tmp_path):
    plain, with_adl, classifier = (
        Config.fromfile(path) for path in files_of('tutorials/tap_and_adl_config.md', tmp_path)
    )
    with torch.device('meta'):  # nothing is drawn
        model, other, net = (
            MODELS.build(dict(config.model, _scope_=config.default_scope)) for config in (plain, with_adl, classifier)
        )
    assert not hasattr(model, 'loss_attn')
    assert isinstance(other.loss_attn, AttentionDiversificationLoss) and other.loss_attn.tau == 2
    assert isinstance(net.loss_attn, AttentionDiversificationLoss) and net.backbone.out_type == 'cls_token'


def test_channels_of_the_tutorial():
    text = (DOCS / 'tutorials/tap_and_adl_config.md').read_text()
    for arch, dims in (('tiny_hybrid', 192), ('small_hybrid', 384), ('base_hybrid', 448)):
        with torch.device('meta'):
            backbone = MODELS.build(dict(type='mmrobust.FAN', arch=arch))
            outs = backbone(torch.empty(1, 3, 32, 32))
        assert [out.size(1) for out in outs] == [128, 256, dims, dims]
        assert re.search(rf'{dims}\s+for\s+`{arch}`', text)


def test_a_corruption_of_ones_own(tmp_path, monkeypatch):
    monkeypatch.setattr(corruptions, 'CORRUPTIONS', corruptions.CORRUPTIONS.copy())
    (code,) = files_of('how-to/add_a_corruption.md', tmp_path)
    exec(compile(code.read_text(), str(code), 'exec'), {})
    image = np.random.default_rng(0).integers(0, 256, (33, 40, 3), dtype=np.uint8)
    slight, severe = (corruptions.corrupt(image, 'sepia', severity, np.random.default_rng(0)) for severity in (1, 5))
    assert severe.shape == image.shape and severe.dtype == np.uint8
    assert np.abs(image - slight.astype(int)).mean() < np.abs(image - severe.astype(int)).mean()


def test_a_backbone_of_ones_own():
    namespace = {}
    exec(blocks(DOCS / 'how-to/add_a_backbone.md', 'python')[0], namespace)
    backbone = namespace['PlainViT'](dims=16, depth=2, num_heads=2)
    outs, aux = backbone(torch.randn(2, 3, 32, 48), lambda view: view.probs().shape)
    assert outs[0].shape == (2, 16, 2, 3)
    assert aux == ((2, 2, 6, 6),) * 2
    MODELS.module_dict.pop('PlainViT')


def test_attention_is_looked_at(capsys):
    (code,) = (block for block in blocks(DOCS / 'explanation/attention_without_a_map.md', 'python'))
    exec(code, {})
    assert capsys.readouterr().out.splitlines() == re.findall(r'print\(.*\)  # ((?:8 )?torch\.Size\(.*?\))', code)

"""``mmrobust.compat``: which stacks are accepted, and what the message says about the others."""

import importlib.metadata
import sys
import warnings

import pytest
from mmengine.config.utils import MODULE2PACKAGE

from mmrobust import compat

ONEDL = {
    'onedl-mmengine': '0.10.12',
    'onedl-mmcv': '2.3.6',
    'onedl-mmsegmentation': '1.4.2',
    'onedl-mmpretrain': '1.3.6',
}
OFFICIAL = {'mmengine': '0.10.7', 'mmcv': '2.1.0', 'mmsegmentation': '1.2.2', 'mmpretrain': '1.2.0'}


@pytest.fixture
def install(monkeypatch):
    """Return a function that makes ``importlib.metadata`` know exactly these distributions."""

    def fake(distributions: dict[str, str]) -> None:
        def version(name: str) -> str:
            if name not in distributions:
                raise importlib.metadata.PackageNotFoundError(name)
            return distributions[name]

        monkeypatch.setattr(importlib.metadata, 'version', version)

    return fake


@pytest.mark.parametrize(('distributions', 'stack'), [(ONEDL, 'onedl'), (OFFICIAL, 'openmmlab')])
def test_complete_stack_is_named(install, distributions, stack):
    install(distributions)
    assert compat.find_stack() == stack


def without(distributions: dict[str, str], *names: str) -> dict[str, str]:
    return {name: version for name, version in distributions.items() if name not in names}


@pytest.mark.parametrize(
    ('distributions', 'words'),
    [
        pytest.param(
            {},
            ['none of them', '`pip install onedl-mmengine onedl-mmcv onedl-mmsegmentation onedl-mmpretrain`'],
            id='none',
        ),
        pytest.param(
            ONEDL | OFFICIAL,
            ['two OpenMMLab families', 'onedl-mmcv 2.3.6', 'mmcv 2.1.0', 'pip uninstall -y'],
            id='both',
        ),
        pytest.param(
            without(ONEDL, 'onedl-mmcv') | {'mmcv': '2.1.0'},
            ['two OpenMMLab families', 'pip uninstall -y onedl-mmengine onedl-mmsegmentation onedl-mmpretrain mmcv`'],
            id='mixed',
        ),
        pytest.param(
            without(ONEDL, 'onedl-mmpretrain', 'onedl-mmcv'),
            ['without onedl-mmcv, onedl-mmpretrain:', '`pip install onedl-mmcv onedl-mmpretrain`'],
            id='partial onedl',
        ),
        pytest.param(
            without(OFFICIAL, 'mmpretrain'),
            ['mmengine 0.10.7', 'without mmpretrain:', '`pip install mmpretrain`'],
            id='partial official',
        ),
    ],
)
def test_anything_else_is_one_readable_sentence(install, distributions, words):
    install(distributions)
    with pytest.raises(ImportError) as error:
        compat.prepare()
    message = str(error.value)
    assert all(word in message for word in words), message
    assert '\n' not in message
    assert message.endswith('.')


def test_official_stack_on_new_python(install, monkeypatch):
    install(OFFICIAL)
    monkeypatch.setattr(compat.sys, 'version_info', (3, 14, 0))
    with pytest.raises(ImportError, match=r'cannot build an optimizer on Python 3\.14'):
        compat.prepare()


def test_official_stack_without_pkg_resources(install, monkeypatch):
    install(OFFICIAL)
    monkeypatch.setattr(compat.sys, 'version_info', (3, 11, 7))
    monkeypatch.setattr(compat.importlib.util, 'find_spec', lambda name: None)
    with pytest.raises(ImportError, match='setuptools<82'):
        compat.prepare()


@pytest.mark.parametrize(('stack', 'name'), [('onedl', 'onedl-mmsegmentation'), ('openmmlab', 'mmsegmentation')])
def test_names_of_distributions(monkeypatch, stack, name):
    for module in ('mmseg', 'mmrobust'):
        monkeypatch.setitem(MODULE2PACKAGE, module, 'before')
    monkeypatch.delitem(MODULE2PACKAGE, 'mmrobust')
    compat.name_distributions(stack)
    assert MODULE2PACKAGE['mmseg'] == name
    assert MODULE2PACKAGE['mmrobust'] == 'mmrobust'


def test_checkpoints_are_read_safely_after_import():
    from mmengine.runner.checkpoint import CheckpointLoader

    from mmrobust.checkpoint import load_from_local

    assert CheckpointLoader._get_checkpoint_loader('some.pth') is load_from_local


def test_what_a_module_prints_and_warns_on_import_is_dropped(tmp_path, monkeypatch, capsys):
    (tmp_path / 'chatty_module.py').write_text(
        "import warnings\nprint('Could not import it')\nwarnings.warn('no operators')\nVALUE = 7\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        compat.import_quietly('chatty_module')
    assert capsys.readouterr().out == ''
    assert sys.modules['chatty_module'].VALUE == 7

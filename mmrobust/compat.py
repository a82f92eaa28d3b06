"""All differences between the OpenMMLab stacks. Remove a function when its reason is gone.

Two families of distributions provide the same modules ``mmengine``, ``mmcv``, ``mmseg`` and ``mmpretrain``: the OneDL
forks (maintained) and the official OpenMMLab releases. The rest of the project never asks which one is there.
"""

import contextlib
import functools
import importlib
import importlib.metadata
import importlib.util
import sys
import warnings
from pathlib import Path
from typing import Any

# module -> distribution, and the extra of mmrobust that installs the family
STACKS = {
    'onedl': {
        'mmengine': 'onedl-mmengine',
        'mmcv': 'onedl-mmcv',
        'mmseg': 'onedl-mmsegmentation',
        'mmpretrain': 'onedl-mmpretrain',
    },
    'openmmlab': {'mmengine': 'mmengine', 'mmcv': 'mmcv', 'mmseg': 'mmsegmentation', 'mmpretrain': 'mmpretrain'},
}


def prepare() -> None:
    """Check the installed stack and even out its differences; ``import mmrobust`` calls this once.

    It has to happen before ``Config.fromfile``: a configuration's bases are resolved before its ``custom_imports``.

    Raises:
        ImportError: no OpenMMLab stack is installed, only a part of one, parts of both, or one that cannot work here.
    """
    stack = find_stack()
    if stack == 'openmmlab':
        require_what_official_needs()
    name_distributions(stack)
    find_own_configs()
    from mmrobust.checkpoint import refuse_strangers, register_safe_loader  # which import MMEngine

    register_safe_loader()
    refuse_strangers()
    let_inferencers_load_images()


def find_stack() -> str:
    """Return the name of the one complete stack that is installed, a key of ``STACKS``.

    Both families own the same files, so of two installed ones nobody can say which code runs: the last installation
    wins file by file, and removing either one breaks the other.

    Raises:
        ImportError: there is not exactly one complete stack.
    """
    found = {stack: installed(distributions.values()) for stack, distributions in STACKS.items()}
    present = [stack for stack in STACKS if found[stack]]
    listed = ', '.join(f'{name} {version}' for stack in present for name, version in found[stack].items())
    if not present:
        raise ImportError(
            'mmrobust needs MMEngine, MMCV, MMSegmentation and MMPretrain, but found none of them: '
            f'run `{_install("onedl")}`.'
        )
    if len(present) > 1:
        names = ' '.join(name for stack in present for name in found[stack])
        raise ImportError(
            f'mmrobust found distributions of two OpenMMLab families that overwrite each other ({listed}): '
            f'run `pip uninstall -y {names}` and then `{_install("onedl")}`.'
        )
    stack = present[0]
    missing = [name for name in STACKS[stack].values() if name not in found[stack]]
    if missing:
        raise ImportError(
            f'mmrobust found only a part of an OpenMMLab stack ({listed}) without {", ".join(missing)}: '
            f'run `pip install {" ".join(missing)}`.'
        )
    return stack


def _install(stack: str) -> str:
    # by their own names: mmrobust is not on PyPI, and an installed wheel has no checkout
    return f'pip install {" ".join(STACKS[stack].values())}'


def installed(distributions) -> dict[str, str]:
    """Return the versions of those distributions that are installed (by name: listing all packages takes 0.2 s)."""
    versions = {}
    for name in distributions:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions


def require_what_official_needs() -> None:
    """Official MMEngine builds optimizers with ``pkgutil.find_loader``, and imports ``pkg_resources``.

    Raises:
        ImportError: this is Python 3.14 or newer, which removed the first, or setuptools 82, which removed the second.
    """
    if sys.version_info >= (3, 14):
        raise ImportError(
            f'The official MMEngine cannot build an optimizer on Python {sys.version_info[0]}.{sys.version_info[1]}: '
            f'use Python 3.10 to 3.13, or replace the stack with the one of `{_install("onedl")}`.'
        )
    if importlib.util.find_spec('pkg_resources') is None:
        raise ImportError(
            'The official MMEngine needs pkg_resources, which setuptools 82 removed: run `pip install "setuptools<82"`.'
        )


def name_distributions(stack: str) -> None:
    """Tell MMEngine which distribution a module comes from, for ``_base_ = 'mmseg::...'`` and its error messages.

    Its table knows neither the forks' name of MMSegmentation nor any plugin.
    """
    from mmengine.config.utils import MODULE2PACKAGE

    MODULE2PACKAGE['mmseg'] = STACKS[stack]['mmseg']
    MODULE2PACKAGE.setdefault('mmrobust', 'mmrobust')


def own_file(name: str) -> Path:
    """A file beside the package: in an installation below ``mmrobust/.mim``, else in the checkout around it."""
    package = Path(__file__).parent
    installed = package / '.mim' / name
    return installed if installed.exists() else package.parent / name


def find_own_configs() -> None:
    """Let ``_base_ = 'mmrobust::fan_minicity.py'`` name a config of this project, in a checkout or in a wheel.

    By itself MMEngine takes only configs that lie in a folder, and looks for whatever such a base names in the
    package's own registries: ours hold no ``SegDataPreProcessor``. Our configs name their ``default_scope``.
    """
    from mmengine.config import Config

    original = Config._get_cfg_path

    def find(cfg_path: str, filename: str) -> tuple[str, str | None]:
        package, _, name = cfg_path.partition('::')
        if package != 'mmrobust':
            return original(cfg_path, filename)
        return str(own_file(f'configs/{name}')), None

    Config._get_cfg_path = staticmethod(find)


def let_inferencers_load_images() -> None:
    """Let MMEngine's inferencers, such as ``MMSegInferencer``, run a pipeline that loads with ours.

    They look for the steps that load by their plain names, and put a loader of their own there, which takes half an
    image for a whole one. ``mmrobust.LoadImageFromFile`` takes whatever an inferencer is given; labels are left out.
    """
    from mmengine.dataset import Compose
    from mmengine.infer import BaseInferencer

    original = BaseInferencer._init_model
    if hasattr(original, '__wrapped__'):
        return

    @functools.wraps(original)
    def init_model(self: BaseInferencer, cfg: Any, *args: Any, **kwargs: Any) -> Any:
        model = original(self, cfg, *args, **kwargs)  # which fills an empty cfg from the checkpoint
        steps = cfg.get('test_dataloader', {}).get('dataset', {}).get('pipeline', ())
        if any(step['type'] == 'mmrobust.LoadImageFromFile' for step in steps):
            self._init_pipeline = lambda _: Compose([step for step in steps if 'LoadAnnotations' not in step['type']])
        return model

    BaseInferencer._init_model = init_model


def import_quietly(module: str) -> None:
    """Import a module of the stack without what it prints and warns.

    The forks print a line for a package that nobody needs (they mean it for the debug log, but ``print_log`` without a
    logger prints whatever the level is), and MMCV warns that it has no compiled operators, of which none is used.
    """
    with contextlib.redirect_stdout(None), warnings.catch_warnings():
        warnings.simplefilter('ignore')
        importlib.import_module(module)

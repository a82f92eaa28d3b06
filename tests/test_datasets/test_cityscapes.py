"""What is wrong with a Cityscapes folder is said when the dataset is built."""

import re
import runpy
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from mmrobust.datasets import CityscapesDataset, SeededIndex
from tests.tool_loading import TOOLS

TOOL = TOOLS / 'dataset_converters/cityscapes.py'


def build(root: Path, **kwargs) -> CityscapesDataset:
    prefix = {'img_path': 'leftImg8bit/train', 'seg_map_path': 'gtFine/train'}
    return CityscapesDataset(**({'data_root': str(root), 'data_prefix': prefix} | kwargs))


def write(path: Path, image: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), image)


@pytest.fixture
def root(tmp_path) -> Path:
    """Four images with label ids, 0 to 33 in each, and no train ids."""
    labels = np.tile(np.arange(34, dtype=np.uint8), (4, 1))
    for number in range(4):
        name = f'train/bonn/bonn_{number:06}_000019'
        write(tmp_path / f'leftImg8bit/{name}_leftImg8bit.png', np.zeros((4, 34, 3), np.uint8))
        write(tmp_path / f'gtFine/{name}_gtFine_labelIds.png', labels)
    return tmp_path


@pytest.fixture
def run_tool(monkeypatch, capsys):
    """Run the tool as a command; return what it prints."""

    def run(root: Path) -> str:
        monkeypatch.setattr(sys, 'argv', [str(TOOL), str(root)])
        runpy.run_path(str(TOOL), run_name='__main__')
        return capsys.readouterr().out

    return run


def convert_all(tool, root: Path) -> None:
    for path in root.glob('gtFine/**/*_labelIds.png'):
        tool.convert_file(path, path.with_name(path.name.replace('labelIds', 'labelTrainIds')))


def test_no_root_says_where_it_was_looked_for_and_how_to_get_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError) as info:
        build('data/cityscapes')
    message = str(info.value)
    for part in (
        f'{tmp_path}/data/cityscapes',
        'cityscapes-dataset.com',
        'leftImg8bit_trainvaltest.zip',
        'gtFine_trainvaltest.zip',
        'python tools/dataset_converters/minicity.py',
        'make demo',
    ):
        assert part in message
    assert '\n' not in message


@pytest.mark.parametrize('folder', ['', 'leftImg8bit/train'])
def test_no_image_says_what_was_searched(tmp_path, folder):
    (tmp_path / folder).mkdir(parents=True, exist_ok=True)
    with pytest.raises(ValueError, match=rf'no image {tmp_path}/leftImg8bit/train/\*\*/\*_leftImg8bit\.png'):
        build(tmp_path)


def test_labels_that_are_not_converted_name_the_command(root):
    with pytest.raises(FileNotFoundError) as info:
        build(root)
    message = str(info.value)
    assert message.startswith('4 of 4 images have no label (')
    assert message.count('_gtFine_labelTrainIds.png') == 3 and ', ...)' in message
    assert f'python tools/dataset_converters/cityscapes.py {root}`' in message


def test_missing_labels_name_the_archive(root, tool):
    convert_all(tool, root)
    for path in root.glob('gtFine/**/bonn_000002*'):
        path.unlink()
    with pytest.raises(FileNotFoundError, match=r'^1 of 4 .*bonn_000002_.*gtFine_trainvaltest\.zip is unzipped in'):
        build(root)


def test_the_test_set_needs_no_labels(root):
    dataset = build(root, data_prefix={'img_path': 'leftImg8bit/train'}, test_mode=True)
    assert len(dataset) == 4 and 'seg_map_path' not in dataset[0]


def test_hidden_folders_hold_no_images(root):
    name = 'leftImg8bit/train/bonn/.ipynb_checkpoints/bonn_000000_000019_leftImg8bit.png'
    write(root / name, np.zeros((4, 34, 3), np.uint8))
    assert len(build(root, data_prefix={'img_path': 'leftImg8bit/train'}, test_mode=True)) == 4


def test_the_command_of_the_message_makes_the_dataset_usable(root, run_tool):
    assert '4 labels written, 0 were there already' in run_tool(root)
    sample = build(root)[SeededIndex(0, 1)]
    assert sample['num_classes'] == 19 and sample['ignore_index'] == 255
    label = cv2.imread(sample['seg_map_path'], cv2.IMREAD_UNCHANGED)
    assert [int(value) for value in label[0, [7, 8, 33, 0, 9]]] == [0, 1, 18, 255, 255]
    assert sorted(set(label.ravel().tolist())) == [*range(19), 255]
    before = Path(sample['seg_map_path']).stat().st_mtime_ns
    assert '0 labels written, 4 were there already' in run_tool(root)
    assert Path(sample['seg_map_path']).stat().st_mtime_ns == before


def test_augmentations_of_mmseg_are_a_function_of_the_seed(root, tool):
    convert_all(tool, root)
    random = np.random.default_rng(0)
    for path in root.glob('leftImg8bit/**/*.png'):
        write(path, random.integers(0, 256, (4, 34, 3), dtype=np.uint8))
    dataset = build(
        root,
        pipeline=[
            {'type': 'mmrobust.LoadImageFromFile'},
            {'type': 'mmrobust.LoadAnnotations'},
            {'type': 'RandomResize', 'scale': (64, 32), 'ratio_range': (0.5, 2.0), 'keep_ratio': True},
            {'type': 'mmseg.RandomCrop', 'crop_size': (3, 10), 'cat_max_ratio': 0.75},
            {'type': 'RandomFlip', 'prob': 0.5},
            {'type': 'mmseg.PhotoMetricDistortion'},
            {'type': 'mmseg.PackSegInputs'},
        ],
    )
    images = [dataset[SeededIndex(1, seed)]['inputs'].numpy() for seed in (5, 5, 6)]
    assert np.array_equal(images[0], images[1])
    assert not np.array_equal(images[0], images[2])


def test_train_ids_are_those_of_the_class_names(tool):
    """Ids and names as published by Cityscapes; the order of the names is MMSegmentation's."""
    names = {
        7: 'road',
        11: 'building',
        17: 'pole',
        19: 'traffic light',
        23: 'sky',
        24: 'person',
        26: 'car',
        31: 'train',
    }
    for label_id, name in names.items():
        assert CityscapesDataset.METAINFO['classes'][tool.TRAIN_IDS[label_id]] == name
    assert tool.convert(np.array([[255, 0, 29, 30]], np.uint8)).tolist() == [[255] * 4]


@pytest.mark.parametrize('content', [b'', b'\x89PNG\r\n\x1a\n broken'])
def test_tool_refuses_broken_labels(root, tool, content):
    path = next(root.glob('gtFine/**/*_labelIds.png'))
    path.write_bytes(content)
    with pytest.raises(ValueError, match=f'{path.name} must be a greyscale'):
        tool.convert_file(path, root / 'x.png')
    assert not (root / 'x.png').exists()


def test_tool_refuses_other_values(root, tool):
    path = next(root.glob('gtFine/**/*_labelIds.png'))
    write(path, np.full((2, 2), 34, np.uint8))
    with pytest.raises(ValueError, match='0 to 33 or 255, but has 34'):
        tool.convert_file(path, root / 'x.png')


def test_tool_without_labels(tmp_path, run_tool, capsys):
    with pytest.raises(SystemExit, match='2'):
        run_tool(tmp_path)
    assert re.search(rf'error: There is no {tmp_path}/gtFine.*gtFine_trainvaltest\.zip', capsys.readouterr().err)


def test_tool_names_the_broken_file_and_stops(root, run_tool, capsys):
    path = sorted(root.glob('gtFine/**/*_labelIds.png'))[1]
    path.write_bytes(b'')
    with pytest.raises(SystemExit, match='2'):
        run_tool(root)
    assert f'{path.name} must be a greyscale' in capsys.readouterr().err
    assert len(list(root.glob('gtFine/**/*_labelTrainIds.png'))) == 1

"""The data set of one's own in docs/how-to/datasets.md, on a shipped config."""

import re
import sys

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmseg.registry import DATASETS

import mmrobust.datasets  # noqa: F401 (registers the loaders)
from tests.tiny_segmentation import REPO, TINY_SEGMENTATION
from tests.tool_loading import load_tool

LOAD = [dict(type='mmrobust.LoadImageFromFile'), dict(type='mmrobust.LoadAnnotations')]


def write(folder, split: str, values: list[int]) -> None:
    for kind, array in (('', np.full((32, 64, 3), 90, np.uint8)), ('annot', np.resize(values, (32, 64)))):
        (folder / f'{split}{kind}').mkdir(parents=True, exist_ok=True)
        for name in 'abc':
            assert cv2.imwrite(str(folder / f'{split}{kind}' / f'{name}.png'), array.astype(np.uint8))


@pytest.fixture
def example(tmp_path, monkeypatch):
    """The two files of the documentation, the network and the crops made small."""
    section = (REPO / 'docs/how-to/datasets.md').read_text().split('## Your own classes')[1]
    module, config = re.findall('```python\n(.*?)```', section, re.S)[:2]
    (tmp_path / 'camvid.py').write_text(module)
    (tmp_path / 'tiny.py').write_text(TINY_SEGMENTATION)
    config = config.replace('mmrobust::fan_minicity.py', './tiny.py').replace('data/camvid', str(tmp_path / 'data'))
    (tmp_path / 'own.py').write_text(config)
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    sys.modules.pop('camvid', None)
    DATASETS.module_dict.pop('CamVid', None)


def train(example, run: str, iters: int, *options: str) -> dict[str, torch.Tensor]:
    settings = [f'train_cfg.max_iters={iters}', 'train_cfg.val_interval=4', 'default_hooks.checkpoint.interval=2']
    settings += ['train_dataloader.num_workers=0', 'val_dataloader.num_workers=0', 'train_dataloader.batch_size=2']
    load_tool('train.py').main(
        [str(example / 'own.py'), '--work-dir', str(example / run), *options, '--cfg-options', *settings]
    )
    return torch.load(example / run / f'iter_{iters}.pth', weights_only=False)['state_dict']


def test_it_trains_validates_and_resumes_exactly(example):
    write(example / 'data', 'train', [*range(12)])
    write(example / 'data', 'val', [*range(12)])
    whole = train(example, 'whole', 4)
    (example / 'part').mkdir()
    (example / 'part/iter_2.pth').write_bytes((example / 'whole/iter_2.pth').read_bytes())
    resumed = train(example, 'part', 4, '--resume')
    assert all(torch.equal(whole[key], resumed[key]) for key in whole)
    data = DATASETS.build(Config.fromfile(example / 'own.py').val_dataloader.dataset)
    assert sorted(np.unique(data[0]['data_samples'].gt_sem_seg.data)) == [*range(11), 255]


def test_a_value_that_is_no_class_is_named(example, capsys):
    write(example / 'data', 'train', [*range(12), 30])
    write(example / 'data', 'val', [*range(12)])
    with pytest.raises(SystemExit) as stopped:
        train(example, 'run', 2)
    assert stopped.value.code == 2
    assert re.search(
        r'annot/[abc].png has the values 30, but only 0 to 11 and 255 are allowed: name a class for every value',
        capsys.readouterr().err.splitlines()[-1],
    )


@pytest.mark.parametrize(
    ('kind', 'metainfo', 'values', 'wrong'),
    [
        ('BaseSegDataset', dict(classes=['a', 'b']), [0, 1, 255], None),
        ('BaseSegDataset', dict(classes=['a', 'b']), [0, 2], '2, but only 0 to 1 and 255'),
        ('BaseSegDataset', {}, [0, 77], None),  # it names no classes
        ('ADE20KDataset', None, [0, 150], None),  # 0 is ignored there
        ('ADE20KDataset', None, [151], '151, but only 0 to 150 and 255'),
    ],
)
def test_every_dataset_of_mmsegmentation_is_checked(tmp_path, kind, metainfo, values, wrong):
    write(tmp_path, 'train', values)
    dataset = DATASETS.build(
        dict(
            type=kind,
            data_prefix=dict(img_path=str(tmp_path / 'train'), seg_map_path=str(tmp_path / 'trainannot')),
            pipeline=LOAD,
            metainfo=metainfo,
            img_suffix='.png',
        )
    )
    if wrong is None:
        assert dataset[0]['gt_seg_map'].shape == (32, 64)
    else:
        with pytest.raises(ValueError, match=wrong):
            dataset[0]

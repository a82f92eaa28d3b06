"""What data are called, and which data a checkpoint says that it was trained on."""

import pytest

from mmrobust.datasets.titles import data_title, trained_on

PREFIX = dict(img_path='leftImg8bit/val', seg_map_path='gtFine/val')


def test_one_format_of_three_data_sets(tmp_path):
    """Real Cityscapes is known by its cities wherever it lies, MiniCity by what its writer leaves."""
    for folder, city in (('a', 'frankfurt'), ('b', 'kielbruck'), ('own', 'hometown')):
        (tmp_path / folder / 'leftImg8bit/val' / city).mkdir(parents=True)
    (tmp_path / 'b/minicity.json').touch()
    config = dict(type='mmrobust.CityscapesDataset', data_prefix=PREFIX)
    assert data_title(config | dict(data_root=f'{tmp_path}/a/')) == 'Cityscapes val'
    assert data_title(config | dict(data_root=f'{tmp_path}/b')) == 'MiniCity val'
    assert data_title(config | dict(data_root=f'{tmp_path}/own')) == 'own val'
    assert data_title(dict(type='mmrobust.ACDCDataset', data_root=f'{tmp_path}/b/acdc', split='train')) == (
        'MiniCity train'
    )


@pytest.mark.parametrize(
    ('config', 'title'),
    [
        (dict(type='mmrobust.ACDCDataset', data_root='/none/x', split='val'), 'ACDC val'),
        (dict(type='mmrobust.CityscapesDataset', data_root='/none/cityscapes/', data_prefix=PREFIX), 'Cityscapes val'),
        (dict(type='CityscapesDataset', data_root='/none/mine', data_prefix=PREFIX), 'mine val'),
        (dict(type='CityscapesDataset', data_root='/none/cityscapes', img_dir='leftImg8bit/train'), 'Cityscapes train'),
        (dict(type='mmrobust.ImageFolder', data_root='/none/digits/train'), 'digits train'),
        (dict(type='BaseSegDataset', data_root='/none/camvid', data_prefix=dict(img_path='test')), 'camvid test'),
        (dict(type='ADE20KDataset', data_root='/none/a', data_prefix=dict(img_path='images/validation')),
         'ADE20K validation'),
        (dict(type='mmpretrain.ImageNet', data_root='/none/in1k', split='train'), 'ImageNet train'),
        (dict(type='RepeatDataset', times=2, dataset=dict(type='ADE20KDataset')), 'ADE20K'),
        (dict(type='ConcatDataset', datasets=[dict(type='ADE20KDataset'), dict(type='ACDCDataset', split='val')]),
         'ADE20K + ACDC val'),
        (dict(type='BaseSegDataset', data_root='/none/\x1b[31m' + 'x' * 99), '[31m' + 'x' * 56),
    ],
)  # fmt: skip
def test_title(config, title):
    assert data_title(config) == title


NEW = "n = 2\ntrain_dataloader = dict(batch_size=1, dataset=dict(type='ACDCDataset', split='train'))\nx = abs(-1)\n"
OLD = "data = dict(train=dict(type='CityscapesDataset', data_root='/none/cityscapes/', img_dir='leftImg8bit/train'))"
OWN = dict(train_dataloader=dict(dataset=dict(type='ADE20KDataset', data_prefix=dict(img_path='images/training'))))


@pytest.mark.parametrize(
    ('meta', 'config', 'said'),
    [
        (dict(cfg=NEW), OWN, 'ACDC train, as its checkpoint says'),
        (dict(config=OLD), {}, 'Cityscapes train, as its checkpoint says'),
        ({}, OWN, 'ADE20K training, as the config says'),
        (dict(cfg='work_dir = "x"'), {}, 'unknown'),
        (dict(cfg='train_dataloader = __import__("os").system("false")'), {}, 'unknown'),
        (dict(cfg='train_dataloader = dict(dataset=3)\n\x00'), {}, 'unknown'),
        (dict(cfg='x = ' + '[' * 5000), {}, 'unknown'),
        (dict(cfg=3), dict(train_dataloader=None), 'unknown'),
    ],
)
def test_trained_on(meta, config, said):
    """The text is read, never run."""
    assert trained_on(meta, config) == said

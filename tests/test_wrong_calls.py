"""What wrong calls print: one sentence, which names what was got and what to do, and exit code 2.

The tables below are to be read. HERE is the current folder, DATA a folder with a data set of three images, CONFIG a
config that names it, CHECKPOINT weights for it, EVALUATE the options ``--device cpu --num-workers 0 --out out``.
"""

import shlex
import sys

import pytest
import torch
from mmengine.config import Config
from mmseg.registry import MODELS

import mmrobust
from mmrobust.corruptions import CORRUPTIONS
from mmrobust.datasets import ACDCDataset, CityscapesDataset, ImageFolder
from mmrobust.datasets.transforms import Corrupt
from mmrobust.models.backbones import FAN
from mmrobust.models.layers import TokenAwareAvgPool
from mmrobust.models.losses import AttentionDiversificationLoss
from tests.test_tools import CONFIG, config, forget, forget_instances  # noqa: F401 (fixtures)
from tests.tool_loading import load_tool

ACDC = (
    'unzip rgb_anon_trainvaltest.zip and gt_trainval.zip from https://acdc.vision.ee.ethz.ch there, or draw MiniCity '
    'with '
    '`python tools/dataset_converters/minicity.py`, whose data/minicity/acdc is a small stand-in.'
)
CITYSCAPES = (
    'unzip leftImg8bit_trainvaltest.zip and gtFine_trainvaltest.zip from https://www.cityscapes-dataset.com there, '
    'or draw '
    'MiniCity, a small stand-in, with `python tools/dataset_converters/minicity.py` (`make demo-full` does it for you).'
)
NO_PATH = 'check the path, seen from HERE.'
NO_DATA = 'check the path, seen from HERE, or data_root and data_prefix of the config.'
NO_TORCH = 'is truncated or no PyTorch checkpoint (KeyError 101): copy it again, or give another file.'
PAIRS = '--cfg-options takes key=value pairs, but got'

# the command after ``python tools/``, and what it prints after ``error: ``; ... stands for more
TOOLS = [
    # a wrong path
    ('train.py nonfig.py', f"There is no config file 'nonfig.py': {NO_PATH}"),
    ('train.py DATA/tou.py', "There is no config file 'DATA/tou.py': perhaps 'DATA/toy.py' is meant."),
    ('train.py CONFIG --resume iter_9.pth', f"There is no checkpoint 'iter_9.pth': {NO_PATH}"),
    ('test.py CONFIG none.pth', f"There is no checkpoint 'none.pth': {NO_PATH}"),
    ('image_demo.py none.png CONFIG CHECKPOINT', f"There is no image or folder 'none.png': {NO_PATH}"),
    ('export_onnx.py CONFIG none.pth --out m.onnx', f"There is no checkpoint 'none.pth': {NO_PATH}"),
    ('misc/print_config.py confgis/toy.py', f"There is no config file 'confgis/toy.py': {NO_PATH}"),
    ('analysis_tools/visualize_attention.py --model a CONFIG none.pth --out o',
     f"There is no checkpoint 'none.pth': {NO_PATH}"),
    ('analysis_tools/attention_statistics.py --model a nonfig.py CHECKPOINT --out o',
     f"There is no config file 'nonfig.py': {NO_PATH}"),
    ('analysis_tools/compare_robustness.py none',
     "There are no results 'none': a run writes them when all its cells are finished."),
    ('analysis_tools/plot_sweep.py --series TAP 1=none --out sweep', f"There is no results file 'none': {NO_PATH}"),
    ('model_converters/fan2mmrobust.py none.pth x.pth', f"There is no checkpoint 'HERE/none.pth': {NO_PATH}"),
    ('model_converters/to_hub.py CONFIG none.pth hub', f"There is no checkpoint 'HERE/none.pth': {NO_PATH}"),
    ('reproduce.py IV --results none', "There is no results.json in 'none': evaluate_robustness.py writes it."),
    ('evaluate_robustness.py CONFIG CHECKPOINT EVALUATE --worst-of none.json',
     "There are no results 'none.json': a run writes them when all its cells are finished."),
    # no data
    ('train.py CONFIG --cfg-options train_dataloader.dataset.data_root=data/none',
     f"There is no 'data/none/images': {NO_DATA}"),
    ('test.py CONFIG CHECKPOINT --cfg-options test_dataloader.dataset.data_prefix.img_path=imgs',
     f"There is no 'DATA/imgs': {NO_DATA}"),
    ('test.py CONFIG CHECKPOINT --cfg-options test_dataloader.dataset.data_prefix.seg_map_path=gone',
     'There is nothing to measure: of 3 label files none is there, such as DATA/gone/toy_0_gtFine_labelTrainIds.png; '
     '--out '
     'DIR writes the predictions, and --out NAME.zip packs them for the server of Cityscapes or ACDC.'),
    ('misc/browse_dataset.py CONFIG --output-dir o --cfg-options train_dataloader.dataset.data_root=data/none',
     f"There is no 'data/none/images': {NO_DATA}"),
    ('evaluate_robustness.py CONFIG CHECKPOINT EVALUATE --benchmark acdc --data-root data/acd',
     f'There is no ACDC in HERE/data/acd: {ACDC}'),
    ('evaluate_robustness.py CONFIG CHECKPOINT EVALUATE --corrupted-root data/none',
     'There is no data/none/corrupted.json: a copy of corrupted images is written by `python '
     'tools/dataset_converters/cityscapes_c.py`.'),
    ('analysis_tools/check_submission.py cityscapes test.zip --data-root data/none',
     f'There is no Cityscapes in HERE/data/none: {CITYSCAPES}'),
    ('dataset_converters/cityscapes.py data/none',
     'There is no HERE/data/none/gtFine/**/*_gtFine_labelIds.png: unzip gtFine_trainvaltest.zip from '
     'https://www.cityscapes-dataset.com there.'),
    ('dataset_converters/cityscapes_c.py data/none c',
     'There is no image HERE/data/none/leftImg8bit/val/**/*_leftImg8bit.png: check data_root, --images and --suffix.'),
    # a config that lacks something or has a wrong name in it
    ('train.py DATA/broken.py',
     "The config file 'DATA/broken.py' must be Python, got line 1 ('(' was never closed): correct it there."),
    ('train.py DATA/bare.py',
     'To train, a config must have train_dataloader, train_cfg, optim_wrapper, got no train_dataloader, train_cfg, '
     'optim_wrapper: add what is missing, or name a config of configs/ that has it in _base_.'),
    ('test.py DATA/bare.py CHECKPOINT',
     'To test, a config must have test_dataloader, test_evaluator, test_cfg, got no test_dataloader, test_evaluator, '
     'test_cfg: add what is missing, or name a config of configs/ that has it in _base_.'),
    ('train.py CONFIG --cfg-options model.backbone.type=FANN',
     "A type in the config must be registered, got 'FANN', which is not in the registry mmseg::model: check its "
     "spelling, "
     'and that custom_imports names the package that has it.'),
    ('train.py CONFIG --cfg-options optim_wrapper.optimizer.type=Adan2',
     "optim_wrapper.optimizer.type must be a registered optimizer such as AdamW or SGD, got 'Adan2': check its "
     "spelling, or "
     'name its package in custom_imports.'),
    ('train.py CONFIG --cfg-options model.decode_head.num_classes=4',
     "The model must have as many outputs as the data have classes, got 4 outputs and 19 classes ('road', 'sidewalk', "
     "'building', 'wall', ...): take a model of these classes, or declare which outputs are the classes, as "
     'metainfo.subset of an mmrobust.ImageFolder.'),
    ('misc/print_config.py CONFIG --cfg-options model.backbone',
     f"{PAIRS} 'model.backbone': see print_config.py --help."),
    ('demo.py --cfg-options x', f"{PAIRS} 'x': see demo.py --help."),
    # a checkpoint of something else
    ('test.py CONFIG DATA/text.pth', f'The checkpoint DATA/text.pth (5 bytes) {NO_TORCH}'),
    ('test.py CONFIG DATA/other.pth', 'The checkpoint does not fit the model, keys ... it looks like a checkpoint of '
     'another architecture, so give the config that it was trained with; ...'),
    ('model_converters/rvt2mmrobust.py DATA/text.pth x.pth', f'The checkpoint DATA/text.pth (5 bytes) {NO_TORCH}'),
    ('evaluate_robustness.py CONFIG EVALUATE',
     'a checkpoint is needed, the file or address of weights of the whole model, because the config names none '
     '(pretrained '
     'or init_cfg of the backbone alone leaves the head random)'),
    # a wrong value
    ('train.py CONFIG --launcher slrum',
     "argument --launcher: invalid choice: 'slrum' (choose from 'none', 'pytorch', 'slurm', 'mpi'): see train.py "
     "--help."),
    ('evaluate_robustness.py CONFIG CHECKPOINT EVALUATE --severities 6', 'severity must be 1 to 5, got 6'),
    ('evaluate_robustness.py CONFIG CHECKPOINT EVALUATE --corruptions gausian_noise',
     f"corruption must be one of {', '.join(CORRUPTIONS)}, got 'gausian_noise'"),
    ('evaluate_robustness.py CONFIG CHECKPOINT EVALUATE --benchmark imagenet-c',
     'the benchmark imagenet-c is for models of mmpretrain, but CONFIG is for mmseg: choose from cityscapes-c, acdc, '
     'domain, minicity-weather, adversarial'),
    ('evaluate_robustness.py CONFIG CHECKPOINT EVALUATE --region road --calibration',
     "region must be None with calibration, which counts whole images, got 'road': leave one out"),
    ('evaluate_robustness.py CONFIG CHECKPOINT EVALUATE --benchmark adversarial --region road',
     'region is for the benchmark cityscapes-c, not adversarial: choose that one, or leave region out'),
    ('evaluate_robustness.py CONFIG CHECKPOINT EVALUATE --split val',
     'split is for the benchmark acdc, not cityscapes-c: choose that one, or leave split out'),
    ('evaluate_robustness.py CONFIG CHECKPOINT EVALUATE --shard 3/3', 'a shard must be 0/3 to 2/3, got 3/3'),
    ('evaluate_robustness.py CONFIG CHECKPOINT EVALUATE --max-images 0', 'max_images must be 1 or more, got 0'),
    ('evaluate_robustness.py CONFIG CHECKPOINT --device cuda:77',
     "the device must be cpu or a GPU (...), got 'cuda:77'"),
    ('analysis_tools/attention_statistics.py --model a CONFIG --out o',
     'argument --model: expected 3 arguments: see attention_statistics.py --help.'),
    ('analysis_tools/get_flops.py CONFIG --shape 0',
     '--shape takes one or two positive numbers, but got [0]: see get_flops.py --help.'),
    ('reproduce.py 7', "there is no Table '7': choose from 1, 2, 3, 4, 5, I, II, III, IV, STL"),
    ('dataset_converters/digits.py --out d --size 0', 'size must be 8 or more, got 0'),
    ('dataset_converters/minicity.py --out m --size 10 10',
     'size must be (width, height) of at least (64, 32), got (10, 10)'),
]  # fmt: skip

# Python, the error and what it says
LIBRARY = [
    ("mmrobust.evaluate('none.py')", FileNotFoundError, f"There is no config file 'none.py': {NO_PATH}"),
    ("mmrobust.evaluate('CONFIG', 'cityscapes-d')", ValueError,
     'benchmark must be one of cityscapes-c, acdc, domain, minicity-weather, imagenet-c, imagenet-c-bar, '
     'imagenet-3dcc, tiny-imagenet-c, cifar-10-c, cifar-100-c, imagenet-variants, adversarial, '
     "imagenet-p, got 'cityscapes-d'"),
    ("mmrobust.evaluate('CONFIG', preset='kamman')", ValueError,
     "preset must be one of kamann, michaelis, fan, severity5, got 'kamman'"),
    ("mmrobust.evaluate('CONFIG', batch_size=0)", ValueError, 'batch_size must be 1 or more, got 0'),
    ('mmrobust.evaluate(torch.nn.Linear(2, 2))', TypeError,
     'model must be a segmentor of MMSegmentation, a classifier of MMPretrain or a network of timm, got Linear'),
    ('TokenAwareAvgPool(8, num_branches=0)', ValueError, 'num_branches (K of TAP) must be at least 1, got 0'),
    ('AttentionDiversificationLoss(tau=-1)', ValueError, 'tau of ADL must be 0 or more, got -1'),
    ("Corrupt('fogg', 3)", ValueError, "...got 'fogg'..."),
    ("Corrupt('fog', 9)", ValueError, '...1 to 5...9...'),
    ("FAN(arch='bse_hybrid')", ValueError, "...base_hybrid...got 'bse_hybrid'..."),
    ("CityscapesDataset(data_root='data/none', data_prefix=dict(img_path='x'))", FileNotFoundError,
     f'There is no Cityscapes in HERE/data/none: {CITYSCAPES}'),
    ("ACDCDataset('data/none')", FileNotFoundError, f'There is no ACDC in HERE/data/none: {ACDC}'),
    ("ACDCDataset('data/none', split='validation')", ValueError,
     "split must be one of train, val, test, got 'validation'."),
    ("ImageFolder('data/none')", FileNotFoundError, '...HERE/data/none...see docs/how-to/datasets.md...'),
]  # fmt: skip
NAMES = [mmrobust, torch, ACDCDataset, AttentionDiversificationLoss, CityscapesDataset, Corrupt, FAN, ImageFolder]
NAMES = {of.__name__: of for of in (*NAMES, TokenAwareAvgPool)}


@pytest.fixture(scope='module')
def places(config, tmp_path_factory):  # noqa: F811
    """What the words in capitals stand for."""
    here, data = tmp_path_factory.mktemp('here'), config.rpartition('/')[0]
    model = MODELS.build(Config.fromfile(config).model | dict(_scope_='mmseg'))
    torch.save({'state_dict': model.state_dict()}, f'{data}/weights.pth')
    torch.save({'state_dict': {'backbone.x': torch.zeros(3)}}, f'{data}/other.pth')
    start, end = CONFIG.index('crop_size ='), CONFIG.index('load = ')
    texts = {
        'bare.py': f"default_scope = 'mmseg'\n{CONFIG[start:end]}",
        'broken.py': 'model = dict(\n',
        'text.pth': 'hello',
    }
    for name, text in texts.items():
        with open(f'{data}/{name}', 'w', encoding='utf-8') as file:
            file.write(text)
    evaluate = '--device cpu --num-workers 0 --out out'
    return {
        'EVALUATE': evaluate,
        'CONFIG': config,
        'CHECKPOINT': f'{data}/weights.pth',
        'DATA': data,
        'HERE': str(here),
    }


def filled(text: str, places: dict[str, str]) -> str:
    for word, place in places.items():
        text = text.replace(word, place)
    return text


def fits(said: str, expected: str) -> bool:
    """Whether a sentence has all parts of another, in order; between them ``...`` stands for anything."""
    first, *rest = expected.split('...')
    if not rest:
        return said == expected
    place = len(first) if said.startswith(first) else -1
    for part in rest:
        place = said.find(part, place) + len(part) if place >= 0 and part in said[place:] else -1
    return place >= 0


@pytest.mark.parametrize(('command', 'expected'), TOOLS, ids=[command for command, _ in TOOLS])
def test_tools(command, expected, places, monkeypatch, capsys):
    monkeypatch.chdir(places['HERE'])
    name, *argv = shlex.split(filled(command, places))
    monkeypatch.setattr(sys, 'argv', [f'tools/{name}', *argv])
    with pytest.raises(SystemExit) as stopped:
        load_tool(name).main(argv)
    assert stopped.value.code == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if 'error: ' in line]
    assert len(lines) == 1 and fits(lines[0].partition('error: ')[2], filled(expected, places)), lines


@pytest.mark.parametrize(('call', 'kind', 'expected'), LIBRARY, ids=[call for call, *_ in LIBRARY])
def test_library(call, kind, expected, places, monkeypatch):
    monkeypatch.chdir(places['HERE'])
    with pytest.raises(kind) as stopped:
        eval(filled(call, places), dict(NAMES))
    said = str(stopped.value)
    assert fits(said, filled(expected, places)) and '\n' not in said, said

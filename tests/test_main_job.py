"""The main job as a user runs it: tools/train.py on Cityscapes-format data, with TAP and ADL, tiny."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time

import cv2
import numpy as np
import pytest
import torch

from mmrobust.datasets.minicity import MiniCityParams, write_minicity
from performance.model_cases import prediction, training_step
from tests.tiny_segmentation import REPO, TINY_SEGMENTATION
from tests.tool_loading import load_tool

MAX_ITERS = 6
CONFIG = f"""{TINY_SEGMENTATION}
train_dataloader = dict(batch_size=2, dataset=dict(data_root='DATA', pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(data_root='DATA'))
test_dataloader = val_dataloader
train_cfg = dict(max_iters={MAX_ITERS}, val_interval={MAX_ITERS})
default_hooks = dict(logger=dict(interval=1), checkpoint=dict(interval=2, max_keep_ckpts=10))
"""


@pytest.fixture(scope='module')
def data_root(tmp_path_factory):
    root = tmp_path_factory.mktemp('data') / 'minicity'
    write_minicity(root, MiniCityParams(num_train=4, num_val=2, num_acdc=0, size=(64, 32)))
    return root


@pytest.fixture
def config_file(tmp_path, data_root):
    path = tmp_path / 'tiny.py'
    path.write_text(CONFIG.replace('DATA', str(data_root)))
    return path


def _start(config_file, work_dir, *options):
    command = [sys.executable, 'tools/train.py', str(config_file), '--work-dir', str(work_dir), *options]
    env = os.environ | {'OMP_NUM_THREADS': '1'}
    return subprocess.Popen(
        command, cwd=REPO, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )


def _finish(process):
    output, _ = process.communicate(timeout=300)
    return process.returncode, output


def _losses(work_dir):
    """What was logged for each iteration, by the run that reached it last."""
    losses = {}
    for file in sorted(work_dir.glob('*/vis_data/scalars.json')):
        for line in file.read_text().splitlines():
            entry = json.loads(line) if line.endswith('}') else {}
            if 'loss' in entry:
                losses[entry['step']] = {key: value for key, value in entry.items() if 'loss' in key}
    return losses


def test_killed_and_resumed_it_ends_with_the_same_losses(config_file, tmp_path):
    code, output = _finish(_start(config_file, tmp_path / 'undisturbed'))
    assert code == 0, output[-3000:]
    expected = _losses(tmp_path / 'undisturbed')
    assert sorted(expected) == list(range(1, MAX_ITERS + 1))
    assert all(entry['loss_adl'] > 0 for entry in expected.values())

    process = _start(config_file, tmp_path / 'killed')
    deadline = time.monotonic() + 300
    while not (tmp_path / 'killed/iter_2.pth').exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    assert (tmp_path / 'killed/iter_2.pth').exists()
    assert not (tmp_path / f'killed/iter_{MAX_ITERS}.pth').exists(), 'killed too late to prove anything'

    code, output = _finish(_start(config_file, tmp_path / 'killed', '--resume'))
    assert code == 0 and 'resumed' in output, output[-3000:]
    assert _losses(tmp_path / 'killed') == expected
    final = [
        torch.load(tmp_path / run / f'iter_{MAX_ITERS}.pth', weights_only=False)['state_dict']
        for run in ('undisturbed', 'killed')
    ]
    assert all(torch.equal(final[0][key], final[1][key]) for key in final[0])


@pytest.mark.slow
def test_two_processes_train_without_unused_parameters(config_file, tmp_path):
    command = ['-m', 'torch.distributed.run', '--nproc_per_node', '2', '--master_port', '29713', 'tools/train.py']
    options = [str(config_file), '--launcher', 'pytorch', '--work-dir', str(tmp_path / 'work')]
    result = subprocess.run(
        [sys.executable, *command, *options],
        cwd=REPO,
        env=os.environ | {'OMP_NUM_THREADS': '1'},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert result.returncode == 0, (result.stdout + result.stderr)[-3000:]
    assert sorted(_losses(tmp_path / 'work')) == list(range(1, MAX_ITERS + 1))


def test_measured_step(config_file):
    """What the benchmark runs is a real step of this model, and the same one in the released form."""
    ours, released = (training_step(str(config_file), {}, 64, 1, form, repeats=1) for form in ('ours', 'released'))
    assert ours.without_gradient == released.without_gradient == []
    assert ours.losses['loss_adl'] > 0
    assert released.losses == pytest.approx(ours.losses, rel=1e-4)
    assert prediction(str(config_file), {}, 20, 70, repeats=1).seconds > 0


def test_damaged_last_checkpoint(config_file, tmp_path):
    """--resume takes the checkpoint before a damaged one, also after the run's folder has moved."""
    work = tmp_path / 'work'
    code, output = _finish(_start(config_file, work, '--no-validate', '--cfg-options', 'train_cfg.max_iters=4'))
    assert code == 0, output[-3000:]
    damaged = work / 'iter_4.pth'
    damaged.write_bytes(damaged.read_bytes()[:5000])
    moved = work.rename(tmp_path / 'moved')
    code, output = _finish(_start(config_file, moved, '--no-validate', '--resume'))
    assert code == 0, output[-3000:]
    assert 'resuming from' in output and 'iter_2.pth' in output
    assert sorted(_losses(moved))[-1] == MAX_ITERS

    command = ['tools/test.py', str(config_file), str(moved / f'iter_{MAX_ITERS}.pth'), '--tta', '--work-dir']
    result = subprocess.run([sys.executable, *command, str(tmp_path)], cwd=REPO, capture_output=True, text=True)
    assert result.returncode == 0 and 'mIoU' in result.stdout, result.stderr[-3000:]


def test_loss_that_is_not_finite_is_one_sentence(config_file, tmp_path):
    options = ['optim_wrapper.optimizer.lr=1e30', 'param_scheduler=None', 'optim_wrapper.clip_grad=None']
    code, output = _finish(_start(config_file, tmp_path, '--no-validate', '--cfg-options', *options))
    assert code == 2
    assert re.search(r'train.py: error: .*loss', output) and 'Traceback' not in output, output[-3000:]


def _damage_image(root):
    file = next((root / 'leftImg8bit/train').rglob('*.png'))
    file.write_bytes(file.read_bytes()[:-20])


def _damage_label(root):
    file = next((root / 'gtFine/train').rglob('*_labelTrainIds.png'))
    cv2.imwrite(str(file), np.full((32, 64), 33, np.uint8))


@pytest.mark.parametrize(
    ('damage', 'options', 'sentence'),
    [
        (None, ['model.data_preprocessor.size=(40,64)'], 'multiples of 16, got 40 x 64'),
        (None, ['train_dataloader.dataset.data_root=nowhere'], 'There is no Cityscapes in'),
        (None, ['model.backbone.arch=giant'], "'base_hybrid'.* got 'giant'"),
        (None, ['model.backbone.tap_cfg.num_branches=0'], 'at least 1, got 0'),
        (None, ['model.loss_attn.tau=-1'], 'tau of ADL must be 0 or more, got -1'),
        (_damage_image, [], r'_leftImg8bit\.png'),
        (_damage_label, [], r'33'),
    ],
    ids=['crop', 'data_root', 'arch', 'branches', 'tau', 'truncated image', 'label value'],
)
def test_bad_input_is_one_sentence(config_file, tmp_path, data_root, capfd, damage, options, sentence):
    train = load_tool('train.py')
    if damage:
        shutil.copytree(data_root, tmp_path / 'damaged')
        damage(tmp_path / 'damaged')
        options = [*options, f'train_dataloader.dataset.data_root={tmp_path / "damaged"}']
    options += ['train_dataloader.num_workers=0', 'train_dataloader.persistent_workers=False']
    if options[0].startswith('model.data_preprocessor'):
        options.append('train_dataloader.dataset.pipeline.3.crop_size=(40,64)')
    with pytest.raises(SystemExit) as stopped:
        train.main([str(config_file), '--work-dir', str(tmp_path / 'work'), '--cfg-options', *options])
    error = capfd.readouterr().err.splitlines()[-1]
    assert stopped.value.code == 2
    assert re.search(sentence, error), error

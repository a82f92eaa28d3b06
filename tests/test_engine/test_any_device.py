"""Mixed precision and data-parallel training on a machine without CUDA."""

import os
import socket

import pytest
import torch
from mmengine.config import Config
from mmengine.device import get_device
from torch import distributed, nn

from mmrobust.engine.any_device import AnyDeviceDataParallel, BFloat16OptimWrapper
from tests.tool_loading import load_tool

RUNS = load_tool('runs.py')
enable_amp, init_cpu_group = RUNS.enable_amp, RUNS.init_cpu_group


def test_bfloat16_wrapper_computes_in_bfloat16_and_trains_in_float32():
    model = nn.Linear(4, 2).to(get_device())
    before = model.weight.detach().clone()
    wrapper = BFloat16OptimWrapper(optimizer=torch.optim.SGD(model.parameters(), lr=1.0))
    with wrapper.optim_context(model):
        output = model(torch.ones(3, 4, device=get_device()))
    assert output.dtype == torch.bfloat16
    wrapper.update_params(output.float().sum())
    assert model.weight.dtype == torch.float32
    torch.testing.assert_close(model.weight, before - 3.0)


CPU, OLD_GPU, GPU = None, (7, 5), (9, 0)
BFLOAT16 = {'type': 'BFloat16OptimWrapper'}
FLOAT16 = {'type': 'AmpOptimWrapper', 'dtype': 'float16', 'loss_scale': 'dynamic'}


@pytest.fixture
def amp(monkeypatch):
    """The wrapper that ``enable_amp`` makes of another one on a device, which is its compute capability."""

    def switched(device, dtype, wrapper):
        monkeypatch.setattr(torch.cuda, 'is_available', lambda: device is not None)
        monkeypatch.setattr(torch.cuda, 'get_device_capability', lambda _: device)
        config = Config({'optim_wrapper': {'optimizer': {'type': 'SGD'}, **wrapper}})
        enable_amp(config, dtype)
        assert config.optim_wrapper.pop('optimizer') == {'type': 'SGD'}
        return dict(config.optim_wrapper)

    return switched


@pytest.mark.parametrize(
    ('device', 'dtype', 'wrapper', 'expected'),
    [
        (CPU, 'auto', {}, BFLOAT16),
        (GPU, 'auto', {}, BFLOAT16),
        (OLD_GPU, 'auto', {'type': 'OptimWrapper'}, FLOAT16),
        (GPU, 'float16', {}, FLOAT16),
        (OLD_GPU, 'float16', {}, FLOAT16),
        (CPU, 'bfloat16', {'clip_grad': {'max_norm': 1.0}}, BFLOAT16 | {'clip_grad': {'max_norm': 1.0}}),
        # the config's own dtype and scale stay, unless the command line says another
        (
            GPU,
            'auto',
            {'type': 'AmpOptimWrapper', 'dtype': 'float16', 'loss_scale': 512.0},
            FLOAT16 | {'loss_scale': 512.0},
        ),
        (GPU, 'auto', {'type': 'AmpOptimWrapper', 'dtype': 'bfloat16', 'loss_scale': 'dynamic'}, BFLOAT16),
        (GPU, 'auto', {'type': 'AmpOptimWrapper'}, BFLOAT16),
        (CPU, 'auto', {'type': 'AmpOptimWrapper', 'loss_scale': 'dynamic'}, BFLOAT16),
        (GPU, 'float16', {'type': 'AmpOptimWrapper', 'dtype': 'bfloat16'}, FLOAT16),
        (GPU, 'float16', BFLOAT16, FLOAT16),
        (GPU, 'auto', BFLOAT16, BFLOAT16),
    ],
)
def test_mixed_precision_follows_device_config_and_choice(amp, device, dtype, wrapper, expected):
    assert amp(device, dtype, wrapper) == expected


@pytest.mark.parametrize(
    ('device', 'dtype', 'wrapper', 'sentence'),
    [
        (CPU, 'float16', {}, 'on a CPU must be in bfloat16, but got float16'),
        (CPU, 'auto', {'type': 'AmpOptimWrapper', 'dtype': 'float16'}, 'on a CPU must be in bfloat16'),
        (OLD_GPU, 'bfloat16', {}, 'on this GPU must be in float16, but got bfloat16'),
        (GPU, 'auto', {'type': 'AmpOptimWrapper', 'dtype': 'float64'}, 'bfloat16 or float16, but got float64'),
        (GPU, 'auto', {'type': 'ApexOptimWrapper'}, "but got 'ApexOptimWrapper'"),
    ],
)
def test_mixed_precision_that_cannot_be(amp, device, dtype, wrapper, sentence):
    with pytest.raises(ValueError, match=sentence):
        amp(device, dtype, wrapper)


def test_state_of_a_run_with_scaled_losses_is_taken_over():
    model = nn.Linear(4, 2)
    wrapper = BFloat16OptimWrapper(optimizer=torch.optim.SGD(model.parameters(), lr=1.0))
    wrapper.load_state_dict(wrapper.state_dict() | {'loss_scaler': {'scale': 65536.0}})
    assert 'loss_scaler' not in wrapper.state_dict()


@pytest.fixture
def group(tmp_path):
    """A process group of this process alone."""
    distributed.init_process_group('gloo', init_method=f'file://{tmp_path}/store', rank=0, world_size=1)
    yield
    distributed.destroy_process_group()


def test_data_parallel_takes_a_model_on_the_cpu(group):
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.SyncBatchNorm(4))
    wrapped = AnyDeviceDataParallel(model, device_ids=[0], broadcast_buffers=False)
    wrapped(torch.randn(2, 3, 5, 5)).mean().backward()
    assert wrapped.module[0].weight.grad is not None


class TestInitCpuGroup:
    @pytest.fixture(autouse=True)
    def no_cuda(self, monkeypatch):
        monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
        monkeypatch.delenv('RANK', raising=False)

    def test_no_launcher_changes_nothing(self):
        config = Config({'launcher': 'none'})
        init_cpu_group(config)
        assert 'model_wrapper_cfg' not in config
        assert not distributed.is_initialized()

    def test_other_launcher_is_refused(self):
        with pytest.raises(ValueError, match="'none', 'pytorch' or 'slurm', but got 'mpi'"):
            init_cpu_group(Config({'launcher': 'mpi'}))

    def test_process_not_started_by_torchrun_is_refused(self):
        with pytest.raises(ValueError, match='torchrun'):
            init_cpu_group(Config({'launcher': 'pytorch'}))

    def test_process_not_started_by_srun_is_refused(self, monkeypatch):
        monkeypatch.delenv('SLURM_PROCID', raising=False)
        with pytest.raises(ValueError, match='srun'):
            init_cpu_group(Config({'launcher': 'slurm'}))

    @pytest.mark.parametrize('master', [None, '127.0.0.1'])
    def test_slurm(self, monkeypatch, tmp_path, master):
        """Rank 0 of 1, on the first of two nodes; with Slurm's own ``srun`` in ``tests/test_slurm.py``."""
        scontrol = tmp_path / 'scontrol'
        scontrol.write_text('#!/bin/sh\n[ "$*" = "show hostnames localhost,n[2-3]" ] && echo localhost && echo n2\n')
        scontrol.chmod(0o755)
        monkeypatch.setenv('PATH', str(tmp_path))
        with socket.socket() as free:
            free.bind(('127.0.0.1', 0))
            port = str(free.getsockname()[1])
        slurm = {'PROCID': '0', 'NTASKS': '1', 'LOCALID': '0', 'NODELIST': 'localhost,n[2-3]'}
        for name, value in slurm.items():
            monkeypatch.setenv(f'SLURM_{name}', value)
        for name in ('RANK', 'WORLD_SIZE', 'LOCAL_RANK', 'MASTER_ADDR'):
            monkeypatch.setenv(name, 'to be undone after the test')
            monkeypatch.delenv(name)
        monkeypatch.setenv('MASTER_PORT', port)
        if master:
            monkeypatch.setenv('MASTER_ADDR', master)
            scontrol.unlink()
        config = Config({'launcher': 'slurm'})
        try:
            init_cpu_group(config)
            assert (distributed.get_backend(), distributed.get_rank(), distributed.get_world_size()) == ('gloo', 0, 1)
        finally:
            distributed.destroy_process_group()
        assert config.model_wrapper_cfg.type == 'AnyDeviceDataParallel'
        assert [os.environ[name] for name in ('RANK', 'WORLD_SIZE', 'LOCAL_RANK')] == ['0', '1', '0']
        assert (os.environ['MASTER_ADDR'], os.environ['MASTER_PORT']) == (master or 'localhost', port)

"""Compiled training is the same training; what must not change by it does not."""

import copy
import shutil

import pytest
import torch
from mmengine.config import Config
from mmengine.hooks import EMAHook
from mmengine.registry import DefaultScope
from mmengine.structures import PixelData
from mmseg.structures import SegDataSample
from tiny_run import Net, Record, make_runner
from torch import distributed, nn

from mmrobust.checkpoint import load_checkpoint_file
from mmrobust.engine import CompileHook
from mmrobust.engine.any_device import AnyDeviceDataParallel
from mmrobust.engine.compile import explained_compile_errors
from mmrobust.registry import MODELS
from tests.tiny_segmentation import TINY_SEGMENTATION

COMPILE = {'type': 'mmrobust.CompileHook', 'backend': 'aot_eager'}  # traced as for inductor, without its C++ compiler


@pytest.fixture(autouse=True)
def _fresh():
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    yield
    torch._dynamo.reset()


@pytest.fixture(scope='module')
def config(tmp_path_factory) -> Config:
    path = tmp_path_factory.mktemp('config') / 'tiny.py'
    path.write_text(TINY_SEGMENTATION)
    model = Config.fromfile(path).model
    model.backbone.arch.update(depth=1, feature_blocks=(0,))  # tracing takes seconds per block
    return model


def _train(work_dir, config, *hooks, with_cp=False, wrapper='OptimWrapper', accumulate=1, iters=4):
    """Losses of every iteration, and the runner, of the tiny FAN with TAP and ADL on ten random images."""
    config = copy.deepcopy(config)
    config.backbone.with_cp = with_cp
    config.backbone.drop_path_rate = config.decode_head.dropout_ratio = 0.0  # they draw other numbers when compiled
    torch.manual_seed(0)
    with DefaultScope.overwrite_default_scope('mmseg'):
        model = MODELS.build(config)
    torch.manual_seed(1)
    samples = [SegDataSample(gt_sem_seg=PixelData(data=torch.randint(0, 19, (1, 32, 64)))) for _ in range(10)]
    record = Record()
    runner = make_runner(work_dir, record, *hooks, model=model, iters=iters)
    runner._train_dataloader |= dict(
        dataset=[dict(inputs=torch.rand(3, 32, 64) * 255, data_samples=sample) for sample in samples],
        sampler=dict(type='InfiniteSampler', shuffle=True, seed=0),
        collate_fn=dict(type='pseudo_collate'),
    )
    runner.optim_wrapper = dict(
        type=wrapper,
        optimizer=dict(type='AdamW', lr=1e-3),
        accumulative_counts=accumulate,
        clip_grad=dict(max_norm=1.0),
    )
    runner.train()
    return record.losses, runner


PLAIN = {}
WITH_CP = {'with_cp': True}
AMP = {'wrapper': 'BFloat16OptimWrapper', 'accumulate': 2}


@pytest.mark.parametrize(
    'settings',
    [pytest.param(PLAIN, marks=pytest.mark.slow), WITH_CP, pytest.param(AMP, marks=pytest.mark.slow)],
    ids=['plain', 'with_cp', 'amp and accumulation'],
)
def test_losses_of_fan_are_those_of_eager_training(tmp_path, config, settings):
    eager, runner = _train(tmp_path / 'eager', config, **settings)
    looks = dict(type='mmrobust.DiversificationLogHook', interval=2)  # not compiled, and the training is the same
    compiled, compiled_runner = _train(tmp_path / 'compiled', config, COMPILE, looks, **settings)
    assert compiled_runner.message_hub.get_scalar('train/adl_gradient').current() > 0
    assert len(compiled) == 4 and compiled[0] != compiled[3]
    # float32, whose last digit depends on the order in which gradients are added up
    tolerance = 1e-2 if settings is AMP else 2e-6
    torch.testing.assert_close(compiled, eager, rtol=tolerance, atol=tolerance)
    expected, found = (one.model.state_dict() for one in (runner, compiled_runner))
    assert list(found) == list(expected)
    counters = torch._dynamo.utils.counters
    assert counters['stats']['unique_graphs'] == 5  # a line to try the compiler, stem, block, class block, head
    assert not counters['graph_break']


class Parts(Net):
    """The network in two parts, called as MMSegmentation calls them."""

    def __init__(self) -> None:
        super().__init__()
        body = self._modules.pop('body')
        self.backbone, self.decode_head = body[:-1], body[-1:]

    def body(self, inputs: torch.Tensor) -> torch.Tensor:
        return self.decode_head.forward(self.backbone(inputs))


def _train_parts(work_dir, *hooks, **kwargs):
    record = Record()
    runner = make_runner(work_dir, record, *hooks, model=Parts(), **kwargs)
    runner.train()
    return record.losses, runner


def test_checkpoints_resume_compiled_and_not(tmp_path):
    """The same losses bit by bit, dropout included."""
    whole, _ = _train_parts(tmp_path, COMPILE, checkpoint={'max_keep_ckpts': -1})
    assert len(set(whole.values())) == 10
    for hooks in ((COMPILE,), ()):
        (tmp_path / 'last_checkpoint').write_text(str(tmp_path / 'iter_4.pth'))
        resumed, _ = _train_parts(tmp_path, *hooks, {'type': 'mmrobust.StrictLoadHook'}, resume=True)
        assert resumed == {iteration: whole[iteration] for iteration in range(4, 10)}


def test_averaged_model_is_not_compiled(tmp_path):
    _, runner = _train_parts(tmp_path, COMPILE, dict(type='EMAHook', momentum=0.1))
    (ema,) = [hook.ema_model for hook in runner.hooks if isinstance(hook, EMAHook)]
    assert 'forward' in vars(runner.model.backbone) and 'forward' not in vars(ema.module.backbone)
    weights = load_checkpoint_file(tmp_path / 'iter_10.pth')['state_dict']
    assert weights.keys() == runner.model.state_dict().keys()


def test_lists_of_heads_are_compiled_one_by_one(tmp_path):
    class Cascade(Net):
        def __init__(self) -> None:
            super().__init__()
            self.auxiliary_head = nn.ModuleList([nn.Linear(2, 2), nn.Linear(2, 2)])

    model = Cascade()
    make_runner(tmp_path, COMPILE, model=model, iters=1).train()
    assert all('forward' in vars(head) for head in model.auxiliary_head)


def test_says_what_was_compiled_and_that_it_rarely_pays_on_a_cpu(tmp_path, capsys):
    _train_parts(tmp_path, COMPILE, iters=1, log_level='INFO')
    printed = ''.join(capsys.readouterr())
    assert ('rarely pays on a CPU' in printed) == (not torch.cuda.is_available())
    assert 'Compiled backbone, decode_head: 2 graphs with 0 breaks' in printed


def test_says_what_is_no_cuda_graph(tmp_path, capsys):
    def backend(graph, inputs):
        torch._dynamo.utils.counters['inductor']['cudagraph_skips'] += 1  # as inductor does
        return graph

    for cuda_graphs in (False, True):
        torch._dynamo.reset()
        hook = CompileHook(backend=backend)
        hook.cuda_graphs = cuda_graphs
        losses, _ = _train_parts(tmp_path, hook)
        assert len(losses) == 10
        printed = ''.join(capsys.readouterr())
        assert ('2 times a compiled graph was not recorded as a CUDA graph' in printed) == cuda_graphs


@pytest.fixture
def group(tmp_path):
    """A process group of this process alone."""
    distributed.init_process_group('gloo', init_method=f'file://{tmp_path}/store', rank=0, world_size=1)
    yield
    distributed.destroy_process_group()


def test_data_parallel(tmp_path, group):
    losses = []
    for hooks in ((), (COMPILE,)):
        record = Record()
        torch.manual_seed(0)
        model = AnyDeviceDataParallel(Parts(), device_ids=None)
        make_runner(tmp_path, record, *hooks, model=model, launcher='pytorch').train()
        assert bool(hooks) == ('forward' in vars(model.module.backbone))
        losses.append(record.losses)
    assert losses[0] == losses[1]


class TestMistakes:
    def test_cuda_graphs_need_cuda(self, monkeypatch):
        monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
        with pytest.raises(ValueError, match='needs CUDA, and there is none'):
            CompileHook(cuda_graphs=True)

    def test_cuda_graphs_do_not_accumulate(self, tmp_path):
        hook = CompileHook(backend='aot_eager')
        hook.cuda_graphs = True
        with pytest.raises(ValueError, match='must go with accumulative_counts=1, got 2'):
            _train_parts(tmp_path, hook, accumulative_counts=2)

    def test_model_without_the_parts(self, tmp_path):
        with pytest.raises(ValueError, match='but Net has no backbone, neck, decode_head, auxiliary_head, head;'):
            make_runner(tmp_path, COMPILE).train()
        with pytest.raises(ValueError, match='but Parts has no nek;'):
            _train_parts(tmp_path, COMPILE | {'parts': ['backbone', 'nek']})

    def test_unknown_option(self):
        with pytest.raises(TypeError, match='got mod'):
            CompileHook(mod='reduce-overhead')

    def test_no_compiler_is_one_sentence_before_the_first_iteration(self, tmp_path):
        def broken(*args):
            raise RuntimeError('No working C++ compiler found\nand more')

        record = Record()
        with pytest.raises(
            ValueError, match=r'does not work here \(.*No working C\+\+ compiler found\): train without'
        ):
            _train_parts(tmp_path, record, COMPILE | {'backend': broken})
        assert not record.losses

    def test_error_while_compiling_is_one_sentence(self):
        def broken(graph, inputs):
            raise NotImplementedError('an operator is unknown')

        with pytest.raises(ValueError, match='an operator is unknown'), explained_compile_errors():
            torch.compile(lambda x: x + 1, backend=broken)(torch.ones(2))

    def test_errors_of_others_stay(self):
        with pytest.raises(KeyError, match='key'), explained_compile_errors():
            raise KeyError('key')


@pytest.mark.slow
@pytest.mark.skipif(shutil.which('g++') is None, reason='inductor needs a C++ compiler')
def test_inductor_trains_as_eager(tmp_path, config):
    eager, _ = _train(tmp_path / 'eager', config)
    compiled, _ = _train(tmp_path / 'compiled', config, {'type': 'mmrobust.CompileHook'})
    torch.testing.assert_close(compiled, eager, rtol=1e-4, atol=1e-4)


@pytest.mark.gpu
@pytest.mark.parametrize(
    'settings',
    [
        {'with_cp': True, 'wrapper': 'BFloat16OptimWrapper'},
        pytest.param({}, marks=pytest.mark.slow),
        pytest.param({'with_cp': True}, marks=pytest.mark.slow),
    ],
)
def test_cuda_graphs_train_as_eager(tmp_path, config, settings):
    eager, _ = _train(tmp_path / 'eager', config, iters=8, **settings)
    hook = {'type': 'mmrobust.CompileHook', 'cuda_graphs': True}
    compiled, _ = _train(tmp_path / 'compiled', config, hook, iters=8, **settings)
    tolerance = 2e-2 if settings.get('wrapper') else 1e-3
    torch.testing.assert_close(compiled, eager, rtol=tolerance, atol=tolerance)
    assert not torch._dynamo.utils.counters['inductor']['cudagraph_skips']

import copy
import functools
import inspect
import io
import pickle
import warnings

import pytest
import torch
from torch import nn
from torch._dynamo.exc import TorchDynamoException

from mmrobust.acceleration import compile_forward, compile_in_training, low_precision
from mmrobust.models import FAN


class Part(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(3, 3)

    def forward(self, x):
        return self.layer(x).relu()


class Model(nn.Module):
    def __init__(self, **parts):
        super().__init__()
        for name, part in parts.items():
            self.add_module(name, part)


@pytest.fixture
def compiled(monkeypatch):
    """Names of the parts whose forward was called compiled; the compiler itself is not needed for that."""
    called = []

    def fake(function, dynamic):
        assert dynamic is False
        return lambda *args: (called.append(function.__self__), function(*args))[1]

    monkeypatch.setattr(torch, 'compile', fake)
    return called


def test_low_precision_of_a_cpu():
    assert low_precision('cpu') is torch.bfloat16


@pytest.mark.gpu
def test_low_precision_of_a_gpu():
    expected = torch.bfloat16 if torch.cuda.get_device_capability() >= (8, 0) else torch.float16
    assert low_precision('cuda:0') is expected


def test_a_head_that_is_called_by_its_forward_is_compiled_too(compiled):
    model = Model(backbone=Part(), decode_head=nn.ModuleList([Part(), Part()]))
    names = list(model.state_dict())
    compile_forward(model)
    x = torch.randn(2, 3)
    model.backbone(x)
    for head in model.decode_head:
        head.forward(x)
    assert compiled == [model.backbone, *model.decode_head]
    assert list(model.state_dict()) == names


def test_networks_of_timm_are_compiled_whole(compiled):
    model = Model(model=Part())
    compile_forward(model)
    model.model(torch.randn(2, 3))
    assert compiled == [model.model]


def test_nothing_to_compile():
    with pytest.raises(TypeError, match='must have a backbone, got Model: leave compiling out'):
        compile_forward(Model(layer=Part()))


def test_a_backbone_that_is_traced_equals_itself(monkeypatch):
    """Tracing is real, the code that would be generated is not: that takes half a minute."""
    monkeypatch.setattr(torch, 'compile', functools.partial(torch.compile, backend='aot_eager'))
    torch.manual_seed(0)
    arch = dict(embed_dims=16, depth=1, num_heads=2, feature_blocks=(0,))
    model = Model(backbone=FAN(arch, tap_cfg=dict(num_branches=2), out_indices=(0,))).eval()
    x = torch.randn(2, 3, 32, 48)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.filterwarnings('error', message='.*cannot be compiled')
        expected = model.backbone(x)
        compile_forward(model)
        torch.testing.assert_close(model.backbone(x), expected)


@pytest.mark.parametrize('when', ['at once', 'at the first call'])
def test_what_cannot_be_compiled_runs_as_it_is_after_one_warning(monkeypatch, when):
    model, x = Model(backbone=Part()), torch.randn(2, 3)
    expected = model.backbone(x)

    def fails(*_):
        raise TorchDynamoException('no C++ compiler\nlong trace')

    def fake(function, dynamic):
        return fails if when == 'at the first call' else fails()

    monkeypatch.setattr(torch, 'compile', fake)
    with pytest.warns(UserWarning, match=r'Part cannot be compiled \(no C\+\+ compiler\): it runs as it is') as warned:
        compile_forward(model)
        assert torch.equal(model.backbone(x), expected) and torch.equal(model.backbone(x), expected)
    assert len(warned) == 1


def test_a_copy_of_a_compiled_part_is_not_compiled(compiled):
    model = Model(backbone=Part())
    compile_forward(model)
    copied = copy.deepcopy(model)
    assert copied.backbone.forward.__self__ is copied.backbone
    assert list(inspect.signature(model.backbone.forward).parameters) == ['x']
    copied.backbone(torch.randn(2, 3))
    assert not compiled


class Doubled(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(2, 2)

    def forward(self, x: torch.Tensor, observe: bool = False) -> torch.Tensor:
        """Twice the linear layer."""
        return 2 * self.linear(x)


def _count_compiled_calls(module, **options):
    torch._dynamo.reset()
    calls = []

    def backend(graph, inputs):
        return lambda *args: calls.append(0) or graph(*args)

    compile_in_training(module, backend=backend, **options)
    return calls


def test_only_training_mode_is_compiled():
    module = Doubled()
    calls = _count_compiled_calls(module)
    module(torch.ones(1, 2))
    module.forward(torch.ones(1, 2))  # as MMSegmentation calls its heads
    assert len(calls) == 2
    module.eval()
    for rows in (1, 2, 3):
        module(torch.ones(rows, 2))
    assert len(calls) == 2


def test_signature_keys_and_copies_stay():
    module = Doubled()
    calls = _count_compiled_calls(module)
    assert list(inspect.signature(module.forward).parameters) == ['x', 'observe']
    assert list(module.state_dict()) == ['linear.weight', 'linear.bias']
    for other in (copy.deepcopy(module), pickle.load(io.BytesIO(pickle.dumps(module)))):
        assert other.forward.__self__ is other
        nn.init.zeros_(other.linear.weight)
        nn.init.zeros_(other.linear.bias)
        assert not other(torch.ones(1, 2)).any()
    assert not calls
    assert module(torch.ones(1, 2)).any()
    first = module.forward
    compile_in_training(module)
    assert module.forward is first

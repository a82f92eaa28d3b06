"""``torch.compile`` for the networks of a model while it trains, and CUDA graphs of them."""

import inspect
import itertools
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from mmengine.device import get_device
from mmengine.hooks import Hook
from mmengine.runner import Runner

from mmrobust.acceleration import compile_in_training, networks
from mmrobust.engine.any_device import trained_model
from mmrobust.registry import HOOKS

RECORDED = 4  # iterations until every CUDA graph is recorded: the first ones warm up
PARTS = ('backbone', 'neck', 'decode_head', 'auxiliary_head', 'head')


@HOOKS.register_module()
class CompileHook(Hook):
    """Compile the networks of a model when training starts: backbone, neck and heads, as far as the model has them.

    What surrounds them stays as it is: data, losses, optimizer. So do checkpoints, and everything in evaluation mode:
    validation, whose images have other sizes, and an averaged model. A config says

        default_hooks = dict(compile=dict(type='mmrobust.CompileHook'))

    MMEngine's own key ``compile`` compiles the whole step instead, samples of data included, and fails with FAN.

    Dropout and drop path draw other random numbers than without; they are the same again after a resume.

    Args:
        parts: names of the model's attributes whose ``forward`` is compiled; a list of modules is compiled one by one,
            and a backbone of this project block by block, where blocks that are alike share their code. None stands for
            those of ``backbone``, ``neck``, ``decode_head``, ``auxiliary_head`` and ``head`` that the model has.
        cuda_graphs: compile each part as a whole, record its kernels once and launch them all at a time,
            ``mode='reduce-overhead'`` of ``torch.compile``. It needs CUDA and batches of one shape, and each part keeps
            memory of its own.
        **options: further arguments of ``torch.compile``.

    Raises:
        TypeError: ``torch.compile`` has no such argument.
        ValueError: there is no CUDA for ``cuda_graphs``, or the run accumulates gradients, which would be overwritten;
            the model lacks a part; or nothing can be compiled on this machine.
    """

    priority = 'LOW'

    def __init__(self, parts: Sequence[str] | None = None, cuda_graphs: bool = False, **options: Any) -> None:
        unknown = sorted({*options} - {*inspect.signature(torch.compile).parameters})
        if unknown:
            raise TypeError(f'Options of CompileHook must be arguments of torch.compile, got {", ".join(unknown)}.')
        if cuda_graphs and not torch.cuda.is_available():
            raise ValueError('cuda_graphs (--cuda-graphs) needs CUDA, and there is none: leave it out.')
        self.parts = (parts,) if isinstance(parts, str) else parts
        self.cuda_graphs = cuda_graphs
        self.options = {'mode': 'reduce-overhead', 'dynamic': False} if cuda_graphs else {}
        self.options |= options

    def before_train(self, runner: Runner) -> None:
        if self.cuda_graphs and getattr(runner.optim_wrapper, '_accumulative_counts', 1) > 1:
            raise ValueError(
                'cuda_graphs (--cuda-graphs) must go with accumulative_counts=1, got '
                f'{runner.optim_wrapper._accumulative_counts}: each run of a graph overwrites the gradients of the '
                'last; leave it out, --compile accumulates.'
            )
        model = trained_model(runner)
        parts = networks(model, self.parts or PARTS)
        missing = [name for name in self.parts or PARTS if name not in parts]
        if not parts or (missing and self.parts):
            raise ValueError(
                f'The parts to compile must be attributes of the model, but {type(model).__name__} has no '
                f'{", ".join(missing)}; name its networks, as in default_hooks.compile.parts=[backbone].'
            )
        _check_compiler(self.options.get('backend', 'inductor'))
        if runner.distributed:
            # its splitting of graphs, so that gradients are sent early, cannot split what is recomputed
            torch._dynamo.config.optimize_ddp = False
        for module in itertools.chain(*parts.values()):
            compile_in_training(module, whole=self.cuda_graphs, **self.options)
        self.names = ', '.join(parts)
        runner.logger.info(f'The first iteration compiles {self.names}, which takes from seconds to minutes.')
        if get_device() == 'cpu':
            runner.logger.warning('Compiling rarely pays on a CPU: it takes minutes, and steps are seldom faster.')
        self.started, self.counted, self.iterations = time.perf_counter(), _counted(), 0

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        if self.cuda_graphs:
            torch.compiler.cudagraph_mark_step_begin()  # what earlier runs have put out may be overwritten

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        self.iterations += 1
        if self.iterations not in (1, RECORDED):
            return
        graphs, breaks, skips = (now - before for now, before in zip(_counted(), self.counted, strict=True))
        if self.iterations == 1:
            runner.logger.info(
                f'Compiled {self.names}: {graphs} graphs with {breaks} breaks; the first iteration took '
                f'{time.perf_counter() - self.started:.0f} s.'
            )
        elif self.cuda_graphs and skips:
            runner.logger.warning(
                f'{skips} times a compiled graph was not recorded as a CUDA graph; TORCH_LOGS=perf_hints says why.'
            )


def _check_compiler(backend: str) -> None:
    """Compile one line, so that a missing compiler is noticed before anything else.

    Raises:
        ValueError: it cannot be compiled.
    """
    try:
        torch.compile(lambda x: 2 * x + 1, backend=backend)(torch.ones(16, device=get_device()))
    except Exception as error:
        raise ValueError(_sentence(error)) from error


@contextmanager
def explained_compile_errors() -> Iterator[None]:
    """Turn an error of the compiler, which may come as late as in the first backward pass, into one sentence.

    Raises:
        ValueError: in place of the error.
    """
    try:
        yield
    except Exception as error:
        if not type(error).__module__.startswith(('torch._dynamo', 'torch._inductor')):
            raise
        raise ValueError(_sentence(error)) from error


def _sentence(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip() and not line.endswith('raised:')]
    reason = lines[0].rstrip('.') if lines else type(error).__name__
    return (
        f'torch.compile does not work here ({reason}): train without --compile, --cuda-graphs and CompileHook, or see '
        'the whole error with python -X dev.'
    )


def _counted() -> tuple[int, int, int]:
    """Graphs, breaks between them, and refusals to record a CUDA graph, of this process so far."""
    counters = torch._dynamo.utils.counters
    return (
        counters['stats']['unique_graphs'],
        sum(counters['graph_break'].values()),
        counters['inductor']['cudagraph_skips'],
    )

"""Training steps of FAN-B-Hybrid without and with TAP and ADL, eager and compiled."""

import time
from typing import Any, NamedTuple

import torch
import torch._inductor.config as inductor

from performance.gpu_check.equality import own_kernels
from performance.gpu_check.processes import error_lines
from performance.gpu_check.work import Work, cores
from performance.measure import Kernel, measure, profile
from performance.model_cases import PreparedStep

MODELS = {'TAP + ADL': 'fan_tap_adl_cityscapes.py', 'baseline': 'fan_cityscapes.py'}
NUM_KERNELS = 80  # in JSON; the report shows the first of them
# of a GPU: both models are compiled beside each other
BYTES_FOR_BATCH_8 = 60e9
TINY_FAN = {
    'model.backbone.arch': dict(
        _delete_=True, embed_dims=16, depth=2, num_heads=2, stem_depths=(1, 1), feature_blocks=(1,)
    ),
    'model.decode_head.in_channels': [128, 256, 16, 16],
    'model.decode_head.channels': 16,
}


class _Step(NamedTuple):
    model: str
    batch: int

    @property
    def name(self) -> str:
        return f'batch {self.batch}, {self.model}'


def eager_steps(work: Work) -> None:
    """Without ``torch.compile``; one after the other."""
    for step in work.mine(_steps(work.tiny)):
        work.require_time(5, step.name)
        try:
            prepared = _prepare(step, work)
            with work.alone():
                work.note(step.name, _measured(prepared, work))
        except torch.OutOfMemoryError as error:
            work.note(step.name, dict(error=error_lines(error)))
        prepared = None
        torch.cuda.empty_cache()


def compiled_steps(work: Work) -> None:
    """With backbone and head under ``torch.compile``: compiled beside each other, measured one after the other."""
    inductor.compile_threads = max(1, cores() // work.count)
    for step in work.mine(_steps(work.tiny)):
        with work.beside_others():
            started = time.monotonic()
            prepared = _prepare(step, work)
            prepared.compile(backend='aot_eager' if work.tiny else 'inductor')
            for _ in range(2):
                prepared()
            prepared.read_losses()
            compiling = time.monotonic() - started
            torch.cuda.empty_cache()
        with work.alone():
            found = _measured(prepared, work) | {'compile_seconds': compiling}
            work.note(step.name, found)
            kernels = profile(prepared)
            work.note(step.name, found | {'profile': _shown(kernels)})
        prepared = None
        torch.cuda.empty_cache()


def _steps(tiny: bool) -> list[_Step]:
    """Both models, at batch 8 where it fits."""
    roomy = torch.cuda.is_available() and torch.cuda.get_device_properties(0).total_memory > BYTES_FOR_BATCH_8
    return [_Step(model, 1 if tiny else 8 if roomy else 2) for model in MODELS]


def _prepare(step: _Step, work: Work) -> PreparedStep:
    config = str(work.root / 'configs' / MODELS[step.model])
    options, crop = (TINY_FAN, 64) if work.tiny else ({}, 1024)
    return PreparedStep(config, options, crop, step.batch, torch.bfloat16)


def _measured(prepared: PreparedStep, work: Work) -> dict[str, Any]:
    measurement = measure(prepared, repeats=1 if work.tiny else 5, warmup=1 if work.tiny else 2)
    blocks = len(getattr(prepared.model.backbone, 'blocks', ()))
    return measurement._asdict() | {'losses': prepared.read_losses(), 'blocks': blocks}


def _shown(kernels: list[Kernel]) -> dict[str, Any]:
    """The longest kernels, and which of all are the project's own."""
    return {
        'kernels': [kernel._asdict() for kernel in kernels[:NUM_KERNELS]],
        'launches': sum(kernel.calls for kernel in kernels),
        'seconds': sum(kernel.seconds for kernel in kernels),
        'own': sorted(own_kernels({kernel.name for kernel in kernels})) if torch.cuda.is_available() else [],
    }

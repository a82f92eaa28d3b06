"""A small FAN with TAP and ADL, compiled, with checkpointing and under autocast: losses and gradients beside eager."""

from typing import Any, NamedTuple

import torch
import torch._inductor.config as inductor

from performance.gpu_check.equality import dtype_name
from performance.gpu_check.processes import error_lines
from performance.gpu_check.steps import TINY_FAN
from performance.gpu_check.work import Work
from performance.model_cases import PreparedStep

# Largest relative error of a loss, and of all gradients together by their norm. A network amplifies what its layers
# round; the second pair is what autocast itself does to it.
TOLERANCES = {None: (1e-3, 1e-2), torch.bfloat16: (5e-2, 0.2), torch.float16: (1e-2, 5e-2)}
CONFIG = 'fan_tap_adl_cityscapes.py'
OPTIONS = TINY_FAN | {
    # what is drawn anew in every step would not be the same
    'model.decode_head.dropout_ratio': 0.0,
    'model.backbone.drop_path_rate': 0.0,
    # this FAN attends almost uniformly, and no rounding shall carry an entry across the threshold
    'model.loss_attn.tau': 0.5,
}


class _Combination(NamedTuple):
    compiled: bool
    with_cp: bool
    amp: torch.dtype | None

    @property
    def name(self) -> str:
        parts = ('compiled' if self.compiled else 'eager', 'with_cp' if self.with_cp else '')
        return ', '.join([*filter(None, parts), dtype_name(self.amp or torch.float32)])


COMBINATIONS = (
    _Combination(True, False, torch.bfloat16),
    _Combination(True, True, torch.bfloat16),
    _Combination(True, False, None),
    _Combination(True, True, None),
    _Combination(True, False, torch.float16),
    _Combination(False, True, None),
    _Combination(False, False, torch.bfloat16),
    _Combination(False, False, torch.float16),
    _Combination(False, True, torch.bfloat16),
)


def combinations(work: Work) -> None:
    """Compare each combination with eager float32, whose gradients each process makes by itself."""
    inductor.compile_threads = 1  # as in equality
    torch.backends.cudnn.allow_tf32 = False  # else float32 convolutions would be less than that
    crop = 64 if work.tiny else 256
    expected = _losses_and_gradients(work, _Combination(False, False, None), crop)
    for combination in work.mine(COMBINATIONS[1::4] if work.tiny else COMBINATIONS):
        work.require_time(2, combination.name)
        try:
            with work.beside_others():
                found = _errors(_losses_and_gradients(work, combination, crop), expected)
            loss, gradient = TOLERANCES[combination.amp]
            held = found['loss error'] <= loss and found['gradient error'] <= gradient
            work.note(combination.name, found | {'tolerances': (loss, gradient), 'held': held})
        except Exception as error:
            work.note(combination.name, {'held': False, 'error': error_lines(error)})
        torch.compiler.reset()


def _losses_and_gradients(
    work: Work, combination: _Combination, crop: int
) -> tuple[dict[str, float], dict[str, torch.Tensor]]:
    config = str(work.root / 'configs' / CONFIG)
    options = OPTIONS | {'model.backbone.with_cp': combination.with_cp}
    step = PreparedStep(config, options, crop, 2, combination.amp)
    if combination.compiled:
        step.compile(backend='aot_eager' if work.tiny else 'inductor')
    step()
    gradients = {
        name: parameter.grad.double() for name, parameter in step.model.named_parameters() if parameter.grad is not None
    }
    return step.read_losses(), gradients


def _errors(
    found: tuple[dict[str, float], dict[str, torch.Tensor]], expected: tuple[dict[str, float], dict[str, torch.Tensor]]
) -> dict[str, Any]:
    """Relative errors; infinite where a loss or a gradient is missing."""
    losses, gradients = found
    expected_losses, expected_gradients = expected
    if losses.keys() != expected_losses.keys() or gradients.keys() != expected_gradients.keys():
        return {'losses': losses, 'loss error': float('inf'), 'gradient error': float('inf')}
    compared = {name: value for name, value in expected_losses.items() if 'loss' in name and value}
    loss_error = max(abs(losses[name] - value) / abs(value) for name, value in compared.items())
    difference, norm = (
        sum(float(tensor.square().sum()) for tensor in tensors) ** 0.5
        for tensors in (
            [gradients[name] - gradient for name, gradient in expected_gradients.items()],
            expected_gradients.values(),
        )
    )
    return {'losses': losses, 'loss error': loss_error, 'gradient error': difference / norm}

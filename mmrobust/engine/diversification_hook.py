"""Logs how much of ADL there is while a model trains: the rows that it sees, and its part of the gradient."""

import copy
import math
from collections.abc import Iterable
from typing import Any

import torch
from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch import Tensor, nn

from mmrobust.engine.trained_model import evaluating, trained_model
from mmrobust.ops import KeptRows
from mmrobust.randomness import seeded
from mmrobust.registry import HOOKS

__all__ = ['DiversificationLogHook', 'gradient_norm']


@HOOKS.register_module()
class DiversificationLogHook(Hook):
    """Log whether ADL is there, beside ``loss_adl``; nothing where a model trains without it.

    ADL is 0, without gradient, while no attention exceeds its threshold, and a small number says little about how much
    it changes. Every ``interval`` iterations the log gets

    - ``adl_active``: share of rows with an entry above the threshold, mean over layers, 0 to 1;
    - ``adl_single``: share of rows with exactly one such entry, whose cosine does not depend on how large it is;
    - ``adl_gradient``: norm of the gradient of ADL, lambda included, divided by that of all other losses together.

    The first images of the batch, as they were augmented, go through the model once more, in evaluation mode, on the
    main process alone: the training itself is the same as without the hook. A warning comes after a quarter of the run
    if no look has found an active row.

    Args:
        interval: iterations between two looks, at least 1. One more is taken after a quarter of the run.
        num_images: images that are looked at, at least 1.

    Raises:
        ValueError: a number is not allowed.
    """

    priority = 'HIGH'  # before the logger

    def __init__(self, interval: int = 200, num_images: int = 2) -> None:
        for name, value in (('interval', interval), ('num_images', num_images)):
            if value < 1:
                raise ValueError(f'{name} of DiversificationLogHook must be at least 1, got {value}')
        self.interval = interval
        self.num_images = num_images
        self.was_active = False

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        step, quarter = runner.iter + 1, math.ceil(runner.max_iters / 4)
        if (step % self.interval and step != quarter) or not is_main_process():
            return
        model = trained_model(runner)
        loss_attn = getattr(model, 'loss_attn', None)
        if not hasattr(loss_attn, 'kept_rows'):
            return
        with evaluating(model), seeded(step), runner.optim_wrapper.optim_context(model):
            rows, ratio = self._look(model, data_batch, getattr(runner.optim_wrapper, 'loss_scaler', None))
        self.was_active |= rows.active.item() > 0
        found = dict(adl_active=rows.active.item(), adl_single=rows.single.item(), adl_gradient=ratio)
        for name, value in found.items():
            if math.isfinite(value):  # no ratio where the other losses have no gradient
                runner.message_hub.update_scalar(f'train/{name}', value)
        if step == quarter and not self.was_active:
            runner.logger.warning(
                f'ADL was 0 in every look up to iteration {step} of {runner.max_iters}: no attention exceeds tau / N '
                f'with tau = {loss_attn.tau:g}, so it changed nothing; random weights start like that, and if it '
                'stays so, a lower tau sees more.'
            )

    def _look(self, model: nn.Module, data_batch: dict, scaler: torch.amp.GradScaler | None) -> tuple[KeptRows, float]:
        part = slice(self.num_images)
        samples = copy.deepcopy(list(data_batch['data_samples'][part]))  # a data preprocessor pads their labels
        batch = model.data_preprocessor(dict(inputs=list(data_batch['inputs'][part]), data_samples=samples), True)
        with torch.no_grad():
            _, layers = model.backbone(batch['inputs'], model.loss_attn.kept_rows)
        rows = KeptRows(*(torch.stack(of_layers).mean() for of_layers in zip(*layers, strict=True)))
        losses = model(**batch, mode='loss')
        of_adl = losses.pop(model.loss_attn.loss_name)
        of_task, _ = model.parse_losses(losses)
        if scaler is not None:  # half precision loses small gradients; both are scaled alike
            of_adl, of_task = scaler.scale(of_adl), scaler.scale(of_task)
        trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
        return rows, (gradient_norm(of_adl, trained) / gradient_norm(of_task, trained)).item()


def gradient_norm(loss: Tensor, parameters: Iterable[Tensor]) -> Tensor:
    """Norm of the gradient over all parameters together, a scalar; 0 where the loss depends on none of them.

    The graph is kept, and no ``grad`` is written.
    """
    if not loss.requires_grad:
        return loss.new_zeros(())
    gradients = torch.autograd.grad(loss, list(parameters), retain_graph=True, allow_unused=True)
    squares = [gradient.float().square().sum() for gradient in gradients if gradient is not None]
    return torch.stack(squares).sum().sqrt()

"""Logs attention while a model trains: of every layer, with maps now and then; and how much of ADL there is."""

import copy
import math
from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch import Tensor, nn

from mmrobust.analysis import (
    AttentionStatistics,
    CoarseMaps,
    dilation_shares,
    preprocess,
    require_observable,
)
from mmrobust.engine.any_device import evaluating, trained_model
from mmrobust.ops import KeptRows, attention_diversification, kept_rows
from mmrobust.randomness import seeded
from mmrobust.registry import HOOKS

COLUMNS = 8  # layers beside each other in an image
MAP_SIDE = 128  # cells of a map in it
LOGGED = ('top_share', 'column_entropy', 'effective_tokens', 'self_share', 'head_similarity_map')


@HOOKS.register_module()
class AttentionLogHook(Hook):
    """Log the attention of the current images to the runner's visualizer, whatever its backends are.

    Scalars are ``attention/<statistic>/layer_<l>``, from layer 1, the mean over images and heads of what
    :mod:`mmrobust.analysis.attention_statistics` defines. ``attention/adl/layer_<l>`` is Eq. (2) of the paper, and
    ``attention/adl_active/layer_<l>`` and ``attention/adl_single/layer_<l>`` are the rows that it sees, as
    ``mmrobust.ops.KeptRows`` has them, also for a model that trains without it. Of TAP it is
    ``attention/dilation_<d>/layer_<l>``, the mean weight of each dilation. Images are ``attention_maps``.

    The first images of the batch, as they were augmented, go through the backbone once more, in evaluation mode,
    without gradient and on the main process alone: the training itself is the same as without the hook. Of attention in
    windows there are no maps to draw.

    Args:
        interval: iterations between two entries, at least 1.
        image_interval: iterations between two images, a multiple of ``interval``; None draws none.
        num_images: images that are looked at, at least 1.
        top_k: columns of ``top_share``.
        tau: threshold of ADL.

    Raises:
        ValueError: a number is not allowed.
        TypeError: the attention of the model's backbone cannot be observed.
    """

    priority = 'LOW'

    def __init__(
        self,
        interval: int = 500,
        image_interval: int | None = None,
        num_images: int = 2,
        top_k: int = 5,
        tau: float = 2.0,
    ) -> None:
        for name, value in (('interval', interval), ('num_images', num_images), ('top_k', top_k)):
            if value < 1:
                raise ValueError(f'{name} of AttentionLogHook must be at least 1, got {value}')
        if image_interval is not None and (image_interval < 1 or image_interval % interval):
            raise ValueError(f'image_interval must be a multiple of interval, {interval}, got {image_interval}')
        self.interval = interval
        self.image_interval = image_interval
        self.num_images = num_images
        self.top_k = top_k
        self.tau = tau

    def before_train(self, runner: Runner) -> None:
        require_observable(trained_model(runner))

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        step = runner.iter + 1
        if step % self.interval or not is_main_process():
            return
        model = trained_model(runner)
        draws = self.image_interval is not None and step % self.image_interval == 0
        with evaluating(model), seeded(step):  # images may be mixed at random; the run's generators stay as they are
            layers, images = self._look(model, data_batch, draws)
        scalars = {
            f'attention/{name}/layer_{index}': value
            for index, layer in enumerate(layers, start=1)
            for name, value in layer.items()
        }
        runner.visualizer.add_scalars(scalars, step=step)
        if images is not None:
            runner.visualizer.add_image('attention_maps', images, step=step)

    @torch.no_grad()
    def _look(
        self, model: nn.Module, data_batch: dict, draws: bool
    ) -> tuple[list[dict[str, float]], np.ndarray | None]:
        """The scalars of each layer, and the maps of the first image, mean over heads, as pixels."""
        part = slice(self.num_images)
        inputs = preprocess(model, data_batch['inputs'][part], data_batch['data_samples'][part], True)
        statistics = AttentionStatistics(top_k=self.top_k)
        coarse = CoarseMaps(MAP_SIDE)
        _, layers = require_observable(model)(
            inputs,
            lambda view: (
                statistics(view),
                attention_diversification(view.attention, tau=self.tau),
                kept_rows(view.attention, tau=self.tau),
                _mean_weights(view.tap_weights),
                coarse(view)[0].mean(0).cpu().numpy() if draws and view.num_windows is None else None,
                view.attention.key.size(2),
            ),
        )
        scalars = [
            {name: found[name].mean().item() for name in LOGGED if name in found}
            | {'adl': adl.item(), 'adl_active': rows.active.item(), 'adl_single': rows.single.item()}
            | weights
            for found, adl, rows, weights, *_ in layers
        ]
        drawn = [(maps, num_tokens) for *_, maps, num_tokens in layers if maps is not None]
        return scalars, _draw(drawn) if drawn else None


def _mean_weights(tap_weights: Tensor | None) -> dict[str, float]:
    if tap_weights is None:
        return {}
    mean, _ = dilation_shares(tap_weights)
    return {f'dilation_{dilation}': weight for dilation, weight in enumerate(mean.mean(0).tolist())}


def _draw(maps: list[tuple[np.ndarray, int]]) -> np.ndarray:
    from mmrobust.visualization.attention_panels import HeatMap, panel_grid, to_pixels  # Matplotlib takes a second

    starts = range(0, len(maps), COLUMNS)
    width = min(COLUMNS, len(maps))
    panels = [HeatMap(*one) for one in maps] + [None] * (len(starts) * COLUMNS - len(maps))
    rows = [panels[start : start + width] for start in starts]
    return to_pixels(panel_grid(rows, [f'from layer {start + 1}' for start in starts], [''] * width))


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

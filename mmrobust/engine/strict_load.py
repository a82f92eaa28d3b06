"""Refuses weights, model and data that do not fit together, before the first image."""

import logging

from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.model import BaseTTAModel, is_model_wrapper
from mmengine.runner import Runner
from mmseg.models.decode_heads.decode_head import BaseDecodeHead
from torch.utils.data import Dataset

from mmrobust.checkpoint import adapted_to, compare_state_dicts, weights_of
from mmrobust.classes import check_classes, classes_of_meta, num_outputs
from mmrobust.datasets.labels import check_labels, segmentation_parts
from mmrobust.preprocessing import check_size_of_images
from mmrobust.registry import HOOKS, type_name


def require_fit(config: Config, strict: bool) -> None:
    """Give a config the hook, whatever hooks it has.

    Args:
        config: It is changed in place.
        strict: Whether it is strict where the config has none; True makes the config's own strict too.
    """
    hooks = list(config.get('custom_hooks') or [])
    own = [hook for hook in hooks if type_name(hook.get('type')) == StrictLoadHook.__name__]
    for hook in own:
        hook['strict'] = strict or hook.get('strict', True)
    config.custom_hooks = hooks if own else [*hooks, dict(type='mmrobust.StrictLoadHook', strict=strict)]


@HOOKS.register_module()
class StrictLoadHook(Hook):
    """Compare every loaded checkpoint with the model; MMEngine loads what happens to fit and prints the rest.

    Before training and testing the classes of model, data and checkpoint are compared as well, see
    :func:`mmrobust.classes.check_classes`; the config's ``class_map`` says which names mean the same. When training
    starts from other weights by ``load_from``, their classes may be others. Label files are read ahead, see
    :func:`mmrobust.datasets.labels.check_labels`, and what is ignored must be so everywhere.

    Args:
        strict: Whether a difference of keys is an error, or a warning in the log.

    Raises:
        ValueError: Some keys are missing, unexpected or of another shape; the classes do not fit; or a label is
            wrong.
        FileNotFoundError: An image has no label.
    """

    priority = 'HIGH'  # before EMAHook, which takes what has been adapted here

    def __init__(self, strict: bool = True) -> None:
        self.strict = strict
        self.classes: tuple[str, ...] | None = None

    def before_train(self, runner: Runner) -> None:
        data = runner.train_dataloader.dataset
        self._check(runner, data, self.classes if runner._resume else None)
        if runner.val_loop is not None:
            self._check(runner, runner.val_loop.dataloader.dataset, _classes_of(data))

    def before_test(self, runner: Runner) -> None:
        check_size_of_images(runner.cfg)
        data = runner.test_loop.dataloader.dataset
        self._check(runner, data, self.classes)
        if getattr(data, 'metainfo', {}).get('subset') is not None:
            runner.logger.warning(
                'These images are of a subset of classes, but metrics here compare all outputs of the model: for '
                'predictions among the subset, as published, use tools/evaluate_robustness.py.'
            )

    def _check(self, runner: Runner, data: Dataset, trained: tuple[str, ...] | None) -> None:
        names, subset = _classes_of(data), getattr(data, 'metainfo', {}).get('subset')
        if names is not None:
            check_classes(num_outputs(runner.model), names, trained, subset, runner.cfg.get('class_map'))
        _check_ignored(runner, data)
        check_labels(data)

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        self.classes = classes_of_meta(checkpoint.get('meta') or {})
        model = runner.model
        while is_model_wrapper(model) or isinstance(model, BaseTTAModel):
            model = model.module
        weights = weights_of(checkpoint)
        adapted = adapted_to(model, weights)
        difference = compare_state_dicts(model.state_dict(), adapted, weights)
        if not difference and adapted.keys() != checkpoint.get('state_dict', {}).keys():
            checkpoint['state_dict'] = adapted  # which EMAHook and MMEngine take
        if difference and self.strict:
            raise ValueError(f'The checkpoint does not fit the model, {difference}')
        if difference:
            print_log(f'The checkpoint does not fit the model, {difference}', logger='current', level=logging.WARNING)


def _check_ignored(runner: Runner, data: Dataset) -> None:
    """Refuse a value of its own for void that not all who look at labels know; 255 is everybody's default.

    Raises:
        ValueError: The loss, a metric or the padding of labels has another.
    """
    own = {part.ignore_index for part in segmentation_parts(data)} - {255}
    if not own:
        return
    loops = [loop for loop in (runner._val_loop, runner._test_loop) if hasattr(loop, 'evaluator')]
    metrics = [metric for loop in loops for metric in loop.evaluator.metrics]
    modules = list(runner.model.modules())
    heads = [module for module in modules if isinstance(module, BaseDecodeHead)]
    for kind, key in ((heads, 'ignore_index'), (metrics, 'ignore_index'), (modules, 'seg_pad_val')):
        for one in kind:
            if own != {found := getattr(one, key, min(own))}:
                raise ValueError(
                    f'{key} of {type(one).__name__} must be ignore_index of the data set, '
                    f'{", ".join(map(str, own))}, got {found}: give it the same value, or name void in METAINFO and '
                    'leave it out of metainfo.classes, which makes it 255.'
                )


def _classes_of(data: Dataset) -> tuple[str, ...] | None:
    return classes_of_meta({'dataset_meta': getattr(data, 'metainfo', None)})

"""Refuses to load the weights of another model."""

import logging

from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.model import BaseTTAModel, is_model_wrapper
from mmengine.runner import Runner

from mmrobust.checkpoint import compare_state_dicts
from mmrobust.registry import HOOKS

__all__ = ['StrictLoadHook']


@HOOKS.register_module()
class StrictLoadHook(Hook):
    """Compare every loaded checkpoint with the model; MMEngine loads what happens to fit and prints the rest.

    Args:
        strict: Whether a difference is an error, or a warning in the log.

    Raises:
        ValueError: Some keys are missing, unexpected or of another shape; all are named.
    """

    def __init__(self, strict: bool = True) -> None:
        self.strict = strict

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        model = runner.model
        while is_model_wrapper(model) or isinstance(model, BaseTTAModel):
            model = model.module
        weights = checkpoint.get('state_dict', checkpoint)
        weights = {key.removeprefix('module.'): value for key, value in weights.items()}
        difference = compare_state_dicts(model.state_dict(), weights)
        if difference and self.strict:
            raise ValueError(f'The checkpoint does not fit the model, {difference}')
        if difference:
            print_log(f'The checkpoint does not fit the model, {difference}', logger='current', level=logging.WARNING)

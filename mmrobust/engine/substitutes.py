"""Counts skipped images."""

from typing import Any

from mmengine.dist import all_gather_object
from mmengine.hooks import Hook
from mmengine.runner import Runner

from mmrobust.registry import HOOKS

__all__ = ['CountSubstitutesHook']


@HOOKS.register_module()
class CountSubstitutesHook(Hook):
    """At the end say how many samples ``on_corrupt='skip'`` of the dataset has replaced, and name the broken files."""

    def __init__(self) -> None:
        self.replaced: list[str] = []

    def before_train(self, runner: Runner) -> None:
        self.first = runner.iter

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        samples = data_batch.get('data_samples') if isinstance(data_batch, dict) else None
        self.replaced += [
            sample.substitute_for for sample in samples or () if getattr(sample, 'substitute_for', None) is not None
        ]

    def after_train(self, runner: Runner) -> None:
        replaced = [problem for one in all_gather_object(self.replaced) for problem in one]
        if replaced:
            runner.logger.warning(
                f'{len(replaced)} samples of the iterations {self.first + 1} to {runner.iter} were replaced, because '
                f'of {len(set(replaced))} broken files: {" ".join(sorted(set(replaced)))}'
            )

"""Merges parameter groups of equal settings, so that the optimizer updates many parameters at once."""

from typing import Any

from mmengine.optim import DefaultOptimWrapperConstructor, OptimWrapper
from mmengine.registry import OPTIMIZERS
from torch import nn
from torch.optim import SGD, Adam, AdamW, Optimizer

from mmrobust.registry import OPTIM_WRAPPER_CONSTRUCTORS

FUSED = (Adam, AdamW, SGD)  # on a GPU; others on a CPU alone


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class MergedOptimWrapperConstructor(DefaultOptimWrapperConstructor):
    """MMEngine's constructor, with one parameter group for all parameters of the same settings.

    With ``paramwise_cfg`` MMEngine makes a group of every parameter. PyTorch updates group by group, so a network of
    400 parameters takes 400 updates of a dozen kernels each; schedulers and logging go through all groups as well.

    On a GPU Adam, AdamW and SGD take their fused form, unless the config says ``fused`` or ``foreach``. On a CPU the
    updates are the same as with MMEngine's groups, bit by bit; with ``clip_grad`` to rounding, because the norm is
    summed in the order of the groups.

    The state of an optimizer with other groups is refused with one sentence.
    """

    def __call__(self, model: nn.Module) -> OptimWrapper:
        kind = self.optimizer_cfg['type']
        kind = OPTIMIZERS.get(kind) if isinstance(kind, str) else kind
        chosen = {'fused', 'foreach', 'differentiable'} & {*self.optimizer_cfg}
        if kind in FUSED and not chosen and all(one.is_cuda for one in model.parameters() if one.requires_grad):
            self.optimizer_cfg = {**self.optimizer_cfg, 'fused': True}
        wrapper = super().__call__(model)
        wrapper.optimizer.register_load_state_dict_pre_hook(_fit_state)
        return wrapper

    def add_params(self, params: list[dict], module: nn.Module, prefix: str = '', *args: Any, **kwargs: Any) -> None:
        if any(parameter.requires_grad for parameter in module.parameters()):  # of the others MMEngine warns one by one
            super().add_params(params, module, prefix, *args, **kwargs)
        if not prefix:  # the whole model
            defaults = {'lr': self.base_lr, 'weight_decay': self.base_wd}
            params[:] = _merge(params, {name: value for name, value in defaults.items() if value is not None})


def _merge(groups: list[dict], defaults: dict[str, Any]) -> list[dict]:
    """One group for all of the same settings, in the order in which the settings come first."""
    merged: list[dict] = []
    for group in groups:
        settings = {**defaults, **group, 'params': None}
        for one in merged:
            if {**one, 'params': None} == settings:
                one['params'] += group['params']
                break
        else:
            merged.append({**settings, 'params': [*group['params']]})
    return merged


def _fit_state(optimizer: Optimizer, state_dict: dict) -> dict:
    """A state to load: of the same groups, in the form of update that this machine takes.

    Raises:
        ValueError: the groups are others.
    """
    saved, own = state_dict['param_groups'], optimizer.param_groups
    saved_sizes, own_sizes = ([len(group['params']) for group in groups] for groups in (saved, own))
    if saved_sizes != own_sizes:
        raise ValueError(
            f'The optimizer in a checkpoint must have parameter groups as in this run, {_count(own_sizes)}, got '
            f'{_count(saved_sizes)}; a checkpoint written without mmrobust.MergedOptimWrapperConstructor resumes with '
            '--cfg-options optim_wrapper.constructor=DefaultOptimWrapperConstructor.'
        )
    forms = ({name: group[name] for name in ('fused', 'foreach') if name in group} for group in own)
    return {**state_dict, 'param_groups': [{**group, **form} for group, form in zip(saved, forms, strict=True)]}


def _count(sizes: list[int]) -> str:
    return f'{len(sizes)} of {sum(sizes)} parameters'

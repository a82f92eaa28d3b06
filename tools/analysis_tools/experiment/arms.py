"""What is compared: changes of a baseline's model config."""

import copy
from typing import Any


def _adl(mode: str, tau: float = 2.0) -> dict[str, Any]:
    return dict(type='mmrobust.AttentionDiversificationLoss', mode=mode, tau=tau, loss_weight=1.0)


BASELINE = 'baseline'
ADL = {
    'ADL paper': _adl('paper'),
    'ADL official': _adl('official'),
    'ADL pairwise': _adl('pairwise'),
    'ADL pairwise, tau 1': _adl('pairwise', 1.0),
    'ADL pairwise, tau 0': _adl('pairwise', 0.0),
}
POOLING = {
    'TAP': dict(type='mmrobust.TokenAwareAvgPool', num_branches=4),
    'average pooling': dict(type='mmrobust.TokenAvgPool', kernel_size=3),  # TAP's control: it learns nothing
}
STRONGER = ', lambda 10'
WITH_TAP = 'TAP + '


def changes(arm: str) -> dict[str, dict | None]:
    """``loss_attn`` of the model and ``tap_cfg`` of its backbone.

    Args:
        arm: ``'baseline'``, a name in ``ADL`` or ``POOLING``, ``'TAP + '`` with a name in ``ADL``, or a name that has
            ADL in it with ``', lambda 10'`` at its end.

    Raises:
        ValueError: there is no such arm.
    """
    if arm == BASELINE:
        return dict(loss_attn=None, tap_cfg=None)
    if arm in POOLING:
        return dict(loss_attn=None, tap_cfg=POOLING[arm])
    loss = arm.removeprefix(WITH_TAP).removesuffix(STRONGER)
    if loss not in ADL:
        raise ValueError(
            f'an arm must be {BASELINE!r}, one of {[*ADL, *POOLING]}, or {WITH_TAP + "..."!r} or {"..." + STRONGER!r} '
            f'with ADL, got {arm!r}'
        )
    return dict(
        loss_attn=ADL[loss] | dict(loss_weight=10.0 if arm.endswith(STRONGER) else 1.0),
        tap_cfg=POOLING['TAP'] if arm.startswith(WITH_TAP) else None,
    )


def model_of(model: dict[str, Any], arm: str) -> dict[str, Any]:
    """The baseline's model with the changes of an arm."""
    changed = changes(arm)
    model = copy.deepcopy(dict(model))
    model['backbone'] = {**model['backbone'], 'tap_cfg': changed['tap_cfg']}
    return {**model, 'loss_attn': changed['loss_attn']}

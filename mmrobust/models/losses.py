"""ADL, the attention diversification loss, as a loss of a config, and how a task model gets a loss on attention."""

import inspect
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import torch
from torch import Tensor, nn

from mmrobust.models.layers import AttentionView
from mmrobust.ops import ADL_MODES, KeptRows, attention_diversification, diversified_attention, kept_rows
from mmrobust.registry import MODELS


@dataclass(frozen=True)
class DiversificationTerm:
    """Eq. (2) for one layer, as an ``observe`` function; see :class:`AttentionDiversificationLoss`."""

    tau: float
    mode: str
    per_head: bool
    sample_rows: int | None = None

    def __call__(self, view: AttentionView) -> Tensor:
        """A scalar in [0, 1], float32 also inside autocast."""
        return attention_diversification(view.attention, **asdict(self))

    def with_output(self, view: AttentionView, value: Tensor) -> tuple[Tensor, Tensor]:
        """The output of attention ``(B, H, Nq, D)``, and the scalar (see :func:`~mmrobust.models.layers.attend`)."""
        return diversified_attention(view.attention, value, **asdict(self))


@MODELS.register_module()
class AttentionDiversificationLoss(nn.Module):
    """Attention diversification loss (ADL), paper Sec. 3.3, Eq. (1)-(3).

    :attr:`layer_term` is the ``observe`` function of a backbone: it reduces the attention of one layer, where it is, to
    one number. :meth:`forward` averages the layers.

    Near-uniform attention lies below the threshold everywhere, so ADL is exactly 0 there and has no gradient: a fresh
    network starts at 0.

    Args:
        tau: threshold in units of the uniform attention ``1 / N``, >= 0; 2 is the paper's best (Table II).
        loss_weight: lambda of Eq. (3), >= 0; 1 is the paper's best (Fig. 7).
        mode: ``'paper'`` for Eq. (1)-(2), ``'official'`` for what the released code computes, ``'pairwise'`` for the
            mean cosine over all pairs of rows, which Eq. (2) stands in for
            (see :mod:`mmrobust.ops.attention_diversification`).
        per_head: compare rows head by head instead of averaging the heads first. The paper leaves it open; the
            released code averages.
        sample_rows: compute the loss from that many query rows of each image, at least 2, drawn anew at every step;
            None takes all. It costs the share of rows that are drawn, and is an estimate.
        log_layers: also report each layer's value, without gradient.
        loss_name: name of the loss in the log; must contain ``loss`` to be part of the total.

    Raises:
        ValueError: if an argument is out of its range.
    """

    def __init__(
        self,
        tau: float = 2.0,
        loss_weight: float = 1.0,
        mode: str = 'paper',
        per_head: bool = False,
        sample_rows: int | None = None,
        log_layers: bool = False,
        loss_name: str = 'loss_adl',
    ) -> None:
        super().__init__()
        for name, value in (('tau', tau), ('loss_weight', loss_weight)):
            if not value >= 0:
                raise ValueError(f'{name} of ADL must be 0 or more, got {value}')
        if mode not in ADL_MODES:
            raise ValueError(f'mode of ADL must be one of {ADL_MODES}, got {mode!r}')
        if sample_rows is not None and (isinstance(sample_rows, bool) or sample_rows < 2):
            raise ValueError(f'sample_rows of ADL must be 2 or more, or None for all rows, got {sample_rows}')
        if 'loss' not in loss_name:
            raise ValueError(f"loss_name must contain 'loss' to be part of the total, got {loss_name!r}")
        self.tau = tau
        self.loss_weight = loss_weight
        self.mode = mode
        self.per_head = per_head
        self.sample_rows = sample_rows
        self.log_layers = log_layers
        self.loss_name = loss_name

    @property
    def layer_term(self) -> 'DiversificationTerm':
        """Eq. (2) for one layer."""
        return DiversificationTerm(self.tau, self.mode, self.per_head, self.sample_rows)

    def kept_rows(self, view: AttentionView) -> KeptRows:
        """How many rows of one layer it sees, as an ``observe`` function; see :func:`~mmrobust.ops.kept_rows`."""
        return kept_rows(view.attention, **asdict(self.layer_term))

    def forward(self, terms: Sequence[Tensor]) -> Tensor:
        """``loss_weight`` times the mean of the layers' terms."""
        total = torch.stack(tuple(terms))
        # the released code divides by L + 1e-6
        mean = total.sum() / (len(terms) + 1e-6) if self.mode == 'official' else total.mean()
        return self.loss_weight * mean

    def losses(self, terms: Sequence[Tensor]) -> dict[str, Tensor]:
        """The entries for a task model's dict of losses: the loss, and what ``log_layers`` asks for."""
        entries = {self.loss_name: self(terms)}
        if self.log_layers:
            # names without "loss" are logged and not summed
            entries |= {f'adl_layer_{index}': term.detach() for index, term in enumerate(terms)}
        return entries


def build_attention_loss(loss_attn: dict | None, backbone: nn.Module) -> nn.Module | None:
    """Build a loss on the attention of a backbone; None stays None.

    Raises:
        TypeError: the backbone's attention cannot be observed.
    """
    if loss_attn is None:
        return None
    if 'observe' not in inspect.signature(backbone.forward).parameters:
        raise TypeError(
            f'loss_attn needs a backbone whose attention can be observed, such as mmrobust.FAN; '
            f'{type(backbone).__name__} has no `observe` argument'
        )
    return MODELS.build(loss_attn)

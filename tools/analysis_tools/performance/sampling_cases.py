"""How far ADL of drawn rows is from ADL of all rows, in value and gradient."""

# B images, H heads, N tokens, D channels per head

from typing import NamedTuple

import torch

from mmrobust.ops import Attention, attention_diversification


class Estimate(NamedTuple):
    """Of ADL from drawn rows, beside ADL from all rows; averages and deviations are over draws."""

    mean: float  # of the value
    deviation: float  # of the value, of one draw
    exact: float  # from all rows
    gradient_of_mean: float  # cosine between the mean gradient and that of all rows
    gradient_of_draw: float  # the same of one draw, on average
    gradient_length: float  # of the mean gradient, over that of all rows


def sampled_rows(mode: str, sample_rows: int, draws: int, num_tokens: int = 1024) -> Estimate:
    """One layer of one image, 8 heads of 56 channels, some of whose keys draw attention.

    Args:
        mode: of ADL.
        sample_rows: rows that are drawn.
        draws: how many times.
        num_tokens: N.
    """
    torch.manual_seed(0)
    query, key = (torch.randn(1, 8, num_tokens, 56) for _ in range(2))
    query *= 4 * 56**-0.5
    query[..., 0] += 3
    key[:, :, ::7, 0] += 1.5
    attention = Attention(*(tokens.requires_grad_() for tokens in (query, key)))
    exact, exact_gradient = _value_and_gradient(attention, mode, None)
    values, gradients, cosines = [], torch.zeros_like(exact_gradient), []
    for _ in range(draws):
        value, gradient = _value_and_gradient(attention, mode, sample_rows)
        values.append(value)
        gradients += gradient / draws
        cosines.append(torch.cosine_similarity(gradient, exact_gradient, 0))
    return Estimate(
        mean=torch.stack(values).mean().item(),
        deviation=torch.stack(values).std().item(),
        exact=exact.item(),
        gradient_of_mean=torch.cosine_similarity(gradients, exact_gradient, 0).item(),
        gradient_of_draw=torch.stack(cosines).mean().item(),
        gradient_length=(gradients.norm() / exact_gradient.norm()).item(),
    )


def _value_and_gradient(attention: Attention, mode: str, sample_rows: int | None) -> tuple[torch.Tensor, torch.Tensor]:
    loss = attention_diversification(attention, mode=mode, sample_rows=sample_rows)
    grads = torch.autograd.grad(loss, (attention.query, attention.key))
    return loss.detach(), torch.cat([grad.flatten() for grad in grads])

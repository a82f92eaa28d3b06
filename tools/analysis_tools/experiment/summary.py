"""What the raw numbers say: paired changes over seeds with t intervals, Holm's correction, and the gate."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import stats

from experiment.arms import BASELINE
from experiment.profiles import GATE_ACTIVE, GATE_ADL

LEVEL = 0.95
POWER = 0.8

Runs = Mapping[str, Mapping[int, dict[str, Any]]]  # by arm and seed
Measure = Callable[[dict[str, Any]], float]


def by_arm(runs: Sequence[dict[str, Any]]) -> Runs:
    """Runs of each arm by seed, in the order in which arms first come; the baseline is the first."""
    found: dict[str, dict[int, dict]] = {BASELINE: {}}
    for one in runs:
        found.setdefault(one['arm'], {})[one['seed']] = one
    return found


@dataclass(frozen=True)
class Change:
    """Mean over seeds of the difference between two runs of the same seed.

    Attributes:
        values: the differences, one for each seed that both have.
        mean: of them.
        half: half the length of the 95% t interval; infinite for one seed.
        p: two-sided, of a t test against 0; 1 for one seed.
        detectable: the smallest true effect that this many seeds with this spread show at a level of 5% with 80%
            power.
    """

    values: tuple[float, ...]
    mean: float
    half: float
    p: float
    detectable: float

    @property
    def low(self) -> float:
        return self.mean - self.half

    @property
    def high(self) -> float:
        return self.mean + self.half


def change(runs: Runs, arm: str, measure: Measure, reference: str = BASELINE) -> Change:
    """How a number of an arm differs from that of another, by default the baseline's."""
    seeds = sorted(runs[arm].keys() & runs[reference].keys())
    values = np.array([measure(runs[arm][seed]) - measure(runs[reference][seed]) for seed in seeds])
    if len(values) < 2:
        return Change(tuple(values), float(values.mean()) if len(values) else np.nan, np.inf, 1.0, np.inf)
    free, error = len(values) - 1, values.std(ddof=1) / len(values) ** 0.5
    quantile = stats.t.ppf((1 + LEVEL) / 2, free)
    p = 2 * stats.t.sf(abs(values.mean()) / error, free) if error > 0 else float(values.mean() == 0)
    detectable = (quantile + stats.t.ppf(POWER, free)) * error
    return Change(tuple(values), float(values.mean()), float(quantile * error), float(p), float(detectable))


def holm(p_values: Mapping[str, float]) -> dict[str, float]:
    """Adjusted p values (Holm 1979): the k-th smallest of m times m - k + 1, never below an earlier one, at most 1."""
    adjusted, least = {}, 0.0
    for rank, (name, p) in enumerate(sorted(p_values.items(), key=lambda item: item[1])):
        least = max(least, min(1.0, (len(p_values) - rank) * p))
        adjusted[name] = least
    return adjusted


def in_layers(name: str, last_third: bool = False) -> Measure:
    """An attention statistic of a run, mean over all layers or over the last third of them."""

    def measure(one: dict[str, Any]) -> float:
        layers = one['attention']
        return float(np.mean([layer[name] for layer in layers[-max(1, len(layers) // 3) if last_third else 0 :]]))

    return measure


def gradient_ratio(one: dict[str, Any]) -> float:
    """Median over a run's log of the norm of ADL's gradient over the task's; NaN without ADL."""
    ratios = [entry['gradient_ratio'] for entry in one['log'] if 'gradient_ratio' in entry]
    return float(np.median(ratios)) if ratios else np.nan


@dataclass(frozen=True)
class Gate:
    """Whether the baseline overfocuses: else there is nothing for TAP and ADL to mend, and the result says nothing."""

    adl: float
    active: float

    @property
    def passed(self) -> bool:
        return self.adl > GATE_ADL and self.active > GATE_ACTIVE


def gate(runs: Runs) -> Gate:
    """Means over the baseline's seeds."""
    baseline = runs[BASELINE].values()
    return Gate(*(float(np.mean([in_layers(name, True)(one) for one in baseline])) for name in ('adl', 'active_rows')))

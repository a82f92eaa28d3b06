"""Which part may take how long: each has to be over at a point of time of its own, so that all fit."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from mmrobust.performance.gpu_check.work import Work


class Part(NamedTuple):
    """One part of the check.

    Attributes:
        name: of the part.
        function: what runs, see :func:`mmrobust.performance.gpu_check.processes.run_under_limit`.
        share: of the time, beside those of the other parts.
        needs: the least seconds that are worth starting it for.
        processes: how many share the work, where there are cores.
    """

    name: str
    function: Callable[[Work], None]
    share: float
    needs: float
    processes: int = 1


def limits(parts: Sequence[Part], seconds: float) -> list[float]:
    """When each part has to be over, in seconds from now. A part that is over earlier leaves its time to the next."""
    whole = sum(part.share for part in parts)
    ends, passed = [], 0.0
    for part in parts:
        passed += part.share
        ends.append(seconds * passed / whole)
    return ends

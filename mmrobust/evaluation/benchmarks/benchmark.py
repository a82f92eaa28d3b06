"""What a benchmark is, to whoever runs it."""

from collections.abc import Callable
from typing import Any, ClassVar, Protocol

from mmrobust.evaluation.benchmarks.cell_store import CellStore
from mmrobust.evaluation.benchmarks.evaluated_model import EvaluatedModel
from mmrobust.evaluation.protocols import Cell


class Result(Protocol):
    """What is kept of a finished cell: counts, never rounded numbers."""

    def to_json(self) -> str: ...

    @classmethod
    def from_json(cls, text: str) -> 'Result': ...

    @property
    def score(self) -> float | None:
        """One number in percent to watch while a benchmark runs; None if there is none."""


class Benchmark(Protocol):
    """Cells, how one is run, and how finished cells become numbers.

    Attributes:
        name: as on the command line.
        measure: what ``Result.score`` is, in a word.
        model_type: what kind of model is evaluated.
        result_type: what is kept of a cell.
        cells: what is to be run, in this order.
        identity: what decides the numbers besides the model; for JSON.
        protocol: what else to say beside the results; for JSON.
    """

    name: ClassVar[str]
    measure: ClassVar[str]
    model_type: ClassVar[type[EvaluatedModel]]
    result_type: ClassVar[type[Result]]
    cells: list[Cell]

    @property
    def identity(self) -> dict[str, Any]: ...

    @property
    def protocol(self) -> dict[str, Any]: ...

    def size(self, cell: Cell) -> int:
        """Number of pictures of a cell."""

    def run(self, model: EvaluatedModel, cell: Cell, on_picture: Callable[[], None]) -> Result:
        """Run one cell; ``on_picture`` is called after each picture."""

    def summarize(self, store: CellStore) -> dict[str, Any]:
        """The results, when all cells are finished; for JSON."""

    def to_csv(self, summary: dict[str, Any]) -> str:
        """The results as a table."""

    def to_markdown(self, summary: dict[str, Any], title: str) -> str:
        """The results as a page, headline first."""

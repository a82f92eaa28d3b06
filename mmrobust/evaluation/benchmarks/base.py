"""Base class of a benchmark. A registered one appears on the command line, in the page and in comparisons."""

import functools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Protocol

from mmrobust.datasets.titles import data_title
from mmrobust.evaluation.cells import Cell
from mmrobust.evaluation.images import Images, fingerprints
from mmrobust.evaluation.models.evaluated_model import Attack
from mmrobust.evaluation.report import Column, Layout, Table, at
from mmrobust.registry import BENCHMARKS


class Counts(Protocol):
    """Counts of a finished cell."""

    def to_json(self) -> str: ...

    @classmethod
    def from_json(cls, text: str) -> 'Counts': ...

    @property
    def score(self) -> float | None:
        """One number in percent to watch while a benchmark runs; None if there is none."""


class Benchmark:
    """What is run, cell by cell, and how finished cells become numbers.

    A subclass is registered under its name, ``@BENCHMARKS.register_module(name='my-benchmark')``; its constructor takes
    the model's config first, then ``max_images`` and what else decides the numbers, each with a default. What is in
    another package is found if a config names it in ``custom_imports``.

    Attributes:
        name: as on the command line.
        measure: name of the score.
        unit: what progress counts.
        model_type: what runs it, see :mod:`mmrobust.evaluation.models`.
        counts_type: what is kept of a cell.
        low_precision: whether it may run with ``--amp``.
        options: arguments of the constructor that the command line takes, each with what
            ``argparse.ArgumentParser.add_argument`` is given: of several benchmarks, what the first of them says
            counts, and the others say nothing. ``data_root`` and ``max_images`` need no entry.
        of_segmentors: the benchmark that runs under the same name for models of MMSegmentation, if this one does not.
        cells: what is to be run, in this order.
        image_sets: images of each cell as they lie on the disk; cells may share them.
    """

    name: ClassVar[str]
    measure: ClassVar[str]
    unit: ClassVar[str] = 'image'
    model_type: ClassVar[type]
    counts_type: ClassVar[type[Counts]]
    low_precision: ClassVar[bool] = True
    options: ClassVar[Mapping[str, Mapping[str, Any]]] = {}
    of_segmentors: ClassVar['type[Benchmark] | None'] = None

    cells: list[Cell]
    image_sets: Mapping[Cell, Images]

    # what a subclass must have

    @property
    def identity(self) -> dict[str, Any]:
        """Settings besides the model that determine the numbers, ``benchmark`` among them; for JSON."""
        raise NotImplementedError

    def run(self, model: Any, cell: Cell, on_image: Callable[[], None] = lambda: None) -> Counts:
        """Run one cell; ``on_image`` is called after each image."""
        raise NotImplementedError

    def summarize(self, counts: Mapping[Cell, Any]) -> dict[str, Any]:
        """The numbers, when all cells are finished; for JSON."""
        raise NotImplementedError

    @classmethod
    def layout(cls, results: Mapping[str, Any], provenance: Mapping[str, Any]) -> Layout:
        """How such numbers are shown."""
        raise NotImplementedError

    # what it may have

    def images(self, cell: Cell) -> Images:
        """The images of a cell as they lie on the disk."""
        return self.image_sets[cell]

    def size(self, cell: Cell) -> int:
        """Number of images of a cell."""
        return self.images(cell).size

    def corrupted(self, cell: Cell, dataset: dict) -> dict:
        """A config of such images, turned into one of what the model sees."""
        return dataset

    def attack(self, cell: Cell) -> Attack | None:
        """Attack on the pixels, see ``predict`` of the model; None for none."""
        return None

    @functools.cached_property
    def class_names(self) -> Sequence[str]:
        """Names of the K classes."""
        return self.images(self.cells[0]).class_names

    @functools.cached_property
    def palette(self) -> Sequence[Sequence[int]]:
        """K colours, RGB from 0 to 255; empty if the classes have none."""
        return self.images(self.cells[0]).palette

    @functools.cached_property
    def data_root(self) -> str | None:
        """Folder of the images, for the record."""
        return self.images(self.cells[0]).root

    @functools.cached_property
    def data_set(self) -> str | None:
        """Name of the images for readers; None where that of the benchmark says it."""
        return data_title(self.images(self.cells[0]).dataset)

    @property
    def protocol(self) -> dict[str, Any]:
        """Further provenance, for JSON."""
        return {'cells': [cell.key for cell in self.cells]}

    @property
    def scored(self) -> bool:
        """Whether there are labels, and so numbers."""
        return True

    def label_set(self, cell: Cell) -> tuple[Sequence[str], Sequence[int] | None]:
        """Names of a cell's classes in the order of its labels, and ``metainfo['subset']`` of its data, mostly None.

        The model is checked against them. No names stand for data whose labels do not matter.
        """
        images = self.images(cell)
        return images.class_names, images.subset

    @property
    def images_sha256(self) -> dict[str, str]:
        """Hashes of all images, see :func:`mmrobust.evaluation.images.fingerprint`, by the first cell that has them."""
        return fingerprints({cell.key: self.images(cell) for cell in self.cells})

    def score(self, counts: Any) -> float | None:
        """One number in percent to watch while a benchmark runs, as the results define it; None if there is none."""
        return counts.score

    def check(self, cell: Cell, counts: Any) -> None:
        """Check that counts from the disk are those of a cell.

        Raises:
            ValueError: they are of other images or classes.
        """

    def begin(self, out: Path) -> None:
        """Called with the results folder before the first cell."""

    def require(self, cells: Sequence[Cell]) -> None:
        """Check that all that these cells need is there, before the first one runs.

        Raises:
            FileNotFoundError: something is missing.
        """

    def is_finished(self, cell: Cell) -> bool:
        """Whether the files that a cell writes besides its counts are there."""
        return True

    def finish(self) -> list[str]:
        """Write what a run leaves besides its numbers. Returns sentences for the user."""
        return []

    def show_worst(
        self, model: Any, counts: Mapping[Cell, Any], count: int, out: Path, of: Sequence[Mapping] | None = None
    ) -> list[dict] | None:
        """Write the ``count`` images on which the model fails most, see :mod:`mmrobust.evaluation.worst`.

        Args:
            model: predicts them again.
            counts: of all cells.
            count: how many.
            out: results folder.
            of: cases of another report to show instead.

        Returns:
            ``image``, ``cell`` and ``mIoU`` of each; None from a benchmark that shows none.
        """
        return None


def require_some(what: str, values: Sequence[str], allowed: Sequence[str]) -> None:
    """Raise ValueError if a value is not allowed."""
    for value in values:
        if value not in allowed:
            raise ValueError(f'{what} must be some of {", ".join(allowed)}, got {value!r}')


def protocol_title(title: str, own: str, provenance: Mapping[str, Any]) -> str:
    """Title of a benchmark: its own on its own data, else what is run on what.

    Args:
        title: of the benchmark.
        own: data that it is defined on; the beginning of their name will do.
        provenance: of a run.
    """
    data = at(provenance, 'protocol', 'data_set')
    return title if not isinstance(data, str) or data.startswith(own) else f'{title} protocol on {data}'


def severity_grid(key: str, clean: str, better: str = 'higher') -> Table:
    """Table of each corruption at each severity, below the number ``clean`` of the headline; it is in CSV only."""
    column = Column(key, key, better, csv=(key, f'{key}_low', f'{key}_high'))
    return Table(
        'cells',
        'corruption',
        (column,),
        'By corruption and severity',
        role='grid',
        before=(('clean', clean),),
        csv_row=('corruption', 'severity'),
        markdown=False,
    )


def benchmark_types(scope: str | None = None) -> dict[str, type[Benchmark]]:
    """All registered benchmarks by name, or those for models of a scope such as ``'mmseg'``."""
    BENCHMARKS.import_from_location()
    types = dict(BENCHMARKS.module_dict)
    if scope == 'mmseg':
        types = {name: of.of_segmentors or of for name, of in types.items()}
    return {name: of for name, of in types.items() if scope in (None, of.model_type.scope)}

"""PGD and FGSM: error of a classifier on pictures that were changed against it."""

from collections.abc import Callable, Sequence

from mmengine.config import Config
from torch import Tensor

from mmrobust.attacks import fgsm, pgd
from mmrobust.evaluation.benchmarks import error_table
from mmrobust.evaluation.benchmarks.cell_store import CellStore
from mmrobust.evaluation.benchmarks.classification import Attack
from mmrobust.evaluation.benchmarks.classification_benchmark import ClassificationBenchmark
from mmrobust.evaluation.benchmarks.pictures import LabelledPictures
from mmrobust.evaluation.protocols import CLEAN, Cell
from mmrobust.randomness import derive_seed

ATTACKS = ('fgsm', 'pgd')


class Adversarial(ClassificationBenchmark):
    """The test pictures, clean and after each attack, as RVT (Mao et al. 2022) and the paper's Table I define them.

    Args:
        config: its ``test_dataloader`` names the data and the pipeline.
        attacks: fgsm, pgd or both.
        eps: largest change of a pixel, in [0, 1].
        step_size: of PGD, in [0, 1].
        num_steps: of PGD.
        seed: of PGD's random starts, which do not depend on batches, workers and order.
        max_images: take this many pictures, spread evenly; None takes all.

    Raises:
        ValueError: a value is not allowed.
        FileNotFoundError: there are no data.
    """

    name = 'adversarial'

    def __init__(
        self,
        config: Config,
        attacks: Sequence[str] = ATTACKS,
        eps: float = 1 / 255,
        step_size: float = 0.5 / 255,
        num_steps: int = 5,
        seed: int = 0,
        max_images: int | None = None,
    ) -> None:
        for attack in attacks:
            if attack not in ATTACKS:
                raise ValueError(f'attacks must be some of {", ".join(ATTACKS)}, got {attack!r}')
        for name, value in (('eps', eps), ('step_size', step_size)):
            if not 0 <= value <= 1:
                raise ValueError(f'{name} must be 0 to 1, such as 1/255, got {value}')
        if num_steps < 1:
            raise ValueError(f'num_steps must be 1 or more, got {num_steps}')
        self.cells = [CLEAN, *map(Cell, attacks)]
        self.eps, self.step_size, self.num_steps, self.seed = eps, step_size, num_steps, seed
        scope = config.get('default_scope') or 'mmpretrain'
        self._pictures = LabelledPictures(config.test_dataloader.dataset, scope, max_images)

    @property
    def identity(self) -> dict:
        """What of the benchmark decides the numbers."""
        return {
            'benchmark': self.name,
            'eps': self.eps,
            'step_size': self.step_size,
            'num_steps': self.num_steps,
            'seed': self.seed,
            'num_images': self._pictures.size,
        }

    @property
    def protocol(self) -> dict:
        """What else to say of it beside the results."""
        return {'cells': [cell.name for cell in self.cells]}

    def pictures(self, cell: Cell) -> LabelledPictures:
        """The same pictures for every cell."""
        return self._pictures

    def attack(self, cell: Cell) -> Attack | None:
        """What changes the pixels on the way to the model."""

        def change(logits_of: Callable[[Tensor], Tensor], images: Tensor, labels: Tensor, paths: list[str]) -> Tensor:
            if cell.corruption == 'fgsm':
                return fgsm(logits_of, images, labels, self.eps)
            seeds = [derive_seed(self.seed, 'pgd', self._pictures.name(path)) for path in paths]
            return pgd(logits_of, images, labels, self.eps, self.step_size, self.num_steps, seeds=seeds)

        return None if cell == CLEAN else change

    def summarize(self, store: CellStore) -> dict:
        """Numbers of all finished cells, for JSON."""
        return error_table.summarize(store, self.cells)

    to_csv = staticmethod(error_table.to_csv)
    to_markdown = staticmethod(error_table.to_markdown)

"""PGD and FGSM: error of a classifier under attack."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from mmengine.config import Config
from torch import Tensor

from mmrobust.attacks import fgsm, pgd
from mmrobust.attacks.ascent import BALLS, require_sizes
from mmrobust.evaluation.benchmarks.adversarial_segmentation import AdversarialSegmentation, blind_warning, several
from mmrobust.evaluation.benchmarks.base import require_some
from mmrobust.evaluation.benchmarks.classification_base import ErrorTable, error_layout
from mmrobust.evaluation.cells import CLEAN, Cell
from mmrobust.evaluation.counts import Predictions
from mmrobust.evaluation.images import LabelledImages
from mmrobust.evaluation.models.classification import ClassificationModel
from mmrobust.evaluation.models.evaluated_model import Attack
from mmrobust.evaluation.report import Layout
from mmrobust.randomness import derive_seed
from mmrobust.registry import BENCHMARKS

ATTACKS = ('fgsm', 'pgd')
PGD_5 = {'eps': 1 / 255, 'step_size': 0.5 / 255, 'num_steps': 5}


def fraction(text: str) -> float:
    """``8/255`` or ``0.03`` as a number.

    Raises:
        ValueError: it is neither.
    """
    above, slash, below = text.partition('/')
    if not slash:
        return float(text)
    if float(below) == 0:
        raise ValueError(f'a fraction must not be over 0, got {text!r}')
    return float(above) / float(below)


@BENCHMARKS.register_module(name='adversarial')
class Adversarial(ErrorTable):
    """The test images, clean and after each attack, as RVT (Mao et al. 2022) and the paper's Table I define them.

    Args:
        config: its ``test_dataloader`` names the data and the pipeline.
        attacks: fgsm, pgd or both.
        eps: largest change of a pixel, in [0, 1).
        step_size: of PGD, in [0, 1).
        num_steps: of PGD.
        seed: of PGD's random starts, which do not depend on batches, workers and order.
        max_images: take this many images, spread evenly; None takes all.

    Raises:
        ValueError: a value is not allowed.
        FileNotFoundError: there are no data.
    """

    name = 'adversarial'
    of_segmentors = AdversarialSegmentation
    low_precision = AdversarialSegmentation.low_precision
    options = {
        'attacks': dict(
            nargs='+',
            metavar='NAME',
            help='fgsm and pgd of a classifier (default: both); pgd, segpgd, cospgd and sea of a segmentor (default: '
            'pgd, segpgd and cospgd)',
        ),
        'eps': dict(
            type=fraction,
            nargs='+',
            metavar='SIZE',
            help='largest change of a pixel, such as 8/255 or 0.03 (default: 1/255 of a classifier, 8/255 of a '
            'segmentor, for which it may be several)',
        ),
        'step_size': dict(
            type=fraction, help='of an attack, such as 2/255 (default: 0.5/255 of a classifier, 0.01 of a segmentor)'
        ),
        'num_steps': dict(
            type=int,
            nargs='+',
            metavar='NUMBER',
            help='of an attack (default: 5 of a classifier, 20 of a segmentor, for which it may be several)',
        ),
        'norm': dict(choices=tuple(BALLS), help='of the largest change, of a segmentor (default: linf)'),
        'seed': {},
    }

    def __init__(
        self,
        config: Config,
        attacks: Sequence[str] = ATTACKS,
        eps: float | Sequence[float] = 1 / 255,
        step_size: float = 0.5 / 255,
        num_steps: int | Sequence[int] = 5,
        seed: int = 0,
        max_images: int | None = None,
    ) -> None:
        require_some('attacks', attacks, ATTACKS)
        for name, values in (('eps', several(eps)), ('num_steps', several(num_steps))):
            if len(values) != 1:
                raise ValueError(f'{name} must be one number for a classifier, got {values}: run each by itself')
        (eps,), (num_steps,) = several(eps), several(num_steps)
        require_sizes(eps, step_size, num_steps)
        self.cells = [CLEAN, *map(Cell, attacks)]
        self.eps, self.step_size, self.num_steps, self.seed = eps, step_size, num_steps, seed
        self.image_sets = dict.fromkeys(self.cells, LabelledImages.of_config(config, max_images))

    @property
    def identity(self) -> dict[str, Any]:
        return {
            'benchmark': self.name,
            'eps': self.eps,
            'step_size': self.step_size,
            'num_steps': self.num_steps,
            'without_gradient': 'margin',  # as before there was this, an attack did nothing there
            'seed': self.seed,
            'num_images': self.size(CLEAN),
        }

    def attack(self, cell: Cell) -> Attack | None:
        def change(logits_of: Callable[[Tensor], Tensor], images: Tensor, labels: Tensor, paths: list[str]) -> Tensor:
            if cell.name == 'fgsm':
                return fgsm(logits_of, images, labels, self.eps, tell_gradients=self._count)
            seeds = [derive_seed(self.seed, 'pgd', self.images(CLEAN).name(path)) for path in paths]
            size = self.eps, self.step_size, self.num_steps
            return pgd(logits_of, images, labels, *size, seeds=seeds, tell_gradients=self._count)

        return None if cell == CLEAN else change

    def run(self, model: ClassificationModel, cell: Cell, on_image: Callable[[], None] = lambda: None) -> Predictions:
        """As in the base class; after an attack, with the number of images that had no gradient."""
        self._gradients = {'by_margin': 0, 'blind': 0}
        found = super().run(model, cell, on_image)
        return found if cell == CLEAN else Predictions(found.images, self._gradients)

    def _count(self, by_margin: Tensor, blind: Tensor) -> None:
        self._gradients['by_margin'] += int(by_margin.sum())
        self._gradients['blind'] += int(blind.sum())

    def summarize(self, counts: Mapping[Cell, Predictions]) -> dict[str, Any]:
        """As in the base class, and of each attack the images without a gradient."""
        results = super().summarize(counts)
        for cell, of in counts.items():
            if of.gradients is not None:
                results['cells'][cell.key] |= {f'num_{name}': number for name, number in of.gradients.items()}
        return results

    @classmethod
    def layout(cls, results: Mapping, provenance: Mapping) -> Layout:
        eps, step, steps = (provenance[name] for name in PGD_5)
        of_pgd = f'; PGD takes {steps} steps of {255 * step:g}/255' if 'pgd' in results['cells'] else ''
        warnings = filter(None, (blind_warning(name, row) for name, row in results['cells'].items()))
        said = (f'A pixel changes by {255 * eps:g}/255 at most{of_pgd}.', *warnings)
        return error_layout(cls.name, 'Attacks', results, 'attack', 'pgd', (*PGD_5, 'seed', 'num_images'), said)

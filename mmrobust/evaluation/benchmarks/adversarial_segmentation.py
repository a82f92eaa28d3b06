"""PGD, SegPGD, CosPGD and the losses of SEA: mIoU and pixel accuracy of a segmentation model under attack."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from mmengine.config import Config
from torch import Tensor

from mmrobust.attacks import SEA, SEGMENTATION_ATTACKS, attack_segmentation
from mmrobust.attacks.ascent import require_sizes
from mmrobust.attacks.segmentation import USUAL_EPS, USUAL_STEP
from mmrobust.evaluation.benchmarks.base import require_some
from mmrobust.evaluation.benchmarks.segmentation_base import MIOU, SegmentationBenchmark
from mmrobust.evaluation.cells import CLEAN, Cell
from mmrobust.evaluation.counts import Attacked, Confusion
from mmrobust.evaluation.images import LabelMapImages
from mmrobust.evaluation.models.evaluated_model import Attack
from mmrobust.evaluation.models.segmentation import SegmentationModel
from mmrobust.evaluation.report import Column, Layout, Table
from mmrobust.evaluation.statistics import (
    INTERVAL_LEVEL,
    Bootstrap,
    mean_iou_of_areas,
    worst_by_accuracy,
    worst_by_iou,
)
from mmrobust.randomness import derive_seed

ATTACKS = (*(name for name in SEGMENTATION_ATTACKS if name not in SEA), 'sea')
OF_SEA = ', of sea eps / 4'  # beside the usual step size
WORST = 'worst_'  # begins the name of the worst case over several cells
BLIND_SHARE = 0.01  # of images, above which an error says nothing


class Settings(NamedTuple):
    """What a cell is: one of ``SEGMENTATION_ATTACKS``, or ``'sea'`` for the worst case over its three."""

    attack: str
    norm: str
    eps: float
    num_steps: int

    @property
    def key(self) -> str:
        """Name of the cell, such as ``segpgd_8of255_20steps``."""
        return key_of([self.attack], self.norm, [self.eps], [self.num_steps])


class AdversarialSegmentation(SegmentationBenchmark):
    """The test images, clean and after each attack at each size and number of steps; a cell is one of these.

    The attacks are those of :mod:`mmrobust.attacks.segmentation`.

    Args:
        config: its ``test_dataloader`` names the data and the pipeline.
        attacks: some of pgd, segpgd, cospgd and sea, which is three cells and the worst case over them.
        eps: largest change, one or several: of a pixel, or for ``'l2'`` of the whole image. None: 8/255, or 64/255.
        step_size: of all attacks; None: 0.01, or 0.1 for ``'l2'``, and of sea a quarter of eps.
        num_steps: one or several.
        norm: ``'linf'`` or ``'l2'``.
        seed: of the random starts, which do not depend on batches, workers and order.
        data_root: folder of the images; None takes the config's.
        max_images: take this many images, spread evenly; None takes all.

    Raises:
        ValueError: a value is not allowed.
        FileNotFoundError: there are no data.
    """

    name = 'adversarial'  # registered as that of classifiers, which names this one
    low_precision = False  # an attack whose gradients are rounded is weaker

    def __init__(
        self,
        config: Config,
        attacks: Sequence[str] = ('pgd', 'segpgd', 'cospgd'),
        eps: float | Sequence[float] | None = None,
        step_size: float | None = None,
        num_steps: int | Sequence[int] = 20,
        norm: str = 'linf',
        seed: int = 0,
        data_root: str | None = None,
        max_images: int | None = None,
    ) -> None:
        require_some('attacks on a segmentor', attacks, ATTACKS)
        require_sizes(0, 0, 1, norm)
        radii, numbers = several(USUAL_EPS[norm] if eps is None else eps), several(num_steps)
        if not attacks or not radii or not numbers:
            raise ValueError('attacks, eps and num_steps must have one value at least, got none')
        for radius in radii:
            for number in numbers:
                require_sizes(radius, step_size or 0, number, norm)
        settings = [
            Settings(part, norm, radius, number)
            for radius in radii
            for number in numbers
            for attack in attacks
            for part in (SEA if attack == 'sea' else [attack])
        ]
        self._settings = {Cell(of.key): of for of in settings}
        self.cells = [CLEAN, *self._settings]
        self.step_size, self.norm, self.seed = step_size, norm, seed
        self._attacked: dict[str, Attacked] = {}
        self.image_sets = dict.fromkeys(self.cells, LabelMapImages.of_config(config, max_images, data_root=data_root))

    @property
    def identity(self) -> dict[str, Any]:
        """Settings of the benchmark that determine the numbers; sizes and steps are in the names of its cells."""
        usual = f'{USUAL_STEP[self.norm]:g}{OF_SEA}'
        return {
            'benchmark': self.name,
            'norm': self.norm,
            'step_size': usual if self.step_size is None else self.step_size,
            'seed': self.seed,
            'num_images': self.size(CLEAN),
        }

    def attack(self, cell: Cell) -> Attack | None:
        """The attack on the pixels; what it did is kept by the name of the image."""
        if cell == CLEAN:
            return None
        of, own = self._settings[cell], self.images(cell)

        def change(logits_of: Callable[[Tensor], Tensor], images: Tensor, labels: Tensor, paths: list[str]) -> Tensor:
            names = [own.name(path) for path in paths]
            found = attack_segmentation(
                logits_of,
                images,
                labels,
                **of._asdict(),
                step_size=self.step_size,
                seeds=[derive_seed(self.seed, 'attack', name) for name in names],
                ignore_index=own.ignore_index,
            )
            told = zip(*(values.tolist() for values in found[1:]), strict=True)
            self._attacked |= {
                name: Attacked(before, after, int(by_margin), int(blind))
                for name, (before, after, by_margin, blind) in zip(names, told, strict=True)
            }
            return found.images

        return change

    def run(self, model: SegmentationModel, cell: Cell, on_image: Callable[[], None] = lambda: None) -> Confusion:
        """As in the base class; after an attack, with what it did to each image."""
        self._attacked = {}
        found = super().run(model, cell, on_image)
        return found if cell == CLEAN else Confusion(found.confusion, found.images, self._attacked)

    def check(self, cell: Cell, counts: Confusion) -> None:
        super().check(cell, counts)
        if (counts.attacked is None) != (cell == CLEAN):
            raise ValueError(f'it must say what the attack did unless it is of clean images, and is of {cell.key}')

    def summarize(self, counts: Mapping[Cell, Confusion]) -> dict[str, Any]:
        return summarize(counts, {cell.key: of for cell, of in self._settings.items()})

    @classmethod
    def layout(cls, results: Mapping, provenance: Mapping) -> Layout:
        rows = results['cells']
        main = next(reversed(rows), 'clean')
        headline = tuple(
            Column(f'cells/{row}/{key}', f'{row.replace("_", " ")} {key}', interval='inline')
            for row in ('clean', main)
            for key in ('mIoU', 'aAcc')
        )
        columns = (
            MIOU,
            Column('aAcc', 'aAcc', interval='column', csv=('aAcc', 'aAcc_low', 'aAcc_high')),
            Column('loss_before', 'loss before', 'lower', decimals=3, csv=('loss_before',)),
            Column('loss_after', 'loss after', 'lower', decimals=3, csv=('loss_after',)),
            Column('num_images', 'images', '', decimals=0, csv=('num_images',)),
        )
        about = (
            'mIoU over the classes that the labels of these images have, and aAcc, the share of labelled pixels that '
            'are right, in percent. Loss: mean cross-entropy of labelled pixels before and after the attack, mean '
            f'over images. Intervals: {INTERVAL_LEVEL:.0%}, bootstrap over images, the attacks as they are.'
        )
        return Layout(
            cls.name,
            'Attacks on segmentation',
            'segmentation',
            about,
            (Table('', 'run', headline), Table('cells', 'attack', columns, role='conditions', csv_row=('cell',))),
            main=f'cells/{main}/mIoU',
            clean='cells/clean/mIoU',
            protocol=('norm', 'step_size', 'seed', 'num_images'),
            sentences=tuple(_sentences(rows, provenance)),
        )


def key_of(attacks: Collection[str], norm: str, radii: Collection[float], numbers: Collection[int]) -> str:
    """Name of attacks at each of these sizes and numbers of steps; it says what they are, in one order."""
    names = '+'.join(name for name in (*SEGMENTATION_ATTACKS, 'sea') if name in attacks)
    sizes = '+'.join(f'{255 * radius:g}' for radius in sorted(set(radii)))
    steps = '+'.join(map(str, sorted(set(numbers))))
    return f'{names}{"" if norm == "linf" else f"_{norm}"}_{sizes}of255_{steps}steps'


def several(values: Any) -> list:
    """One value, or each of several."""
    return list(values) if isinstance(values, Sequence) else [values]


def summarize(counts: Mapping[Cell, Confusion], settings: Mapping[str, Settings]) -> dict[str, Any]:
    """All numbers of a finished run, in percent and unrounded.

    Args:
        counts: of each cell, the clean one first.
        settings: of each attacked cell, by its key.

    Returns:
        A dict for JSON: ``cells``, with the worst case over SEA's losses and last that over all attacks, if there are
        several; its name says of what, so that it is never compared with one of other attacks. Of each: ``mIoU`` and
        ``aAcc`` with intervals and bootstrap samples, ``num_images``; of an attack also the mean ``loss_before`` and
        ``loss_after``, and the images ``num_by_margin`` and ``num_blind``.
    """
    clean = counts[CLEAN]
    draws = Bootstrap(clean.images)
    labelled = clean.labelled  # one set of classes for all cells
    areas = {cell.key: np.stack([of.images[name] for name in draws.names]) for cell, of in counts.items()}
    rows = {}
    for cell, of in counts.items():
        rows[cell.key] = _row(draws, areas[cell.key], areas[cell.key], labelled) | _effect(of)
    for name, parts in _ensembles(settings).items():
        found = np.stack([areas[part] for part in parts])
        every = np.arange(found.shape[1])
        chosen = worst_by_iou(found[..., labelled]), worst_by_accuracy(found)
        rows[name] = _row(draws, *(found[choice, every] for choice in chosen), labelled)
    return {'cells': rows}


def _ensembles(settings: Mapping[str, Settings]) -> dict[str, list[str]]:
    """Name of a worst case to the cells that it is over."""
    of_sea: dict[str, list[str]] = {}
    for key, of in settings.items():
        if of.attack in SEA:
            of_sea.setdefault(of._replace(attack='sea').key, []).append(key)
    if len(settings) < 2 or [list(settings)] == list(of_sea.values()):
        return of_sea
    attacks, norms, radii, numbers = map(set, zip(*settings.values(), strict=True))
    attacks = {'sea' if name in SEA else name for name in attacks}
    return of_sea | {WORST + key_of(attacks, *norms, radii, numbers): list(settings)}


def _row(draws: Bootstrap, for_iou: np.ndarray, for_accuracy: np.ndarray, labelled: np.ndarray) -> dict[str, Any]:
    """mIoU and aAcc from the areas ``(I, 3, K)`` of the images, which the worst case chooses for each of the two."""

    def accuracy(areas: np.ndarray) -> np.ndarray:
        return 100 * areas[..., 0, :].sum(-1) / np.maximum(areas[..., 2, :].sum(-1), 1)

    samples = {
        'mIoU': mean_iou_of_areas(draws.sums(for_iou)[..., labelled]),
        'aAcc': accuracy(draws.sums(for_accuracy)),
    }
    row = {
        'mIoU': float(mean_iou_of_areas(for_iou.sum(0)[..., labelled])),
        'aAcc': float(accuracy(for_accuracy.sum(0))),
    }
    row |= {f'{name}_interval': draws.interval(of) for name, of in samples.items()}
    return row | {'num_images': len(for_iou), 'bootstrap': draws.record(**samples)}


def _effect(of: Confusion) -> dict[str, Any]:
    """What the attack of a cell did, over its images that have a label; empty for the clean ones."""
    if of.attacked is None:
        return {}
    found = np.array([of.attacked[name] for name, areas in of.images.items() if areas[2].any()])
    before, after = found[:, :2].mean(0)
    by_margin, blind = found[:, 2:].sum(0)
    losses = {'loss_before': float(before), 'loss_after': float(after)}
    return losses | {'num_by_margin': int(by_margin), 'num_blind': int(blind)}


def _sentences(rows: Mapping, provenance: Mapping) -> Iterator[str]:
    told = f'Norm {provenance["norm"]}, steps of {provenance["step_size"]}, random start, last point'
    with_sea = any(name.startswith('sea') for name in rows)
    yield f'{told}; of sea the point with the fewest right pixels.' if with_sea else f'{told.replace(OF_SEA, "")}.'
    for name, row in rows.items():
        if name.startswith(WORST):
            yield f'{name} is the worst case over all attacks of this run, chosen image by image.'
        # the masked losses of SEA leave wrong pixels alone, whose cross-entropy may fall
        lower_loss = 'loss_after' in row and row['loss_after'] <= row['loss_before']
        if lower_loss and row['aAcc'] >= rows['clean']['aAcc']:
            yield f'{name} neither raised the loss nor lowered aAcc: its mIoU is not evidence of robustness.'
        if warning := blind_warning(name, row, 'mIoU'):
            yield warning


def blind_warning(attack: str, row: Mapping, measure: str = 'error') -> str:
    """A warning where an attack had no gradient to follow; empty where it had."""
    blind, number = row.get('num_blind', 0), row['num_images']
    if not blind:
        return ''
    said = f'{attack} had no gradient for {blind} of {number} images, and left them as they were'
    return f'{said}: its {measure} is not evidence of robustness.' if blind > BLIND_SHARE * number else f'{said}.'

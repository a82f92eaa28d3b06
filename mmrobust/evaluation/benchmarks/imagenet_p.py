"""ImageNet-P: stability of a classifier over gradual perturbations."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from mmengine.config import Config
from torch.utils.data import DataLoader

from mmrobust.datasets.imagenet_p import ImageNetP as ImageNetPDataset
from mmrobust.datasets.transforms.corrupt import name_below
from mmrobust.evaluation.benchmarks.base import Benchmark, require_some
from mmrobust.evaluation.cells import Cell
from mmrobust.evaluation.counts import Flips, Stability
from mmrobust.evaluation.images import evenly, fingerprint, require_names
from mmrobust.evaluation.models.classification import ClassificationModel
from mmrobust.evaluation.report import Column, Layout, Table
from mmrobust.evaluation.statistics import (
    INTERVAL_LEVEL,
    Bootstrap,
    benchmark_mean,
    flip_probability,
    flip_rates,
    top5,
    top5_distance,
)
from mmrobust.evaluation.statistics.perturbation_stability import EXTRA_PERTURBATIONS, PERTURBATIONS, frame_pairs
from mmrobust.processes import outlive_sigterm
from mmrobust.registry import BENCHMARKS


@BENCHMARKS.register_module(name='imagenet-p')
class ImageNetP(Benchmark):
    """ImageNet-P (Hendrycks and Dietterich, ICLR 2019); a cell is a perturbation.

    The frames are 224 x 224 and go to the model as they are.

    Args:
        config: of the classifier.
        data_root: folder with ``<perturbation>/<wnid>/*.mp4``.
        perturbations: some of the 10 (or 4 extra) perturbations; mFR needs all 10.
        difficulty: 1 to 3; published mFR is at 1.
        max_images: take this many videos of each, spread evenly; None takes all.

    Raises:
        ValueError: a value is not allowed, or class folders are wrong.
        FileNotFoundError: there are no data.
    """

    name = 'imagenet-p'
    measure = 'flip probability'
    unit = 'video'
    model_type = ClassificationModel
    counts_type = Flips
    class_names, palette, data_set = (), (), None
    options = {
        'perturbations': dict(nargs='+', metavar='NAME', help='default: the 10'),
        'difficulty': dict(type=int, choices=[1, 2, 3], help='default: 1'),
    }

    def __init__(
        self,
        config: Config,
        data_root: str = 'data/imagenet-p',
        perturbations: Sequence[str] = PERTURBATIONS,
        difficulty: int = 1,
        max_images: int | None = None,
    ) -> None:
        self.difficulty = difficulty
        self.data_root = data_root
        require_some('perturbations', perturbations, PERTURBATIONS + EXTRA_PERTURBATIONS)
        self._videos = {}
        for perturbation in perturbations:
            videos = ImageNetPDataset(data_root, perturbation, difficulty, pipeline=[])
            self._videos[Cell(perturbation)] = videos.get_subset(evenly(len(videos), max_images))
        self.cells = list(self._videos)

    @property
    def identity(self) -> dict[str, Any]:
        sizes = {cell.key: self.size(cell) for cell in self.cells}
        return {'benchmark': self.name, 'difficulty': self.difficulty, 'num_images': sizes}

    def label_set(self, cell: Cell) -> tuple[Sequence[str], Sequence[int] | None]:
        """ImageNet's: flips of other classes have nothing to do with AlexNet's."""
        return self._videos[cell].metainfo['classes'], None

    @property
    def images_sha256(self) -> dict[str, str]:
        return {cell.key: fingerprint((name, [path]) for name, path in self._paths(cell)) for cell in self.cells}

    def check(self, cell: Cell, counts: Flips) -> None:
        require_names(counts.videos, [name for name, _ in self._paths(cell)])

    def size(self, cell: Cell) -> int:
        return len(self._videos[cell])

    def run(self, model: ClassificationModel, cell: Cell, on_image: Callable[[], None] = lambda: None) -> Flips:
        """Score all frames of all videos of a perturbation, and compare them.

        Raises:
            ValueError: a video is broken.
        """
        found = {}
        workers = model.loader_cfg['num_workers']
        loader = DataLoader(self._videos[cell], batch_size=None, num_workers=workers, collate_fn=lambda x: x)
        outlive_sigterm(loader)
        for sample in loader:
            scores = model.frames(sample['frames'])
            pairs = len(frame_pairs(len(scores), cell.name, self.difficulty)[1])
            flips = flip_probability(scores.argmax(1), cell.name, self.difficulty) * pairs
            distance = top5_distance(top5(scores), cell.name, self.difficulty) * pairs
            found[self._name(sample['video_path'])] = Stability(round(float(flips)), round(float(distance)), pairs)
            on_image()
        assert len(found) == self.size(cell), 'every video must be counted once'
        return Flips(found)

    def _paths(self, cell: Cell) -> list[tuple[str, str]]:
        """Name and file of each video."""
        videos = self._videos[cell]
        paths = [videos.get_data_info(index)['video_path'] for index in range(len(videos))]
        return [(self._name(path), path) for path in paths]

    def _name(self, path: str) -> str:
        return name_below(str(self.data_root), path)

    def summarize(self, counts: Mapping[Cell, Flips]) -> dict[str, Any]:
        return summarize(counts, self.difficulty)

    @classmethod
    def layout(cls, results: Mapping, provenance: Mapping) -> Layout:
        columns = (
            Column('flip_probability', 'FP', 'lower', interval='column', csv=('flip_probability', 'low', 'high')),
            Column('FR', 'FR', 'lower', csv=('FR',)),
            Column('uT5D', 'uT5D', 'lower', decimals=3, csv=('uT5D',)),
            Column('num_videos', 'videos', '', decimals=0, csv=('num_videos',), markdown=False),
        )
        extra = tuple(name for name in results['perturbations'] if name in EXTRA_PERTURBATIONS)
        tables = (
            Table('', 'run', (Column('mFR', 'mFR', 'lower', interval='inline'),)),
            Table('perturbations', 'perturbation', columns, role='conditions', apart=extra, csv_row=('perturbation',)),
        )
        about = (
            'FP is the share in percent of compared frames whose prediction differs, FR that over the FP of AlexNet'
            f'{"" if results["mFR"] is None else ", mFR the mean FR of the 10 perturbations"}. '
            'uT5D is the distance of the five best classes, not divided by '
            f'that of AlexNet, which is not published. Intervals: {INTERVAL_LEVEL:.0%}, bootstrap over videos.'
        )
        none = 'A dash: FR is defined at difficulty 1 only, and mFR needs all 10 perturbations there.'
        rows = results['perturbations'].values()
        numbers = ' or '.join(dict.fromkeys(str(row['num_videos']) for row in rows))
        flat = f'Each perturbation has {numbers} videos here.'
        said = f"FR divides by AlexNet's FP on all videos of ImageNet-P; here it is of {numbers} of each perturbation."
        said = said if any(row['FR'] is not None for row in rows) else flat
        return Layout(
            cls.name,
            'ImageNet-P',
            'classification',
            about,
            tables,
            main='mFR',
            protocol=('difficulty', 'num_images'),
            sentences=(said, none) if results['mFR'] is None else (said,),
            unit=cls.unit,
        )


def _video_of(name: str) -> str:
    """The same for all perturbations of an image, so that they are drawn together: the name below the first folder."""
    return name.partition('/')[2]


def summarize(counts: Mapping[Cell, Flips], difficulty: int) -> dict[str, Any]:
    """All numbers of a finished run, unrounded, for JSON.

    Flip probabilities and rates are in percent, uT5D is 0 to 15. FR and mFR are relative to AlexNet at difficulty 1,
    and are None at another; mFR is over the 10 perturbations of the benchmark. Intervals: bootstrap over videos, whose
    samples are there too, so that another run on the same videos gets the interval of a difference.
    """
    results = {cell.key: of for cell, of in counts.items()}
    rows, probabilities, samples = {}, {}, {}
    for name, result in results.items():
        flips = result.flip_probabilities
        draws = Bootstrap(result.videos, _video_of)
        drawn = draws.sums(flips) / len(flips)
        probabilities[name], samples[name] = flips.mean(), drawn
        rows[name] = {
            'flip_probability': 100 * float(flips.mean()),
            'flip_probability_interval': draws.interval(100 * drawn),
            'uT5D': float(result.distances.mean()),
            'FR': None,
            'num_videos': len(flips),
            'bootstrap': draws.record(flip_probability=100 * drawn),
        }
    summary: dict[str, Any] = {'perturbations': rows, 'mFR': None}
    if difficulty == 1:
        rates, drawn_rates = flip_rates(probabilities), flip_rates(samples)
        for name, rate in rates.items():
            rows[name]['FR'] = float(rate)
        if all(name in rates for name in PERTURBATIONS):
            rates, drawn = ({name: of[name] for name in PERTURBATIONS} for of in (rates, drawn_rates))
            summary['mFR'], drawn = float(benchmark_mean(rates, PERTURBATIONS)), benchmark_mean(drawn, PERTURBATIONS)
            draws = Bootstrap([video for name in PERTURBATIONS for video in results[name].videos], _video_of)
            summary['mFR_interval'] = draws.interval(drawn)
            summary['bootstrap'] = draws.record(mFR=drawn)
    return summary

"""ImageNet-P: how steady a classifier is while a picture changes gradually."""

from collections.abc import Callable, Sequence

from mmengine.config import Config
from torch.utils.data import DataLoader

from mmrobust.datasets.imagenet_p import ImageNetP as ImageNetPDataset
from mmrobust.datasets.transforms.corrupt import name_below
from mmrobust.evaluation.benchmarks import imagenet_p_summary
from mmrobust.evaluation.benchmarks.cell_store import CellStore
from mmrobust.evaluation.benchmarks.classification import ClassificationModel
from mmrobust.evaluation.benchmarks.pictures import evenly
from mmrobust.evaluation.benchmarks.sequence_result import SequenceResult, Stability
from mmrobust.evaluation.functional import flip_probability, top5, top5_distance
from mmrobust.evaluation.functional.perturbation_stability import EXTRA_PERTURBATIONS, PERTURBATIONS, frame_pairs
from mmrobust.evaluation.protocols import Cell
from mmrobust.sigterm import outlive_sigterm


class ImageNetP:
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
    model_type = ClassificationModel
    result_type = SequenceResult

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
        self._videos = {}
        for perturbation in perturbations:
            if perturbation not in PERTURBATIONS + EXTRA_PERTURBATIONS:
                allowed = ', '.join(PERTURBATIONS + EXTRA_PERTURBATIONS)
                raise ValueError(f'perturbations must be some of {allowed}, got {perturbation!r}')
            videos = ImageNetPDataset(data_root, perturbation, difficulty, pipeline=[])
            self._videos[Cell(perturbation)] = videos.get_subset(evenly(len(videos), max_images))
        self.cells = list(self._videos)

    @property
    def identity(self) -> dict:
        """What of the benchmark decides the numbers."""
        sizes = {cell.name: self.size(cell) for cell in self.cells}
        return {'benchmark': self.name, 'difficulty': self.difficulty, 'num_images': sizes}

    @property
    def protocol(self) -> dict:
        """What else to say of it beside the results."""
        return {'cells': [cell.name for cell in self.cells]}

    def size(self, cell: Cell) -> int:
        """Number of videos of a cell."""
        return len(self._videos[cell])

    def run(
        self, model: ClassificationModel, cell: Cell, on_picture: Callable[[], None] = lambda: None
    ) -> SequenceResult:
        """Score all frames of all videos of a perturbation, and compare them.

        Raises:
            ValueError: a video is broken.
        """
        perturbation, found = cell.corruption, {}
        workers = model.loader_cfg['num_workers']
        loader = DataLoader(self._videos[cell], batch_size=None, num_workers=workers, collate_fn=lambda x: x)
        outlive_sigterm(loader)
        for sample in loader:
            scores = model.frames(sample['frames'])
            pairs = len(frame_pairs(len(scores), perturbation, self.difficulty)[1])
            flips = flip_probability(scores.argmax(1), perturbation, self.difficulty) * pairs
            distance = top5_distance(top5(scores), perturbation, self.difficulty) * pairs
            name = name_below(str(self.data_root), sample['video_path'])
            found[name] = Stability(round(float(flips)), round(float(distance)), pairs)
            on_picture()
        assert len(found) == self.size(cell), 'every video must be counted once'
        return SequenceResult(found)

    def summarize(self, store: CellStore) -> dict:
        """Numbers of all finished perturbations, for JSON."""
        return imagenet_p_summary.summarize(store, self.cells, self.difficulty)

    to_csv = staticmethod(imagenet_p_summary.to_csv)
    to_markdown = staticmethod(imagenet_p_summary.to_markdown)

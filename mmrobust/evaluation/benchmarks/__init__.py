"""Benchmarks: what is run, how it is kept, and how it is averaged."""

from mmrobust.evaluation.benchmarks.acdc import ACDC
from mmrobust.evaluation.benchmarks.adversarial import ATTACKS, Adversarial
from mmrobust.evaluation.benchmarks.benchmark import Benchmark
from mmrobust.evaluation.benchmarks.cell_store import CellStore
from mmrobust.evaluation.benchmarks.cityscapes_c import CityscapesC
from mmrobust.evaluation.benchmarks.class_result import ClassResult
from mmrobust.evaluation.benchmarks.classification import ClassificationModel
from mmrobust.evaluation.benchmarks.confusion_result import ConfusionResult
from mmrobust.evaluation.benchmarks.evaluated_model import EvaluatedModel
from mmrobust.evaluation.benchmarks.imagenet_c import ImageNetC
from mmrobust.evaluation.benchmarks.imagenet_p import ImageNetP
from mmrobust.evaluation.benchmarks.imagenet_variants import RELATIVES, ImageNetVariants
from mmrobust.evaluation.benchmarks.segmentation import SegmentationModel
from mmrobust.evaluation.benchmarks.segmentation_benchmark import SegmentationBenchmark
from mmrobust.evaluation.benchmarks.sequence_result import SequenceResult
from mmrobust.evaluation.benchmarks.worst_pictures import WorstPicture, find_worst, write_panels
from mmrobust.evaluation.protocols import CLEAN, PRESETS, Cell, preset_groups, select_cells, shard

__all__ = [
    'ACDC',
    'ATTACKS',
    'CLEAN',
    'PRESETS',
    'RELATIVES',
    'Adversarial',
    'Benchmark',
    'Cell',
    'CellStore',
    'CityscapesC',
    'ClassResult',
    'ClassificationModel',
    'ConfusionResult',
    'EvaluatedModel',
    'ImageNetC',
    'ImageNetP',
    'ImageNetVariants',
    'SegmentationBenchmark',
    'SegmentationModel',
    'SequenceResult',
    'WorstPicture',
    'find_worst',
    'preset_groups',
    'select_cells',
    'shard',
    'write_panels',
]

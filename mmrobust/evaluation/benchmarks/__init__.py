"""Benchmarks: what is run, how it is kept, and how it is averaged."""

from mmrobust.evaluation.benchmarks.cell_store import CellResult, CellStore, write_whole
from mmrobust.evaluation.benchmarks.protocols import CLEAN, PRESETS, Cell, preset_groups, select_cells, shard
from mmrobust.evaluation.benchmarks.segmentation import SegmentationBenchmark
from mmrobust.evaluation.benchmarks.summary import is_table_iv, summarize, to_csv, to_markdown

__all__ = [
    'CLEAN',
    'PRESETS',
    'Cell',
    'CellResult',
    'CellStore',
    'SegmentationBenchmark',
    'is_table_iv',
    'preset_groups',
    'select_cells',
    'shard',
    'summarize',
    'to_csv',
    'to_markdown',
    'write_whole',
]

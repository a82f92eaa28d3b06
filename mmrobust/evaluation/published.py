"""Published figures, to stand beside measured ones and never to be mixed up with them."""

from typing import Any

from mmrobust.evaluation.protocols import select_cells
from mmrobust.model_zoo.paper_tables import paper_tables

__all__ = ['TABLE_3', 'TABLE_IV', 'is_table_iv']

BASE = 'FAN-B-Hybrid'


def _by_corruption(table: str, prefix: str, overall: str, name: str) -> dict[str, dict[str, Any]]:
    """What a table prints for the paper's models: each corruption, and as ``name`` the overall number."""
    return {
        row.name.removeprefix(f'{BASE} '): {
            'corruptions': {
                measure.removeprefix(prefix): value
                for measure, value in row.values.items()
                if measure.startswith(prefix)
            },
            name: row.values[overall],
        }
        for row in paper_tables()[table].rows
        if row.name.startswith(BASE)
    }


# CE in percent on ImageNet-C, and mCE as printed
TABLE_3 = _by_corruption('3', 'ce/', 'mce', 'mCE')
# mIoU in percent on Cityscapes-C, mean over severities 1-3 of noise and 1-5 of the others, and the average as printed
TABLE_IV = _by_corruption('IV', 'cityscapes-c/', 'cityscapes-c', 'average')


def is_table_iv(summary: dict[str, Any]) -> bool:
    """Whether the cells of a run on Cityscapes-C are those of Table IV, so that its figures may stand beside these."""
    return set(summary['cells']) == {cell.name for cell in select_cells('kamann')}

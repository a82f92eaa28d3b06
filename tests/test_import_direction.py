"""Who may import whom inside mmrobust: read from the source with ``ast``, so imports inside functions count too."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

# What a room may import of the project, besides itself.
ALLOWED = {
    'mmrobust.ops': (),
    'mmrobust.corruptions': (),
    'mmrobust.randomness': (),
    'mmrobust.origin': (),
    'mmrobust.checkpoint': ('mmrobust.files', 'mmrobust.origin'),
    'mmrobust.attacks': (),
    'mmrobust.evaluation.statistics': (),
    # drawing needs nothing, writing what is about files whatever is in them
    'mmrobust.datasets.minicity': ('mmrobust.folders', 'mmrobust.processes'),
    'mmrobust.datasets.transforms': (
        'mmrobust.corruptions',
        'mmrobust.preprocessing',
        'mmrobust.randomness',
        'mmrobust.registry',
    ),
    'mmrobust.models.layers': ('mmrobust.ops', 'mmrobust.registry'),
    # of ops only Attention, of which a block that is not made of our layers makes its view
    'mmrobust.models.backbones': (
        'mmrobust.models.layers',
        'mmrobust.ops.Attention',
        'mmrobust.checkpoint',
        'mmrobust.origin',
        'mmrobust.registry',
    ),
    # of the layers only AttentionView, the type of what a loss is handed
    'mmrobust.models.losses': (
        'mmrobust.ops',
        'mmrobust.models.layers.AttentionView',
        'mmrobust.registry',
    ),
    # task models get backbone and loss from the registry
    'mmrobust.models.segmentors': ('mmrobust.models.losses.build_attention_loss', 'mmrobust.registry'),
    'mmrobust.models.classifiers': (
        'mmrobust.models.losses.build_attention_loss',
        'mmrobust.preprocessing',
        'mmrobust.registry',
    ),
    # of models only the type of what it is handed; which model and which images is the business of benchmarks
    'mmrobust.analysis': (
        'mmrobust.models.layers.AttentionView',
        'mmrobust.models.layers.Observe',
        'mmrobust.evaluation.models',
        'mmrobust.evaluation.images',
        'mmrobust.checkpoint',
        'mmrobust.registry',
    ),
    'mmrobust.evaluation.report': ('mmrobust.evaluation.worst', 'mmrobust.files'),
    'mmrobust.evaluation.renderers': ('mmrobust.evaluation.cells', 'mmrobust.evaluation.report'),
    'mmrobust.evaluation.comparison': (
        'mmrobust.evaluation.cells',
        'mmrobust.evaluation.report',
        'mmrobust.evaluation.statistics',
    ),
    'mmrobust.evaluation.models': (
        'mmrobust.acceleration',
        'mmrobust.attacks',
        'mmrobust.checkpoint',
        'mmrobust.evaluation.statistics',
        'mmrobust.processes',
    ),
    'mmrobust.evaluation.verdict': ('mmrobust.evaluation.comparison', 'mmrobust.evaluation.report'),
    'mmrobust.evaluation.page_charts': ('mmrobust.evaluation.report',),
    'mmrobust.evaluation.results_page': (
        'mmrobust.evaluation.cells',
        'mmrobust.evaluation.comparison',
        'mmrobust.evaluation.page_charts',
        'mmrobust.evaluation.report',
        'mmrobust.evaluation.statistics',
        'mmrobust.evaluation.verdict',
        'mmrobust.evaluation.worst',
        'mmrobust.registry',
    ),
    'mmrobust.visualization': (),
}

# What a room, with all the rooms in it, must not import.
FORBIDDEN = {
    # what lies beside the tools that use it comes last
    'mmrobust': (
        *('tools', 'configs', 'tests', 'mmcv.ops', 'pkg_resources'),
        *('arguments', 'performance', 'experiment', 'conversion', 'demo_commands'),
        *('attention_charts', 'corrupted_copy', 'figure_files', 'reproduction', 'runs', 'segmentation_differences'),
    ),
    'mmrobust.models': ('mmrobust.datasets', 'mmrobust.evaluation', 'mmrobust.engine', 'mmrobust.analysis'),
    'mmrobust.datasets': ('mmrobust.models', 'mmrobust.evaluation'),
    'mmrobust.evaluation': ('mmrobust.models', 'mmrobust.visualization'),
    'mmrobust.evaluation.benchmarks': ('mmrobust.evaluation.results_page', 'mmrobust.evaluation.evaluate'),
    'mmrobust.engine': ('mmrobust.models',),
}


def inside(name: str, room: str) -> bool:
    return name == room or name.startswith(room + '.')


def imported(tree: ast.AST, package: str) -> Iterator[str]:
    """Yield the full dotted name of everything that is imported, ``from a import b`` as ``a.b``."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parts = package.split('.')[: len(package.split('.')) - node.level + 1] if node.level else []
            base = '.'.join([*parts, *([node.module] if node.module else [])])
            yield from (f'{base}.{alias.name}' for alias in node.names)


def violations(root: Path) -> list[str]:
    """List every import of the package ``root/mmrobust`` that breaks a rule, as ``'file imports name'``."""
    found = []
    for file in sorted((root / 'mmrobust').rglob('*.py')):
        path = file.relative_to(root)
        if '.mim' in path.parts:
            continue
        parts = path.with_suffix('').parts
        if 'utils' in parts:
            found.append(f'{path} is called utils')
        module = '.'.join(parts[:-1] if parts[-1] == '__init__' else parts)
        for name in imported(ast.parse(file.read_text(encoding='utf-8')), '.'.join(parts[:-1])):
            forbidden = any(
                inside(module, room) and inside(name, other) for room, others in FORBIDDEN.items() for other in others
            )
            not_allowed = inside(name, 'mmrobust') and any(
                inside(module, room) and not any(inside(name, other) for other in (room, *others))
                for room, others in ALLOWED.items()
            )
            if forbidden or not_allowed:
                found.append(f'{path} imports {name}')
    return found


def test_project_follows_the_rules():
    assert violations(ROOT) == []


@pytest.mark.parametrize(
    ('file', 'line', 'broken'),
    [
        ('ops/pool.py', 'import torch', False),
        ('ops/pool.py', 'from mmrobust.ops import probs', False),
        ('ops/pool.py', 'from . import probs', False),
        ('ops/pool.py', 'from mmrobust.registry import MODELS', True),
        ('ops/pool.py', 'from ..registry import MODELS', True),
        ('ops/pool.py', 'from mmrobust import registry', True),
        ('ops/pool.py', 'def late():\n    import mmrobust.models', True),
        ('models/layers/tap.py', 'from mmrobust.ops import probs', False),
        ('models/layers/tap.py', 'from mmrobust.models.backbones import FAN', True),
        ('models/backbones/fan.py', 'from mmrobust.models.layers import SelfAttention', False),
        ('models/backbones/fan.py', 'from mmrobust.ops import Attention', False),
        ('models/backbones/fan.py', 'from mmrobust.ops import attention_probs', True),
        ('models/backbones/fan.py', 'from ..layers.tap import TokenAwareAvgPool', False),
        ('models/backbones/fan.py', 'from mmrobust.models.losses import Loss', True),
        ('models/losses.py', 'from mmrobust.models.layers import AttentionView', False),
        ('models/losses.py', 'from mmrobust.models.layers import SelfAttention', True),
        ('models/__init__.py', 'from mmrobust.models.backbones import FAN', False),
        ('models/segmentors.py', 'from mmrobust.models.losses import build_attention_loss', False),
        ('models/segmentors.py', 'from mmrobust.models.losses import Loss', True),
        ('models/decode_heads.py', 'from mmrobust.datasets import labels', True),
        ('models/decode_heads.py', 'from mmrobust import engine', True),
        ('datasets/cityscapes.py', 'import mmrobust.models.backbones', True),
        ('datasets/minicity/street.py', 'from mmrobust.datasets.minicity.scene import paint', False),
        ('datasets/minicity/street.py', 'from mmrobust.randomness import derive_seed', True),
        ('analysis/statistics.py', 'from mmrobust.models.layers import AttentionView', False),
        ('analysis/statistics.py', 'from mmrobust.models.layers import SelfAttention', True),
        ('models/backbones/fan.py', 'from mmrobust.analysis import AttentionStatistics', True),
        ('evaluation/report.py', 'from mmrobust.evaluation.benchmarks import CityscapesC', True),
        ('evaluation/renderers.py', 'from mmrobust.evaluation.report import Report', False),
        ('evaluation/benchmarks/mine.py', 'from mmrobust.evaluation.results_page import to_html', True),
        ('evaluation/results_page.py', 'from mmrobust.evaluation.benchmarks import CityscapesC', True),
        ('visualization/panels.py', 'from mmrobust.evaluation import report', True),
        ('engine/hook.py', 'from mmrobust.checkpoint import load', False),
        ('engine/hook.py', 'from mmcv.ops import roi_align', True),
        ('engine/hook.py', 'from mmcv import ops', True),
        ('compat.py', 'import pkg_resources', True),
        ('compat.py', 'from tools import train', True),
        ('engine/hook.py', 'from performance.measure import measure', True),
        ('utils/misc.py', 'import torch', True),
    ],
)
def test_checker_sees_a_violation(tmp_path, file, line, broken):
    path = tmp_path / 'mmrobust' / file
    path.parent.mkdir(parents=True)
    path.write_text(line + '\n')
    assert bool(violations(tmp_path)) == broken

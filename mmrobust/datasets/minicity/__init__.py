"""MiniCity: procedurally drawn street scenes in Cityscapes' and ACDC's layout, for demos, tests and teaching."""

from .canvas import Canvas
from .labels import CLASSES, IGNORE, LABEL_IDS, PALETTE, to_color, to_label_ids
from .layout import SPLITS, lay_out
from .preview import overview
from .scene import draw_scene
from .street import Street
from .weather import CONDITIONS, label_map, render
from .writer import MiniCityParams, write_minicity

__all__ = [
    'CLASSES',
    'CONDITIONS',
    'IGNORE',
    'LABEL_IDS',
    'PALETTE',
    'SPLITS',
    'Canvas',
    'MiniCityParams',
    'Street',
    'draw_scene',
    'label_map',
    'lay_out',
    'overview',
    'render',
    'to_color',
    'to_label_ids',
    'write_minicity',
]

"""MiniCity: procedurally drawn street scenes in Cityscapes' and ACDC's layout, for demos, tests and teaching."""

from .canvas import CLASSES, IGNORE, LABEL_IDS, PALETTE, Canvas, to_color, to_label_ids
from .scene import draw_scene
from .street import SPLITS, Street, lay_out
from .weather import CONDITIONS, STRENGTHS, label_map, render
from .writer import VERSION, MiniCityParams, overview, read_params, street_of, write_minicity

__all__ = [
    'CLASSES',
    'CONDITIONS',
    'IGNORE',
    'LABEL_IDS',
    'PALETTE',
    'SPLITS',
    'STRENGTHS',
    'VERSION',
    'Canvas',
    'MiniCityParams',
    'Street',
    'draw_scene',
    'label_map',
    'lay_out',
    'overview',
    'read_params',
    'render',
    'street_of',
    'to_color',
    'to_label_ids',
    'write_minicity',
]

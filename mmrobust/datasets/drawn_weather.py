"""MiniCity's streets drawn again in fog, at night, in rain and in snow, at five severities."""

import numpy as np
from mmcv.transforms import BaseTransform

from mmrobust.datasets.minicity import CONDITIONS, STRENGTHS, draw_scene, read_params, render, street_of
from mmrobust.registry import TRANSFORMS


@TRANSFORMS.register_module()
class DrawWeather(BaseTransform):
    """Replace the image of a MiniCity street, ``results['img']`` BGR uint8, by the same street in other weather.

    The label stays, because the street does. Severity 3 is what the data set itself is written with.

    Args:
        condition: fog, night, rain or snow; ``'clear'`` draws the image itself again.
        severity: 1 (slight) to 5.
        data_root: folder of the MiniCity.

    Raises:
        ValueError: an argument is not allowed, the folder holds no MiniCity of this version, or an image is not in it.
    """

    def __init__(self, condition: str, severity: int, data_root: str) -> None:
        if condition not in ('clear', *CONDITIONS):
            raise ValueError(f'condition must be clear, {", ".join(CONDITIONS)}, got {condition!r}')
        if severity not in STRENGTHS:
            raise ValueError(f'severity must be 1 to 5, got {severity!r}')
        self.condition, self.severity, self.data_root = condition, severity, data_root
        self.params = read_params(data_root)

    def transform(self, results: dict) -> dict:
        """Replace the image; nothing else changes."""
        street = street_of(self.params, results['img_path'])
        drawn = render(draw_scene(street, *self.params.size), street, self.condition, self.severity)
        if drawn.shape != results['img'].shape:
            raise ValueError(
                f'{results["img_path"]} must be {drawn.shape[1]} x {drawn.shape[0]} as it was drawn, got '
                f'{results["img"].shape[1]} x {results["img"].shape[0]}'
            )
        results['img'] = np.ascontiguousarray(drawn[..., ::-1])
        return results

    def __repr__(self) -> str:
        return f'{type(self).__name__}(condition={self.condition!r}, severity={self.severity})'

"""MiniCity's streets in drawn fog, night, rain and snow at five severities, with the labels of the clear images."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.config import Config

from mmrobust.datasets.corrupted import position_of_loading
from mmrobust.datasets.drawn_weather import DrawWeather
from mmrobust.datasets.minicity import CONDITIONS, STRENGTHS, VERSION
from mmrobust.datasets.transforms import LoadImageFromFile
from mmrobust.evaluation.benchmarks.cityscapes_c import CityscapesC
from mmrobust.evaluation.benchmarks.presets import select_cells
from mmrobust.evaluation.cells import CLEAN, Cell
from mmrobust.registry import BENCHMARKS


@BENCHMARKS.register_module(name='minicity-weather')
class MiniCityWeather(CityscapesC):
    """The test images of a config, which must be MiniCity's, drawn again in other weather; a cell is one of both.

    Fog, rain and snow are drawn into the street with its depth, unlike those of Cityscapes-C.

    Args:
        config: its ``test_dataloader`` names the data and the pipeline.
        conditions: some of fog, night, rain and snow.
        severities: some of 1 to 5; None takes all. The data set itself is written with 3.
        data_root: folder of the MiniCity; None takes the config's.
        max_images: take this many images, spread evenly; None takes all.

    Raises:
        ValueError: a value is not allowed, or the images are not those of a MiniCity that this version draws.
        FileNotFoundError: there are no data.
    """

    name = 'minicity-weather'
    title = 'MiniCity weather'
    own = 'MiniCity'
    options = {'conditions': {}, 'severities': {}}

    def __init__(
        self,
        config: Config,
        conditions: Sequence[str] = CONDITIONS,
        severities: Sequence[int] | None = None,
        data_root: str | None = None,
        max_images: int | None = None,
    ) -> None:
        super().__init__(config, data_root=data_root, max_images=max_images)
        self.cells = [CLEAN, *select_cells('michaelis', conditions, severities or list(STRENGTHS), CONDITIONS)]
        self.image_sets = dict.fromkeys(self.cells, self.images(CLEAN))
        self.groups = {'weather': CONDITIONS}
        # before anything is run: one image drawn again must be the file
        path = str(Path(self.data_root or '', self.images(CLEAN).names[0]))
        loaded = LoadImageFromFile()({'img_path': path})
        drawn = DrawWeather('clear', 1, str(self.data_root))({**loaded, 'img': loaded['img'].copy()})['img']
        if not np.array_equal(drawn, loaded['img']):
            raise ValueError(
                f'{path} must be as this version draws it, got other pixels: write MiniCity again with '
                'tools/dataset_converters/minicity.py --overwrite'
            )

    @property
    def identity(self) -> dict[str, Any]:
        strengths = [STRENGTHS[severity] for severity in sorted(STRENGTHS)]
        return {
            'benchmark': self.name,
            'num_images': self.size(CLEAN),
            'minicity': VERSION,
            'strengths': strengths,
        }

    @property
    def protocol(self) -> dict[str, Any]:
        return {'cells': [cell.key for cell in self.cells if cell != CLEAN]}

    def corrupted(self, cell: Cell, dataset: dict) -> dict:
        if cell == CLEAN:
            return dataset
        pipeline = list(dataset['pipeline'])
        draw = dict(
            type='mmrobust.DrawWeather', condition=cell.name, severity=cell.severity, data_root=str(self.data_root)
        )
        pipeline.insert(position_of_loading(pipeline) + 1, draw)
        return {**dataset, 'pipeline': pipeline}

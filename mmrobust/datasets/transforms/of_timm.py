"""The step of a pipeline that stands for what timm does before a network."""

from mmcv.transforms import BaseTransform

from mmrobust.registry import TRANSFORMS

__all__ = ['ResizeAndCropOfTimm']


@TRANSFORMS.register_module()
class ResizeAndCropOfTimm(BaseTransform):
    """Resize and crop of the config's network of timm; :mod:`mmrobust.preprocessing` puts the steps in its place.

    Raises:
        ValueError: Nothing was put in its place.
    """

    def __init__(self) -> None:
        raise ValueError(
            'mmrobust.ResizeAndCropOfTimm must be in the val_pipeline or test_pipeline of a TimmClassifier that timm '
            'knows, and the config read by mmrobust.cli.load_config: otherwise give the steps themselves.'
        )

    def transform(self, results: dict) -> dict:
        raise NotImplementedError

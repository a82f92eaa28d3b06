"""Benchmarks, a file each. Importing them registers them."""

# ruff: noqa: F401 - handed on

# in the order of the command line and of a page
# isort: off
from mmrobust.evaluation.benchmarks.base import Benchmark, benchmark_types
from mmrobust.evaluation.benchmarks.cityscapes_c import CityscapesC
from mmrobust.evaluation.benchmarks.acdc import ACDC
from mmrobust.evaluation.benchmarks.domain import DomainShift
from mmrobust.evaluation.benchmarks.minicity_weather import MiniCityWeather
from mmrobust.evaluation.benchmarks.imagenet_c import ImageNetC
from mmrobust.evaluation.benchmarks.corruption_sets import (
    CIFAR10C,
    CIFAR100C,
    ImageNet3DCC,
    ImageNetCBar,
    TinyImageNetC,
)
from mmrobust.evaluation.benchmarks.imagenet_variants import ImageNetVariants
from mmrobust.evaluation.benchmarks.adversarial import Adversarial
from mmrobust.evaluation.benchmarks.imagenet_p import ImageNetP

# isort: on

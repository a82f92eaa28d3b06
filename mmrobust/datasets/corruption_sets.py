"""Published sets of corrupted images: what is in each, and where to get it."""

from collections.abc import Iterable
from typing import NamedTuple

from mmrobust.corruptions import EXTRA, FIFTEEN, GROUPS, SEVERITIES

_GROUP_OF = {name: group for group, names in GROUPS.items() for name in names} | dict.fromkeys(EXTRA, 'extra')


class CorruptionSet(NamedTuple):
    """A test set under corruptions at severities 1 to 5.

    Attributes:
        title: name for readers.
        corruptions: those that count.
        extra: others that it has; they are in no mean.
        num_images: of each corruption and severity, as published.
        source: address to get it from.
        archive: file there; ``{corruption}`` and ``{group}`` stand for those of a corruption, ``{extra}`` for
            ``-extra`` or nothing.
    """

    title: str
    corruptions: tuple[str, ...]
    extra: tuple[str, ...]
    num_images: int
    source: str
    archive: str

    @property
    def cells(self) -> tuple[tuple[str, int], ...]:
        """The (corruption, severity) that count."""
        return tuple((corruption, severity) for corruption in self.corruptions for severity in SEVERITIES)

    def remedy(self, corruptions: Iterable[str]) -> str:
        """Which archives to unpack for these corruptions."""
        archives = dict.fromkeys(
            self.archive.format(
                corruption=name, group=_GROUP_OF.get(name), extra='-extra' if name in self.extra else ''
            )
            for name in corruptions
        )
        return f'unpack {", ".join(archives)} of {self.source}'


#: By the name of the benchmark. ImageNet-C, Tiny-ImageNet-C, CIFAR-10-C and CIFAR-100-C: Hendrycks and Dietterich, ICLR
#: 2019; the constants of a corruption are others for each size of images. ImageNet-C-bar: Mintun et al., NeurIPS 2021.
#: ImageNet-3DCC: Kar et al., CVPR 2022.
CORRUPTION_SETS = {
    'imagenet-c': CorruptionSet(
        'ImageNet-C', FIFTEEN, tuple(EXTRA), 50_000, 'https://zenodo.org/records/2235448', '{group}.tar'
    ),
    'imagenet-c-bar': CorruptionSet(
        'ImageNet-C-bar',
        (
            *('blue_noise_sample', 'brownish_noise', 'caustic_refraction', 'checkerboard_cutout'),
            *('cocentric_sine_waves',),  # so spelled
            *('inverse_sparkles', 'perlin_noise', 'plasma_noise', 'single_frequency_greyscale', 'sparkles'),
        ),
        (),
        50_000,
        'https://dl.fbaipublicfiles.com/inc_bar',
        'imagenet_c_bar.tar.gz',
    ),
    'imagenet-3dcc': CorruptionSet(
        'ImageNet-3DCC',
        (
            *('near_focus', 'far_focus', 'bit_error', 'color_quant', 'flash', 'fog_3d', 'h265_abr', 'h265_crf'),
            *('iso_noise', 'low_light', 'xy_motion_blur', 'z_motion_blur'),
        ),
        (),
        50_000,
        'https://datasets.epfl.ch/3dcc/imagenet_3dcc',
        '{corruption}.tar.gz',
    ),
    'tiny-imagenet-c': CorruptionSet(
        'Tiny-ImageNet-C',
        FIFTEEN,
        tuple(EXTRA),
        10_000,
        'https://zenodo.org/records/2536630',
        'Tiny-ImageNet-C{extra}.tar',
    ),
    'cifar-10-c': CorruptionSet(
        'CIFAR-10-C', FIFTEEN, tuple(EXTRA), 10_000, 'https://zenodo.org/records/2535967', 'CIFAR-10-C.tar'
    ),
    'cifar-100-c': CorruptionSet(
        'CIFAR-100-C', FIFTEEN, tuple(EXTRA), 10_000, 'https://zenodo.org/records/3555552', 'CIFAR-100-C.tar'
    ),
}

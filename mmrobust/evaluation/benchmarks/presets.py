"""Presets of corruptions and severities; several benchmarks are called Cityscapes-C."""

from collections.abc import Collection, Iterable, Sequence

from mmrobust.corruptions import CORRUPTIONS, EXTRA, GROUPS, SEVERITIES
from mmrobust.evaluation.cells import Cell

_NOISE = ('gaussian_noise', 'impulse_noise', 'shot_noise', 'speckle_noise')
_KAMANN_GROUPS = {
    'blur': ('motion_blur', 'defocus_blur', 'glass_blur', 'gaussian_blur'),
    'noise': _NOISE,
    'digital': ('brightness', 'contrast', 'saturate', 'jpeg_compression'),
    'weather': ('snow', 'spatter', 'fog', 'frost'),
}
_ALL_GROUPS = {
    group: (*names, *(extra for extra, kind in EXTRA.items() if kind == group)) for group, names in GROUPS.items()
}
# name -> groups of corruptions, severities of noise, severities of the others
_PRESETS = {
    # Kamann and Rother 2020; SegFormer, FAN and the paper report this one: 72 cells
    'kamann': (_KAMANN_GROUPS, (1, 2, 3), SEVERITIES),
    # Michaelis et al. 2019: 75 cells
    'michaelis': (GROUPS, SEVERITIES, SEVERITIES),
    # what FAN's released script runs: 57 cells
    'fan': (_ALL_GROUPS, (1, 2, 3), (1, 2, 3)),
    # recent work on domain generalisation: the corruptions of kamann at severity 5 only
    'severity5': (_KAMANN_GROUPS, (5,), (5,)),
}
PRESETS = tuple(_PRESETS)


def preset_cells(preset: str) -> list[Cell]:
    """All cells of a preset, without the clean one.

    Raises:
        ValueError: there is no such preset.
    """
    groups = preset_groups(preset)
    _, of_noise, of_others = _PRESETS[preset]
    return [
        Cell(corruption, severity)
        for corruptions in groups.values()
        for corruption in corruptions
        for severity in (of_noise if corruption in _NOISE else of_others)
    ]


def preset_groups(preset: str) -> dict[str, tuple[str, ...]]:
    """Groups of corruptions, as the preset's authors group them.

    Raises:
        ValueError: there is no such preset.
    """
    if preset not in _PRESETS:
        raise ValueError(f'preset must be one of {", ".join(PRESETS)}, got {preset!r}')
    return dict(_PRESETS[preset][0])


def preset_of(cells: Iterable[Cell]) -> str:
    """Name of the preset that has exactly these cells, ``custom`` if none has."""
    found = set(cells)
    return next((name for name in PRESETS if set(preset_cells(name)) == found), 'custom')


def select_cells(
    preset: str,
    corruptions: Sequence[str] | None = None,
    severities: Sequence[int] | None = None,
    known: Collection[str] = CORRUPTIONS,
) -> list[Cell]:
    """The cells of a preset; with corruptions or severities named, those instead of the preset's.

    A named corruption that the preset does not have is run at all severities. It must be ``known``.

    Raises:
        ValueError: a preset, corruption or severity is unknown.
    """
    cells = preset_cells(preset)
    for corruption in corruptions or ():
        if corruption not in known:
            raise ValueError(f'corruption must be one of {", ".join(known)}, got {corruption!r}')
    for severity in severities or ():
        if severity not in SEVERITIES:
            raise ValueError(f'severity must be 1 to 5, got {severity}')
    of_preset: dict[str, list[int]] = {}
    for corruption, severity in cells:
        of_preset.setdefault(corruption, []).append(severity)
    return [
        Cell(corruption, severity)
        for corruption in corruptions or of_preset
        for severity in severities or of_preset.get(corruption, SEVERITIES)
    ]

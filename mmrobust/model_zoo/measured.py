"""Numbers of finished runs that may stand beside the paper's: those of its protocol, on all pictures.

Measures, in percent: ``imagenet``, ``imagenet-a``, ``imagenet-r`` and ``pgd`` (top-1 accuracy); ``mce`` and
``ce/<corruption>``; ``mfr``; ``cityscapes``, ``cityscapes-c`` and ``cityscapes-c/<corruption>`` (mIoU). The paper's
ACDC is the test server's number, which no run has.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmrobust.datasets.imagenet_variants import VARIANTS
from mmrobust.evaluation.published import is_table_iv
from mmrobust.files import read_json

__all__ = ['Measured', 'read_measured']

CITYSCAPES_PICTURES = 500
IMAGENET_PICTURES = VARIANTS['imagenet'].num_pictures
PGD_5 = {'eps': 1 / 255, 'step_size': 0.5 / 255, 'num_steps': 5}


@dataclass(frozen=True)
class Measured:
    """A run.

    Attributes:
        path: its results.json.
        config: name of its config, without folder and suffix.
        values: measure to number.
        remarks: what of it is left out, and what to know of the rest.
    """

    path: Path
    config: str
    values: dict[str, float]
    remarks: tuple[str, ...]


def read_measured(path: Path) -> Measured:
    """Read a results.json that tools/evaluate_robustness.py wrote.

    Raises:
        ValueError: it is something else.
    """
    try:
        content = read_json(path)
        provenance = content['provenance']
        values, remarks = READERS[provenance['benchmark']](content['results'], provenance)
        wrong = [f'{name} {value!r}' for name, value in values.items() if not 0 <= value < 1e6]
        if wrong:
            raise ValueError(f'these are no percentages: {", ".join(wrong)[:80]}')
        return Measured(path, Path(provenance['config']).stem, values, tuple(remarks))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f'{path} is not the results.json of evaluate_robustness.py: {error!r}') from error


def _cityscapes_c(results: dict[str, Any], provenance: dict[str, Any]) -> tuple[dict, list]:
    remarks = _too_few(provenance['num_images'], CITYSCAPES_PICTURES)
    if remarks:
        return {}, remarks
    values = {'cityscapes': results['clean_mIoU']}
    if is_table_iv(results):
        values['cityscapes-c'] = results['mPC']
        values |= {f'cityscapes-c/{name}': value for name, value in results['corruptions'].items()}
    else:
        remarks.append('corruptions left out: the cells are not those of --preset kamann')
    return values, remarks


def _acdc(results: dict[str, Any], provenance: dict[str, Any]) -> tuple[dict, list]:
    return {}, [f"left out: it is ACDC's split {provenance['split']}, and the paper's number is the test server's"]


def _imagenet_c(results: dict[str, Any], provenance: dict[str, Any]) -> tuple[dict, list]:
    remarks = _too_few(provenance['num_images'], IMAGENET_PICTURES)
    if remarks:
        return {}, remarks
    values = {'imagenet': 100 - results['clean_error']}
    if results['mCE'] is None or results['normalised_by'] != 'AlexNet':
        return values, ['CE left out: it needs all 15 corruptions at 5 severities, relative to AlexNet']
    values['mce'] = results['mCE']
    values |= {f'ce/{name}': row['CE'] for name, row in results['corruptions'].items() if not row['extra']}
    if provenance['corrupted'] != 'official':
        remarks.append("CE is of corruptions on the fly, not of ImageNet-C's own pictures")
    return values, remarks


def _imagenet_variants(results: dict[str, Any], provenance: dict[str, Any]) -> tuple[dict, list]:
    values, remarks = {}, []
    for cell, measure in (('clean', 'imagenet'), ('imagenet-a', 'imagenet-a'), ('imagenet-r', 'imagenet-r')):
        if cell not in results['cells']:
            continue
        expected = VARIANTS['imagenet' if cell == 'clean' else cell].num_pictures
        too_few = _too_few(provenance['num_images'][cell], expected, f'{cell} ')
        remarks += too_few
        if not too_few:
            values[measure] = 100 - results['cells'][cell]['error']
    return values, remarks


def _imagenet_p(results: dict[str, Any], provenance: dict[str, Any]) -> tuple[dict, list]:
    if results['mFR'] is None:
        return {}, ['left out: mFR needs all 10 perturbations at difficulty 1']
    videos = min(provenance['num_images'].values())
    return {'mfr': results['mFR']}, [f'mFR is of {videos} videos of each perturbation']


def _adversarial(results: dict[str, Any], provenance: dict[str, Any]) -> tuple[dict, list]:
    remarks = _too_few(provenance['num_images'], IMAGENET_PICTURES)
    if remarks:
        return {}, remarks
    values = {'imagenet': 100 - results['cells']['clean']['error']}
    if 'pgd' not in results['cells'] or any(provenance[key] != value for key, value in PGD_5.items()):
        return values, ['PGD left out: it is not the one with 5 steps of 0.5/255 up to 1/255']
    return values | {'pgd': 100 - results['cells']['pgd']['error']}, []


READERS = {
    'cityscapes-c': _cityscapes_c,
    'acdc': _acdc,
    'imagenet-c': _imagenet_c,
    'imagenet-variants': _imagenet_variants,
    'imagenet-p': _imagenet_p,
    'adversarial': _adversarial,
}


def _too_few(found: int, expected: int, what: str = '') -> list[str]:
    return [] if found == expected else [f'{what}left out: {found} pictures, not all {expected}']

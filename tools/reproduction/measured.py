"""Measured numbers that may stand beside the paper's: same protocol, all images.

Measures, in percent: ``imagenet``, ``imagenet-a``, ``imagenet-r`` and ``pgd`` (top-1 accuracy); ``mce`` and
``ce/<corruption>``; ``mfr``; ``cityscapes``, ``cityscapes-c`` and ``cityscapes-c/<corruption>`` (mIoU). The paper's
ACDC is the test server's number, which no run has.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from mmrobust.datasets.imagenet_variants import VARIANTS
from mmrobust.evaluation.benchmarks.adversarial import PGD_5
from mmrobust.evaluation.benchmarks.cityscapes_c import is_table_iv
from mmrobust.evaluation.benchmarks.classification_base import IMAGENET_IMAGES
from mmrobust.evaluation.benchmarks.imagenet_c import OFFICIAL
from mmrobust.evaluation.report import Report

__all__ = ['Measured', 'read_measured']

CITYSCAPES_IMAGES = 500
Found = tuple[dict[str, float], list[str]]  # numbers by the names of ``evaluation.paper_tables``, and remarks


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
    report = Report.read(path)
    numbers = _NUMBERS.get((report.layout.kind, report.layout.benchmark))
    try:
        config = Path(report.provenance['config']).stem
        values, remarks = ({}, []) if numbers is None else numbers(report.results, report.provenance)
        wrong = [f'{name} {value!r}' for name, value in values.items() if not 0 <= value < 1e6]
        if wrong:
            raise ValueError(f'these are no percentages: {", ".join(wrong)[:80]}')
        return Measured(path, config, values, tuple(remarks))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f'{path} is not the results.json of evaluate_robustness.py: {error!r}') from error


def _cityscapes_c(results: Mapping, provenance: Mapping) -> Found:
    """mIoU clean, of each corruption, and their mean."""
    remarks = _too_few(provenance['num_images'], CITYSCAPES_IMAGES)
    if remarks:
        return {}, remarks
    values = {'cityscapes': results['clean_mIoU']}
    if provenance.get('region') is not None:
        return values, ['corruptions left out: only a region of each image is corrupted']
    if not is_table_iv(results):
        return values, ['corruptions left out: the cells are not those of --preset kamann']
    values['cityscapes-c'] = results['mPC']
    return values | {f'cityscapes-c/{name}': value for name, value in results['corruptions'].items()}, []


def _acdc(results: Mapping, provenance: Mapping) -> Found:
    split = provenance['split']
    return {}, [f"left out: it is ACDC's split {split}, and the paper's number is the test server's"]


def _imagenet_c(results: Mapping, provenance: Mapping) -> Found:
    """Accuracy on clean images, mCE, and CE of each corruption."""
    remarks = _too_few(provenance['num_images'], IMAGENET_IMAGES)
    if remarks:
        return {}, remarks
    values = {'imagenet': 100 - results['clean_error']}
    if results['mCE'] is None or results['normalised_by'] != 'AlexNet':
        return values, ['CE left out: it needs all 15 corruptions at 5 severities, relative to AlexNet']
    values['mce'] = results['mCE']
    values |= {f'ce/{name}': row['CE'] for name, row in results['corruptions'].items() if not row['extra']}
    if provenance['corrupted'] != OFFICIAL:
        remarks.append("CE is of corruptions on the fly, not of ImageNet-C's own images")
    return values, remarks


def _imagenet_p(results: Mapping, provenance: Mapping) -> Found:
    if results['mFR'] is None:
        return {}, ['left out: mFR needs all 10 perturbations at difficulty 1']
    videos = min(provenance['num_images'].values())
    return {'mfr': results['mFR']}, [f'mFR is of {videos} videos of each perturbation']


def _imagenet_variants(results: Mapping, provenance: Mapping) -> Found:
    """Accuracy on clean images, ImageNet-A and -R."""
    values, remarks = {}, []
    for cell, measure in (('clean', 'imagenet'), ('imagenet-a', 'imagenet-a'), ('imagenet-r', 'imagenet-r')):
        if cell in results['cells']:
            missing = _too_few(provenance['num_images'][cell], VARIANTS[measure].num_images, f'{cell} ')
            remarks += missing
            if not missing:
                values[measure] = 100 - results['cells'][cell]['error']
    return values, remarks


def _adversarial(results: Mapping, provenance: Mapping) -> Found:
    """Accuracy on clean images and after PGD."""
    remarks = _too_few(provenance['num_images'], IMAGENET_IMAGES)
    if remarks:
        return {}, remarks
    values = {'imagenet': 100 - results['cells']['clean']['error']}
    if 'pgd' not in results['cells'] or any(provenance[key] != value for key, value in PGD_5.items()):
        return values, ['PGD left out: it is not the one with 5 steps of 0.5/255 up to 1/255']
    return values | {'pgd': 100 - results['cells']['pgd']['error']}, []


def _too_few(found: int, expected: int, what: str = '') -> list[str]:
    """The remark that these are not all images, if they are not."""
    return [] if found == expected else [f'{what}left out: {found} images, not all {expected}']


# by kind and benchmark: that of attacks on segmentors has the name of that on classifiers
_NUMBERS = {
    ('segmentation', 'cityscapes-c'): _cityscapes_c,
    ('segmentation', 'acdc'): _acdc,
    ('classification', 'imagenet-c'): _imagenet_c,
    ('classification', 'imagenet-p'): _imagenet_p,
    ('classification', 'imagenet-variants'): _imagenet_variants,
    ('classification', 'adversarial'): _adversarial,
}

"""The page that says what the raw numbers say; nothing in it is written by hand that a number could contradict."""

import json
import textwrap
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from experiment.arms import BASELINE, STRONGER, WITH_TAP
from experiment.profiles import GATE_ACTIVE, GATE_ADL, PROFILES
from experiment.summary import POWER, Change, Runs, by_arm, change, gate, gradient_ratio, holm, in_layers

SIGNIFICANT = 0.05
ATTENTION = {
    'adl': 'ADL, paper, tau 2',
    'active_rows': 'active rows',
    'top_share': 'top-5 share',
    'self_share': 'self share',
    'head_similarity_map': 'head similarity',
    'stability_map': 'stability',
}


PAIRS = (
    ('TAP', 'average pooling'),
    ('ADL official', 'ADL paper'),
    ('ADL pairwise', 'ADL paper'),
    ('ADL pairwise', 'ADL official'),
)


def page(text: str) -> str:
    """Markdown of ``results.json``."""
    content = json.loads(text)
    runs = by_arm(content['runs'])
    changes = {arm: change(runs, arm, _mean_corrupted_error) for arm in runs if arm != BASELINE}
    adjusted = holm({arm: one.p for arm, one in changes.items()})
    parts = [
        '# Do TAP and ADL work?',
        '\n'.join(_findings(content, runs, changes, adjusted)),
        *_gate(runs),
        *_arms(runs, changes, adjusted),
        *_attention(runs),
        *_corruptions(runs),
        *_limits(content, runs),
        *_how(content, runs),
    ]
    return '\n\n'.join(_filled(part) for part in parts) + '\n'


def _filled(part: str) -> str:
    """Paragraphs in lines of 120 characters; findings stay one line each, and lists, tables and code as they are."""
    return part if part.startswith(('**', '- ', '|', '#', ' ')) else textwrap.fill(part, 120)


def _findings(content: dict, runs: Runs, changes: dict[str, Change], adjusted: dict[str, float]) -> list[str]:
    of_arms = sorted({len(of_seeds) for of_seeds in runs.values()})
    seeds = ' to '.join(map(str, dict.fromkeys((of_arms[0], of_arms[-1]))))
    base = np.mean([one['mean_corrupted_error'] for one in runs[BASELINE].values()])
    shown = [arm for arm, p in adjusted.items() if p < SIGNIFICANT]
    lower, higher = ([arm for arm in shown if sign * changes[arm].mean > 0] for sign in (-1, 1))
    says = [
        f'{_list(names)} {verb}{"" if len(names) > 1 else "s"} it'
        for names, verb in ((lower, 'lower'), (higher, 'raise'))
        if names
    ]
    verdict = ' and '.join(says) if says else 'no arm changes it by an amount that can be told from 0'
    listed = '; '.join(f'{arm} {_interval(one)}' for arm, one in changes.items() if len(one.values) > 1)
    detectable = [one.detectable for one in changes.values() if np.isfinite(one.detectable)]
    effect = f'{min(detectable):.1f} to {max(detectable):.1f} points' if detectable else 'unknown: one seed'
    found = gate(runs)
    overfocuses = 'overfocuses' if found.passed else 'does not overfocus, so the comparison is uninformative'
    return [
        f'**{_what(content)}, {seeds} seeds an arm, mean corrupted error of the baseline {base:.1f}%: {verdict}, '
        f"after Holm's correction over {len(changes)} arms.**",
        f'**Changes in points, with 95% intervals over seeds before the correction: {listed or "unknown: one seed"}. '
        f'The smallest effect that {100 * POWER:.0f} of 100 such experiments would show, before the correction, is '
        f'{effect}, depending on the arm.**',
        f'**The baseline {overfocuses}: in the last third of its layers ADL of its own maps is {found.adl:.2f}, and '
        f'{100 * found.active:.0f}% of the rows exceed the threshold.**',
    ]


def _gate(runs: Runs) -> Iterable[str]:
    yield '## The gate'
    yield (
        'Overfocusing is what TAP and ADL are against. So the baseline has to show it on images that it was not '
        f"trained on: ADL in the paper's form at tau = 2 above {GATE_ADL}, and more than {100 * GATE_ACTIVE:.0f}% of "
        'the rows with an entry above the threshold, means over the last third of the layers and over seeds. Otherwise '
        'the result says nothing about either.'
    )
    yield _table(
        ('seed', 'ADL', 'active rows', 'rows with one kept entry', 'clean error', 'mean corrupted error'),
        (
            (
                str(seed),
                *(f'{in_layers(name, True)(one):.2f}' for name in ('adl', 'active_rows', 'single_rows')),
                f'{one["clean_error"]:.1f}',
                f'{one["mean_corrupted_error"]:.1f}',
            )
            for seed, one in sorted(runs[BASELINE].items())
        ),
    )


def _arms(runs: Runs, changes: dict[str, Change], adjusted: dict[str, float]) -> Iterable[str]:
    yield '## Arms'
    yield (
        'Errors in percent, means over seeds. Changes are paired: initial weights, order of the images and corrupted '
        'images are those of the baseline of the same seed. Intervals are 95% t intervals over seeds, on one set of '
        'images. The primary endpoint is the change of the mean corrupted error; p is adjusted by Holm over all arms '
        'below. "Visible" is the smallest effect that is found with 80% power at this spread, before the correction. '
        "Gradient: norm of the gradient of ADL, lambda included, over that of the task's loss, median over training."
    )
    rows = []
    for arm, of_seeds in runs.items():
        mean = [np.mean([one[name] for one in of_seeds.values()]) for name in ('clean_error', 'mean_corrupted_error')]
        ratio = np.mean([gradient_ratio(one) for one in of_seeds.values()])
        row = [arm, str(len(of_seeds)), f'{mean[0]:.1f}', f'{mean[1]:.2f}']
        if arm == BASELINE:
            rows.append((*row, '', '', '', '', ''))
            continue
        clean, one = change(runs, arm, lambda one: one['clean_error']), changes[arm]
        share = '' if np.isnan(ratio) else f'{100 * ratio:.1f}%'
        visible = f'{one.detectable:.2f}' if np.isfinite(one.detectable) else ''
        rows.append((*row, _interval(one), f'{adjusted[arm]:.2f}', visible, _interval(clean, 1), share))
    header = ('arm', 'seeds', 'clean error', 'mean corrupted error', 'change of it', 'p', 'visible')
    yield _table((*header, 'change of the clean error', 'gradient'), rows)
    pairs = [
        (arm, reference, _interval(change(runs, arm, _mean_corrupted_error, reference)))
        for arm, reference in PAIRS
        if arm in runs and reference in runs
    ]
    if pairs:
        yield (
            'Arms against each other, in the same way, without a correction. Average pooling is the control of TAP: it '
            'pools alike and learns nothing.'
        )
        yield _table(('arm', 'against', 'change of the mean corrupted error'), pairs)


def _mean_corrupted_error(one: dict[str, Any]) -> float:
    return one['mean_corrupted_error']


def _attention(runs: Runs) -> Iterable[str]:
    yield '## Attention'
    yield (
        'Means over held-out images, heads, layers and seeds; in brackets the 95% interval of the change against the '
        'baseline. ADL and active rows are measured alike in all arms, whatever they train with. Stability is the '
        'cosine of the maps of a clean image and of the same with Gaussian noise; '
        '[the reference](reference/attention_statistics.md) defines all of them. Flat attention '
        'is stable too: read stability beside the share of the top columns.'
    )
    rows = []
    for arm, of_seeds in runs.items():
        cells = [arm]
        for name in ATTENTION:
            if name not in next(iter(of_seeds.values()))['attention'][0]:
                cells.append('')
                continue
            mean = np.mean([in_layers(name)(one) for one in of_seeds.values()])
            digits = 3 if name == 'self_share' else 2
            one = change(runs, arm, in_layers(name))
            bounds = '' if arm == BASELINE or not np.isfinite(one.half) else (
                f' [{one.low:+.{digits}f}, {one.high:+.{digits}f}]')  # fmt: skip
            cells.append(f'{mean:.{digits}f}{bounds}')
        rows.append(cells)
    yield _table(('arm', *ATTENTION.values()), rows)


def _corruptions(runs: Runs) -> Iterable[str]:
    yield '## Errors by corruption'
    yield 'In percent, means over seeds; severities behind the slash. None of these differences was tested.'
    cells = list(next(iter(runs[BASELINE].values()))['corrupted_errors'])
    rows = [
        [cell, *(f'{np.mean([one["corrupted_errors"][cell] for one in of_seeds.values()]):.1f}'
                 for of_seeds in runs.values())]
        for cell in cells
    ]  # fmt: skip
    yield _table(('corruption', *runs), rows)


def _limits(content: dict, runs: Runs) -> Iterable[str]:
    profile = content['profile']
    images = profile['recipe']['iters'] * profile['recipe']['batch_size']
    seeds, planned = len(runs[BASELINE]), PROFILES.get(profile['data']['kind'], profile)['seeds']
    clean = np.mean([one['clean_error'] for one in runs[BASELINE].values()])
    fewer = [f'{arm} {len(of_seeds)}' for arm, of_seeds in runs.items() if len(of_seeds) < seeds]
    yield '## What it does not say'
    yield (
        f'Each run has seen {images} images, and the baseline errs on {clean:.0f}% of the clean ones. The paper '
        'trains networks of 50 to 92 million parameters on ImageNet, for 300 epochs; what holds there is not known '
        'here. The intervals are over seeds: other images would move all arms together, and may move them apart. An '
        'interval that holds 0 does not say that there is no effect, only that one beyond its ends is unlikely.'
        + (f' {planned} seeds were planned; more were added after a look at these.' if seeds > planned else '')
        + (f' Some arms have fewer seeds than the baseline: {", ".join(fewer)}.' if fewer else '')
    )


def _how(content: dict, runs: Runs) -> Iterable[str]:
    profile = content['profile']
    recipe = profile['recipe']
    seconds = [one['seconds'] for of_seeds in runs.values() for one in of_seeds.values()]
    wall, cpu = sum(one['train'] + one['measure'] for one in seconds), sum(one['cpu'] for one in seconds)
    data = ', '.join(f'{name.replace("_", " ")} {value}' for name, value in profile['data'].items() if name != 'kind')
    versions = ', '.join(f'{name} {version}' for name, version in content['versions'].items())
    yield '## How it was made'
    yield _wrapped(
        f'{_what(content)}. {data[0].upper()}{data[1:]}; fingerprint of the images `{content["images"]}`. Training and '
        'held-out images come from different scenes.',
        f'AdamW, {recipe["iters"]} iterations of {recipe["batch_size"]} images, learning rate {recipe["lr"]:g}, weight '
        f'decay {recipe["weight_decay"]:g}, cosine schedule, random flips and no other augmentation.',
        f'Corruptions: the 15 of ImageNet-C, severities {list(profile["severities"])}, drawn once for all runs.',
        f'Primary endpoint, written down before the first run: {content["primary_endpoint"]}.',
        f'`{WITH_TAP}...` takes the form of ADL with the lowest mean corrupted error, chosen on the same images. '
        f'`...{STRONGER}` is tried where ADL has less than 2% of the gradient.',
        f'{len(seconds)} runs, one core each: {wall / 3600:.1f} hours in sum, {cpu / 3600:.1f} of them computing, on '
        f'{content["device"]}. Commits {", ".join(content["commits"])}; {versions}.',
    )
    yield '## Run it again'
    tool = '    python tools/analysis_tools/evidence.py'
    yield (
        f'{tool} --jobs 2                                  # this page, on a CPU\n'
        f'{tool} --profile scenes --device cuda:0         # FAN-T, on a GPU\n'
        f'{tool} --profile scenes --config configs/fan_cityscapes.py --data-root data/cityscapes/'
    )
    yield (
        'Results land in `work_dirs/evidence/PROFILE`: one file a run in `runs`, all raw numbers in `results.json`, '
        'and this page as `evidence.md`. A stopped command goes on where it was. `scenes` trains FAN-T-Hybrid for '
        'segmentation on 8 000 scenes of MiniCity held in memory, three arms of three seeds; its error is 100 - mIoU. '
        'With `--config` and `--data-root` it reads images of your own, resized to `--size`, 512 x 256 by default, and '
        'held in memory.'
    )
    yield '`docs/evidence/crops.json` holds all raw numbers of this page; `tests/test_evidence.py` compares the two.'


def _what(content: dict) -> str:
    profile = content['profile']
    backbone = profile['model']['backbone']
    if profile['data']['kind'] == 'crops':
        size = f'{backbone["embed_dim"]} channels, depth {backbone["depth"]}, {backbone["num_heads"]} heads'
        return f'A ViT of {size} that classifies 32 x 32 crops of MiniCity into 11 classes'
    name = backbone.get('arch', '')
    of = 'scenes of MiniCity' if profile['data']['kind'] == 'scenes' else 'images of a config'
    return f'{backbone["type"].removeprefix("mmrobust.")} {name if isinstance(name, str) else ""} that segments {of}'


def _interval(one: Change, digits: int = 2) -> str:
    if not np.isfinite(one.half):
        return f'{one.mean:+.{digits}f}'
    return f'{one.mean:+.{digits}f} [{one.low:+.{digits}f}, {one.high:+.{digits}f}]'


def _list(names: Sequence[str]) -> str:
    return ', '.join(names[:-1]) + ' and ' + names[-1] if len(names) > 1 else names[0]


def _wrapped(*items: str) -> str:
    return '\n'.join(textwrap.fill(f'- {item}', 120, subsequent_indent='  ') for item in items)


def _table(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    lines = [f'| {" | ".join(header)} |', '|---' * len(header) + '|']
    return '\n'.join([*lines, *(f'| {" | ".join(row)} |' for row in rows)])

"""Time and memory of TAP and ADL: beside the released forms, beside the network without them, and at scale.

python tools/analysis_tools/benchmark.py                      # everything but the 1024 crop
python tools/analysis_tools/benchmark.py step --crops 1024    # some parts
python tools/analysis_tools/benchmark.py --crops 768 1024 --json benchmark.json
python tools/analysis_tools/benchmark.py tap adl step --crops 1024 --batch-size 8 --bf16    # on a GPU

Each form runs in a process of its own, so its peak memory is its own, and in turn with the others. Ratios within one
run are what carries over to another machine. The same command measures on a GPU where there is one. At the end stand
the targets of performance/targets.py, of what was measured.
"""

import argparse
import json
import math
import platform
from pathlib import Path

from mmrobust import cli  # first: it checks the OpenMMLab stack

# isort: split
import torch
from mmengine.device import get_device
from rich.console import Console
from rich.table import Table

from mmrobust.complexity import build, count
from mmrobust.corruptions import CORRUPTIONS
from mmrobust.files import write_whole
from mmrobust.ops import ADL_MODES
from performance.corruption_cases import loading, photograph, suite_beside_imagecorruptions
from performance.measure import Measurement, in_own_process, in_turn, together
from performance.model_cases import prediction, training_step
from performance.op_cases import ADL_FORMS, TAP_FORMS, adl, adl_modes, tap
from performance.sampling_cases import sampled_rows
from performance.scaling import Cluster, Workload, estimate, most_predictions
from performance.targets import LOADERS_PER_GPU, ON_CPU, ON_CUDA, judge

CONFIGS = Path(__file__).resolve().parents[2] / 'configs'
BASELINE, ROBUST = (str(CONFIGS / name) for name in ('fan_cityscapes.py', 'fan_tap_adl_cityscapes.py'))
WITH_CP = {'model.backbone.with_cp': True}
SEGFORMERS = [str(CONFIGS / 'zoo' / f'segformer_{size}_cityscapes.py') for size in ('b2', 'b5')]
# peaks of the data sheets; what a step reaches of them is an assumption
CLUSTERS = (
    Cluster('A100', tflops=312, float32_tflops=19.5, utilization=0.3),
    Cluster('H100', tflops=989, float32_tflops=67, utilization=0.3),
)
WORKLOADS = (
    # with more GPUs than the recipe's 4 crops, one crop for each
    ('Cityscapes, 160k iterations', ROBUST, 1024, lambda gpus: (max(4, gpus), 160_000 * max(4, gpus))),
    ('ImageNet, 300 epochs', str(CONFIGS / 'fan_tap_adl_imagenet.py'), 224, lambda gpus: (2048, 300 * 1_281_167)),
)
DRAWS = 200  # of rows, in sampling
console = Console(highlight=False)


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = cli.Parser(__doc__)
    parser.add_argument('parts', nargs='*', help=f'some of {", ".join(PARTS)} (default: all)')
    parser.add_argument(
        '--repeats',
        type=int,
        default=3,
        help='rounds over all forms, ten times as many in modes, of which medians count (default: 3)',
    )
    parser.add_argument(
        '--tokens', type=int, nargs='+', default=[1024, 2304, 4096], help='of adl, modes (default: 1024 2304 4096)'
    )
    parser.add_argument('--crops', type=int, nargs='+', default=[512, 768], help='pixels, of step (default: 512 768)')
    parser.add_argument('--batch-size', type=int, default=1, help='crops of a training step (default: 1)')
    parser.add_argument('--released-up-to', type=int, default=768, help='largest crop for the released form, which '
                        'holds all maps: 16 GB at 768 (default: 768)')  # fmt: skip
    parser.add_argument(
        '--beside', nargs='*', default=SEGFORMERS, help='other configs to train beside (default: SegFormer-B2 and -B5)'
    )
    parser.add_argument('--bf16', action='store_true', help='tap, adl and step in bfloat16 (default: float32)')
    parser.add_argument('--compile', action='store_true', help='also a compiled step, which takes minutes on a CPU')
    parser.add_argument('--forms', nargs='+', help='of step: only these rows, such as released and baseline')
    parser.add_argument('--json', type=cli.output_file, metavar='FILE', help='write all numbers there')
    args = parser.parse_args(argv)
    unknown = sorted({*args.parts} - {*PARTS})
    if unknown:
        parser.error(f'parts must be some of {", ".join(PARTS)}, got {unknown[0]!r}')
    for name in ('repeats', 'batch_size', 'tokens', 'crops'):
        values = getattr(args, name)
        if min(values if isinstance(values, list) else [values]) < 1:
            parser.error(f'--{name.replace("_", "-")} must be 1 or more, got {values}')
    return args


def show(title: str, reference: str, rows: dict[str, Measurement]) -> dict:
    """Print a table, each row beside the one called ``reference``; return it for JSON."""
    table = Table('form', title=title)
    for column in ('seconds', f'x {reference}', 'peak MB', f'x {reference} '):
        table.add_column(column, justify='right')
    found = {}
    base = rows.get(reference)
    for name, row in rows.items():
        time_ratio = row.time_beside(base) if base else None
        memory_ratio = row.peak_bytes / base.peak_bytes if base and row.peak_bytes and base.peak_bytes else None
        found[name] = row._asdict() | {'time_ratio': time_ratio, 'memory_ratio': memory_ratio}
        peak = '-' if row.peak_bytes is None else f'{row.peak_bytes / 1e6:.1f}'
        ratios = ['-' if ratio is None else f'{ratio:.3f}' for ratio in (time_ratio, memory_ratio)]
        table.add_row(name, f'{row.seconds:.4f}', ratios[0], peak, ratios[1])
    console.print(table)
    return {'reference': reference, 'forms': found}


def slopes(title: str, seconds: dict[str, dict[int, float]]) -> dict[str, float]:
    """How time grows: the slope of log time over log tokens, from the smallest to the largest."""
    found = {}
    for name, times in seconds.items():
        if len(times) > 1:
            small, large = min(times), max(times)
            found[name] = math.log(times[large] / times[small]) / math.log(large / small)
    if found:
        console.print(f'{title} grows with tokens to the power of: ' +
                      ', '.join(f'{name} {slope:.2f}' for name, slope in found.items()))  # fmt: skip
    return found


def dtype(args: argparse.Namespace) -> torch.dtype:
    return torch.bfloat16 if args.bf16 else torch.float32


def in_rounds(cases: dict[str, tuple], args: argparse.Namespace) -> dict[str, Measurement]:
    return {name: together(measured) for name, measured in in_turn(cases, args.repeats).items()}


def measure_tap(args: argparse.Namespace) -> dict:
    shape = (1, 448, 64, 64)
    rows = in_rounds({form: (tap, form, shape, 4, 9, dtype(args)) for form in TAP_FORMS}, args)
    return show(f'TAP, forward and backward, {shape}, K = 4', 'released', rows)


def measure_adl(args: argparse.Namespace) -> dict:
    found: dict = {'tables': {}}
    seconds: dict[str, dict[int, float]] = {}
    for tokens in args.tokens:
        rows = in_rounds({form: (adl, form, 8, 56, tokens, 3, dtype(args)) for form in ADL_FORMS}, args)
        title = f'attention with ADL, forward and backward, 8 heads of 56, N = {tokens}'
        for reference in ('released', 'attention alone'):
            found['tables'][f'N = {tokens}, beside {reference}'] = show(title, reference, rows)
        for form, row in rows.items():
            seconds.setdefault(form, {})[tokens] = row.seconds
    return found | {'slopes': slopes('attention', seconds)}


def measure_modes(args: argparse.Namespace) -> dict:
    found: dict = {'tables': {}}
    for tokens in args.tokens:
        rows = in_own_process(adl_modes, tokens, 10 * args.repeats, dtype(args))
        title = f'attention with each form of ADL, forward and backward, 8 heads of 56, N = {tokens}'
        found['tables'][f'N = {tokens}'] = show(title, 'attention alone', rows)
    return found


def measure_sampling(args: argparse.Namespace) -> dict:
    table = Table('mode', title=f'ADL of drawn rows, of 1024, over {DRAWS} draws')
    for column in (
        'rows',
        'ADL',
        'all rows',
        'bias',
        'deviation of a draw',
        'gradient: cosine of the mean',
        'of a draw',
        'length',
    ):
        table.add_column(column, justify='right')
    found = []
    for mode in ADL_MODES:
        for rows in (64, 128, 256, 512):
            one = sampled_rows(mode, rows, DRAWS)
            found.append({'mode': mode, 'rows': rows, **one._asdict()})
            numbers = (one.mean, one.exact, one.mean - one.exact, one.deviation, *one[3:])
            table.add_row(mode, str(rows), *(f'{number:.4f}' for number in numbers))
    console.print(table)
    return {'estimates': found, 'draws': DRAWS}


def measure_step(args: argparse.Namespace) -> dict:
    found: dict = {'batch_size': args.batch_size, 'tables': {}, 'losses': {}}
    seconds: dict[str, dict[int, float]] = {}
    for crop in args.crops:
        cases = {
            'baseline': (BASELINE, {}, 'ours'),
            'TAP + ADL': (ROBUST, {}, 'ours'),
            'TAP + ADL, with_cp': (ROBUST, WITH_CP, 'ours'),
        }
        if args.compile:
            cases['TAP + ADL, compiled'] = (ROBUST, {}, 'compiled')
        if crop <= args.released_up_to:
            cases = {'released': (ROBUST, {}, 'released')} | cases
        cases |= {Path(config).stem: (config, {}, 'ours') for config in args.beside}
        cases = {name: case for name, case in cases.items() if name in (args.forms or cases)}
        runs = in_turn(
            {
                name: (training_step, config, options, crop, args.batch_size, form, 1, args.bf16)
                for name, (config, options, form) in cases.items()
            },
            args.repeats,
        )
        rows = {name: together([step.measurement for step in steps]) for name, steps in runs.items()}
        for name, (step, *_) in runs.items():
            found['losses'][f'{crop}, {name}'] = step.losses | {'without gradient': step.without_gradient}
            seconds.setdefault(name, {})[crop**2] = rows[name].seconds
        title = f'training step without the optimizer, {args.batch_size} x {crop} x {crop}'
        for reference in ('released', 'baseline'):
            if reference in rows:
                found['tables'][f'{crop}, beside {reference}'] = show(title, reference, rows)
        adl_values = {name.partition(', ')[2]: losses['loss_adl'] for name, losses in found['losses'].items()
                      if 'loss_adl' in losses and name.startswith(f'{crop},')}  # fmt: skip
        console.print('ADL: ' + ', '.join(f'{name} {value:.4f}' for name, value in adl_values.items()))
    return found | {'slopes': slopes('a training step', seconds)}


def measure_inference(args: argparse.Namespace) -> dict:
    height, width = 512, 1024
    cases = {'baseline': (BASELINE, {}), 'TAP': (ROBUST, {})} | {
        Path(config).stem: (config, {}) for config in args.beside
    }
    rows = in_rounds({name: (prediction, *case, height, width, 2) for name, case in cases.items()}, args)
    return show(f'prediction of a {height} x {width} image', 'baseline', rows)


def measure_corruptions(args: argparse.Namespace) -> dict:
    width, height, severity = 2048, 1024, 3
    image = photograph(width, height)
    found = in_own_process(suite_beside_imagecorruptions, image, severity, args.repeats)
    forms = ('together', 'imagecorruptions')
    rows = {form: Measurement(seconds, [seconds], None) for form, seconds in zip(forms, found, strict=True)}
    return show(f'all corruptions of a {height} x {width} image, CPU time', 'imagecorruptions', rows)


def measure_loading(args: argparse.Namespace) -> dict:
    height, width = 1024, 2048
    rows = {
        name or 'clean': in_own_process(loading, name, height, width, args.repeats) for name in (None, *CORRUPTIONS)
    }
    found = show(f'load a {height} x {width} image and corrupt it, one process', 'clean', rows)
    slowest = max(rows, key=lambda name: rows[name].seconds)
    rate, slowest_rate = len(rows) / sum(row.seconds for row in rows.values()), 1 / rows[slowest].seconds
    console.print(f'over all {rate:.2f} images/s per process, {slowest} {slowest_rate:.2f}')
    console.print(f'{LOADERS_PER_GPU} processes that do not share a core: {LOADERS_PER_GPU * rate:.0f}, '
                  f'{slowest} {LOADERS_PER_GPU * slowest_rate:.0f}')  # fmt: skip

    config = cli.load_config(ROBUST)
    crop, stride = config.model.test_cfg.crop_size, config.model.test_cfg.stride
    windows = math.prod(1 + math.ceil((side - size) / step)
                        for side, size, step in zip((height, width), crop, stride, strict=True))  # fmt: skip
    macs = windows * count(build(config), crop)['whole'][1]
    most = {cluster.name: most_predictions(macs, cluster) for cluster in CLUSTERS}
    console.print(f'computed: {windows} windows of {crop[0]} x {crop[1]} are {macs / 1e12:.2f} TMACs; float32 allows '
                  + ', '.join(f'{name} {number:.0f} images/s' for name, number in most.items()))  # fmt: skip
    return found | {'images_per_second': rate, 'slowest': slowest_rate, 'most_predictions': most}


def compute_scale(args: argparse.Namespace) -> dict:
    small = 512
    peaks = [
        in_own_process(training_step, ROBUST, WITH_CP, small, batch_size, 'ours', 1).measurement.peak_bytes
        for batch_size in (1, 2)
    ]
    per_pixel = (peaks[1] - peaks[0]) / small**2
    console.print(
        f'measured: with_cp a second {small} x {small} crop takes {(peaks[1] - peaks[0]) / 1e9:.2f} GB in float32'
    )
    found: dict = {'bytes_per_pixel': per_pixel, 'tables': {}}
    for title, config, side, images_of in WORKLOADS:
        parameters, macs = count(build(cli.load_config(config)), (side, side))['whole']
        for cluster in CLUSTERS:
            table = Table(title=f'computed, not measured: {title}, {cluster.name}')
            for column in ('GPUs', 'batch', 'GB per GPU', 'images/s', 'days'):
                table.add_column(column, justify='right')
            rows = []
            for gpus in (1, 2, 4, 8, 16, 32, 64):
                batch_size, images = images_of(gpus)
                # bfloat16 halves the activations
                workload = Workload(macs, parameters, per_pixel / 2 * side**2, images, batch_size)
                row = estimate(workload, cluster, gpus)
                rows.append(vars(row) | {'batch_size': batch_size})
                numbers = (row.gbytes_per_gpu, row.images_per_second, row.days)
                table.add_row(
                    str(gpus),
                    str(batch_size),
                    *(f'{number:.{digits}f}' for number, digits in zip(numbers, (0, 1, 2), strict=True)),
                )
            console.print(table)
            found['tables'][f'{title}, {cluster.name}'] = rows
    return found


PARTS = {
    'tap': measure_tap,
    'adl': measure_adl,
    'modes': measure_modes,
    'sampling': measure_sampling,
    'step': measure_step,
    'inference': measure_inference,
    'corruptions': measure_corruptions,
    'loading': measure_loading,
    'scale': compute_scale,
}


def show_targets(judged: list[dict]) -> None:
    table = Table('target', title='targets')
    for column in ('', 'measured', 'held'):
        table.add_column(column, justify='right')
    for row in judged:
        limit = f'{row["relation"]} {row["limit"]:g} {row["unit"]}'
        table.add_row(row['what'], limit, f'{row["measured"]:.3g}', 'yes' if row['held'] else 'no')
    console.print(table)


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    environment = dict(
        device=torch.cuda.get_device_name() if torch.cuda.is_available() else platform.processor() or get_device(),
        threads=torch.get_num_threads(),
        torch=torch.__version__,
        python=platform.python_version(),
        dtype=str(dtype(args)).removeprefix('torch.'),
    )
    console.print(', '.join(f'{name}: {value}' for name, value in environment.items()))
    found = {}
    with cli.one_sentence():
        for part in args.parts or PARTS:
            found[part] = PARTS[part](args)
            judged = judge(ON_CUDA if torch.cuda.is_available() else ON_CPU, found)
            if args.json:  # after every part: nothing measured is lost
                content = {'environment': environment, 'parts': found, 'targets': judged}
                write_whole(args.json, json.dumps(content, indent=2) + '\n')
    if judged:
        show_targets(judged)


if __name__ == '__main__':
    main()

"""FAN on scikit-learn's digits, with and without TAP and ADL: train, corrupt, attack, compare.

python tools/demo_classification.py              # one seed: 11 minutes on two CPU cores
python tools/demo_classification.py --seeds 5    # with intervals over seeds: about an hour
python tools/demo_classification.py --max-images 60 --work-dir work_dirs/few

Runs the commands that a user would run, shows them, and leaves everything in work_dirs/demo_classification. Started
again, it continues where it was.
"""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from scipy import stats

from mmrobust import cli  # it checks the OpenMMLab stack

# isort: split
from demo_commands import console, last_checkpoint, of_project, run, show, train
from mmrobust.files import write_whole

REFERENCE = of_project('configs/resnet_digits.py')  # mCE is in units of its errors
MODELS = {
    'baseline': of_project('configs/fan_digits.py'),
    'TAP': of_project('configs/fan_tap_digits.py'),
    'ADL': of_project('configs/fan_adl_digits.py'),
    'TAP + ADL': of_project('configs/fan_tap_adl_digits.py'),
}
COLUMNS = ('clean error', 'mean error', 'mCE', 'FGSM error', 'PGD-5 error')
LOSSES = {'CE': 'loss_cls', 'ADL': 'loss_adl'}


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = cli.Parser(__doc__)
    parser.add_argument('--seeds', type=int, default=1, help='train each model this often (default: %(default)s)')
    parser.add_argument('--max-images', type=int, default=120, help='of each cell (default: %(default)s of 355)')
    parser.add_argument('--eps', type=float, default=4 / 255, help='of the attacks, 0 to 1 (default: 4/255)')
    parser.add_argument('--work-dir', default='work_dirs/demo_classification', help='default: %(default)s')
    cli.add_cfg_options(parser)
    return parser.parse_args(argv)


def evaluate(config: str, work_dir: Path, benchmark: str, options: Sequence[str]) -> dict:
    """Results of one benchmark of ``tools/evaluate_robustness.py`` for the last checkpoint."""
    out = work_dir / 'robustness' / benchmark
    command = ['tools/evaluate_robustness.py', config, last_checkpoint(work_dir), '--benchmark', benchmark]
    run({work_dir / f'{benchmark}.log': [*command, '--batch-size', '32', '--out', str(out), *options]})
    return json.loads((out / 'results.json').read_text())['results']


def numbers(config: str, work_dir: Path, args: argparse.Namespace, reference: str) -> list[float]:
    """Results of one trained model, in percent, in the order of ``COLUMNS``."""
    images = ['--max-images', str(args.max_images)]
    corrupted = evaluate(config, work_dir, 'imagenet-c', [*images, '--reference', reference])
    attacks = ['--eps', str(args.eps), '--step-size', str(args.eps / 2)]
    attacked = evaluate(config, work_dir, 'adversarial', [*images, *attacks])['cells']
    errors = [attacked[attack]['error'] for attack in ('fgsm', 'pgd')]
    return [*(corrupted[key] for key in ('clean_error', 'mean_error', 'mCE')), *errors]


def epochs(config: str, args: argparse.Namespace) -> int:
    """How long a config trains."""
    return cli.load_config(config, args.cfg_options).train_cfg.max_epochs


def with_interval(values: np.ndarray) -> str:
    """Mean over seeds, and its 95% interval by Student's t where there is more than one."""
    if len(values) == 1:
        return f'{values[0]:.2f}'
    half = stats.t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / len(values) ** 0.5
    return f'{values.mean():.2f} ± {half:.2f}'


def write_report(found: dict[str, np.ndarray], work_dir: Path) -> Path:
    """Show the numbers of all models, ``(seeds, columns)`` each, and write them as Markdown and JSON."""
    rows = {name: [with_interval(column) for column in values.T] for name, values in found.items()}
    seeds = len(found['baseline'])
    show(f'Digits, percent, {seeds} seed{"s" * (seeds > 1)}', COLUMNS, rows)
    lines = [f'| model | {" | ".join(COLUMNS)} |', '|---' + '|---:' * len(COLUMNS) + '|']
    lines += [f'| {name} | {" | ".join(row)} |' for name, row in rows.items()]
    if seeds > 1:
        changes = {name: values - found['baseline'] for name, values in found.items() if name != 'baseline'}
        rows = {name: [with_interval(column) for column in values.T] for name, values in changes.items()}
        show('Change against the baseline, seed by seed', COLUMNS, rows)
        lines += ['', f'| change against the baseline | {" | ".join(COLUMNS)} |', '|---' + '|---:' * len(COLUMNS) + '|']
        lines += [f'| {name} | {" | ".join(row)} |' for name, row in rows.items()]
    path = work_dir / 'results.md'
    write_whole(path, '\n'.join(lines) + '\n')
    content = {'columns': COLUMNS, 'models': {name: values.tolist() for name, values in found.items()}}
    write_whole(path.with_suffix('.json'), json.dumps(content, indent=2) + '\n')
    return path


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    start = time.monotonic()
    work_dir = Path(args.work_dir)
    options = ['--cfg-options', *sys.argv[sys.argv.index('--cfg-options') + 1 :]] if args.cfg_options else []
    overrides = options or ['--cfg-options']

    console.rule('1. Write the digits, and train the network that mCE is relative to')
    subprocess.run([sys.executable, of_project('tools/dataset_converters/digits.py')], check=True)
    reference_dir = work_dir / 'resnet'
    train({'training': (REFERENCE, reference_dir)}, options, epochs(REFERENCE, args), LOSSES, step='epoch')
    evaluate(REFERENCE, reference_dir, 'imagenet-c', ['--max-images', str(args.max_images)])
    reference = str(reference_dir / 'robustness/imagenet-c/results.json')

    found: dict[str, list[list[float]]] = {name: [] for name in MODELS}
    for seed in range(args.seeds):
        console.rule(f'{seed + 2}. Train, corrupt and attack, seed {seed}')
        for name, config in MODELS.items():
            model_dir = work_dir / f'seed_{seed}' / Path(config).stem
            with_seed = [*overrides, f'randomness.seed={seed}']
            train({name: (config, model_dir)}, with_seed, epochs(config, args), LOSSES, step='epoch')
            found[name].append(numbers(config, model_dir, args, reference))

    console.rule(f'{args.seeds + 2}. Compare')
    report = write_report({name: np.array(values) for name, values in found.items()}, work_dir)
    page = work_dir / 'robustness.html'
    folders = [str(work_dir / 'seed_0' / Path(config).stem / 'robustness') for config in MODELS.values()]
    compare = ['tools/analysis_tools/compare_robustness.py', *folders, '--names', *MODELS, '--reference', 'baseline']
    title = 'Digits under corruptions and attacks'
    run({work_dir / 'compare.log': [*compare, '--title', title, '--out', str(page)]})
    console.print(
        f'Done in {(time.monotonic() - start) / 60:.1f} minutes. Look at\n'
        f'  {report}   the table above\n'
        f'  {page}   every corruption, the models of seed 0 side by side\n'
        'One seed does not say which model is better: --seeds 5 gives intervals over seeds.',
        soft_wrap=True,
    )


if __name__ == '__main__':
    main()

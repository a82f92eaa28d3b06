"""How a model does in noise, blur, bad weather and under attack: resumable, and splittable over processes.

Segmentation, any MMSegmentation config:
python tools/evaluate_robustness.py configs/fan_tap_adl_cityscapes.py CHECKPOINT --preset kamann
python tools/evaluate_robustness.py CONFIG CHECKPOINT --benchmark acdc --data-root data/acdc
python tools/evaluate_robustness.py CONFIG CHECKPOINT --benchmark acdc --split test   # a zip for the ACDC server
python tools/evaluate_robustness.py CONFIG CHECKPOINT --benchmark domain --datasets bdd100k dark-zurich --clean
python tools/evaluate_robustness.py CONFIG CHECKPOINT --benchmark adversarial         # PGD, SegPGD, CosPGD, SEA

Classification, any MMPretrain config, timm's models among them:
python tools/evaluate_robustness.py CONFIG CHECKPOINT --benchmark imagenet-c --data-root data/imagenet-c
python tools/evaluate_robustness.py CONFIG CHECKPOINT --benchmark imagenet-3dcc --data-root data/imagenet-3dcc
python tools/evaluate_robustness.py CONFIG CHECKPOINT --benchmark imagenet-variants   # -A, -R, -Sketch, -V2
python tools/evaluate_robustness.py CONFIG CHECKPOINT --benchmark adversarial         # FGSM, PGD-5

python tools/evaluate_robustness.py CONFIG CHECKPOINT --shard 0/3   # and 1/3, 2/3, anywhere on a shared folder
torchrun --nproc_per_node 4 tools/evaluate_robustness.py CONFIG CHECKPOINT

Each finished cell (a corruption at a severity, a condition, an attack) is one file; started again, the command
continues where it was, and the last process to finish writes the summary. In Python: ``mmrobust.evaluate(...)``. A
benchmark of your own is offered too, if CONFIG names its module in ``custom_imports``.
"""

import argparse
import inspect
import sys
from pathlib import Path

from mmrobust import cli  # first: it checks the OpenMMLab stack

# isort: split
from mmengine.config import Config

from mmrobust.evaluation.benchmarks import Benchmark, benchmark_types
from mmrobust.evaluation.evaluate import evaluate, run_name


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    import_benchmarks(sys.argv[1:] if argv is None else argv)
    types = benchmark_types()
    parser = cli.Parser(__doc__)
    parser.add_argument(
        'model', metavar='config', help='config file of any MMSegmentation or MMPretrain model, or timm:NAME'
    )
    parser.add_argument(
        'checkpoint', nargs='?', help='its file or address (default: what the config names, as load_from)'
    )
    parser.add_argument('--benchmark', choices=types, default='cityscapes-c', help='default: %(default)s')
    roots = {name: inspect.signature(kind).parameters.get('data_root') for name, kind in types.items()}
    usual = ', '.join(f'{root.default} of {name}' for name, root in roots.items() if root and root.default)
    parser.add_argument('--data-root', help=f"the benchmark's images (default: {usual}; else the config's)")
    parser.add_argument('--max-images', type=int, help='this many images per cell, spread evenly over the data set')
    parser.add_argument(
        '--out',
        type=cli.output_folder,
        help='results folder (default: work_dirs/robustness/<config, and network of timm>/<benchmark>)',
    )
    parser.add_argument('--shard', metavar='I/N', help='run part I, from 0, of N (default: all)')
    parser.add_argument('--num-workers', type=int, default=2, help='loading processes (default: 2)')
    parser.add_argument('--batch-size', type=int, default=1, help='images per forward pass (default: 1)')
    parser.add_argument('--device', type=cli.device, help='such as cpu or cuda:0 (default: cuda if there is one)')
    parser.add_argument('--amp', action='store_true', help='predict in bfloat16, or float16 on a GPU without it')
    parser.add_argument(
        '--compile', dest='compiled', action='store_true', help='compile backbone and head: pays on a GPU'
    )
    cli.add_cfg_options(parser)
    group = parser.add_argument_group('segmentation models')
    group.add_argument(
        '--window-batch', type=int, default=1, help='sliding windows of each image per forward pass (default: 1)'
    )
    group.add_argument('--worst', type=int, default=8, help='show this many of the worst images (default: 8)')
    group.add_argument(
        '--worst-of',
        metavar='RESULTS',
        help="show the images that are worst in another model's results.json (default: this run's own)",
    )
    add_options(parser, types)
    return parser.parse_args(argv)


def import_benchmarks(argv: list[str]) -> None:
    """Read the config for its ``custom_imports``, so that benchmarks in other packages are known to the options."""
    config = next((argument for argument in argv if argument.endswith('.py') and Path(argument).is_file()), None)
    if config is not None:
        with cli.one_sentence():
            Config.fromfile(config)


def add_options(parser: argparse.ArgumentParser, types: dict[str, type[Benchmark]]) -> None:
    """Add the options of all benchmarks, each once, in a group for those that take it.

    Options that are not given are left to the benchmark, so the parser knows no defaults.
    """
    takers: dict[str, list[str]] = {}
    for name, kind in types.items():
        for option in kind.options:
            takers.setdefault(option, []).append(name)
    titles = {option: ', '.join(names) for option, names in takers.items()}
    groups = {title: parser.add_argument_group(title) for title in dict.fromkeys(titles.values())}
    for option, names in takers.items():
        groups[titles[option]].add_argument(f'--{option.replace("_", "-")}', **types[names[0]].options[option])


def which_shard(text: str | None) -> tuple[int, int] | None:
    """Index and count from ``--shard``.

    Raises:
        ValueError: the text is not I/N.
    """
    if text is None:
        return None
    index, slash, count = text.partition('/')
    if not (slash and index.isdigit() and count.isdigit()):
        raise ValueError(f'--shard takes I/N such as 0/3, got {text!r}')
    return int(index), int(count)


def main(argv: list[str] | None = None) -> None:
    args = vars(parse_args(argv))
    with cli.one_sentence():
        args['shard'] = which_shard(args['shard'])
        if args['out'] is None:
            name = run_name(args['model'], cli.load_config(args['model'], args['cfg_options']))
            args['out'] = Path('work_dirs/robustness') / name / args['benchmark']
        evaluate(**{name: value for name, value in args.items() if value is not None})


if __name__ == '__main__':
    main()

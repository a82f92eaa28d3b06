"""How a model does in noise, blur, bad weather and under attack: resumable, and splittable over processes.

Segmentation, any MMSegmentation config:
python tools/evaluate_robustness.py configs/fan_tap_adl_cityscapes.py CHECKPOINT --preset kamann
python tools/evaluate_robustness.py CONFIG CHECKPOINT --benchmark acdc --data-root data/acdc
python tools/evaluate_robustness.py CONFIG CHECKPOINT --benchmark acdc --split test   # a zip for the ACDC server

Classification, any MMPretrain config, timm's models among them:
python tools/evaluate_robustness.py CONFIG CHECKPOINT --benchmark imagenet-c --data-root data/imagenet-c
python tools/evaluate_robustness.py CONFIG CHECKPOINT --benchmark imagenet-variants   # -A, -R, -Sketch, -V2
python tools/evaluate_robustness.py CONFIG CHECKPOINT --benchmark adversarial         # FGSM, PGD-5

python tools/evaluate_robustness.py CONFIG CHECKPOINT --shard 0/3   # and 1/3, 2/3, anywhere on a shared folder
torchrun --nproc_per_node 4 tools/evaluate_robustness.py CONFIG CHECKPOINT

Each finished cell (a corruption at a severity, a condition, an attack) is one file; started again, the command
continues where it was, and the last process to finish writes the summary.
"""

import argparse
import inspect
import json
import os
from collections.abc import Callable
from pathlib import Path

from mmrobust import cli  # first: it checks the OpenMMLab stack

# isort: split
import cv2
import mmengine
import mmpretrain
import mmseg
import numpy as np
import torch
from mmengine.config import Config
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from mmrobust.datasets.acdc import CONDITIONS
from mmrobust.evaluation.acdc_submission import FOLDER, SERVER_SIZE, write_submission
from mmrobust.evaluation.benchmarks import (
    ACDC,
    ATTACKS,
    CLEAN,
    PRESETS,
    RELATIVES,
    Adversarial,
    Benchmark,
    Cell,
    CellStore,
    CityscapesC,
    EvaluatedModel,
    ImageNetC,
    ImageNetP,
    ImageNetVariants,
    SegmentationBenchmark,
    SegmentationModel,
    find_worst,
    shard,
    write_panels,
)
from mmrobust.evaluation.published import TABLE_3, TABLE_IV, is_table_iv
from mmrobust.files import write_whole
from mmrobust.sigterm import stopped_by_sigterm
from mmrobust.version import __version__
from mmrobust.visualization import classification_page, read_worst_panels, robustness_page

BENCHMARKS = {
    benchmark.name: benchmark for benchmark in (CityscapesC, ACDC, ImageNetC, ImageNetVariants, ImageNetP, Adversarial)
}


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description='Evaluate the robustness of a segmentation or classification model.')
    parser.add_argument('config', help='config file of any MMSegmentation or MMPretrain model')
    parser.add_argument(
        'checkpoint', nargs='?', help='its file or address (default: what the config names, as load_from)'
    )
    parser.add_argument('--benchmark', choices=BENCHMARKS, default='cityscapes-c', help='default: %(default)s')
    parser.add_argument('--data-root', help="where the benchmark's pictures are (default: see the documentation)")
    parser.add_argument('--max-images', type=int, help='this many pictures per cell, spread evenly over the data set')
    parser.add_argument('--out', help='results folder (default: work_dirs/robustness/<config>/<benchmark>)')
    parser.add_argument('--shard', metavar='I/N', help='run part I, from 0, of N (default: all)')
    parser.add_argument('--num-workers', type=int, default=2, help='loading processes (default: 2)')
    parser.add_argument('--batch-size', type=int, default=1, help='pictures per forward pass (default: 1)')
    parser.add_argument('--device', help='such as cpu or cuda:0 (default: cuda if there is one)')
    parser.add_argument('--amp', action='store_true', help='predict in bfloat16, or float16 on a GPU without it')
    parser.add_argument('--compile', action='store_true', help='compile backbone and head: pays on a GPU')
    parser.add_argument(
        '--window-batch',
        type=int,
        default=1,
        help='sliding windows of each picture per forward pass, of segmentation (default: 1)',
    )
    parser.add_argument(
        '--worst', type=int, default=8, help='of segmentation, show this many of the worst pictures (default: 8)'
    )
    cli.add_cfg_options(parser)

    # no defaults below: what is not given is left to the benchmark, and what another benchmark takes is an error
    options = parser.add_argument_group('cityscapes-c, imagenet-c')
    options.add_argument('--preset', choices=PRESETS, help='which cells of cityscapes-c (default: kamann)')
    options.add_argument('--corruptions', nargs='+', metavar='NAME', help='these instead of the usual ones')
    options.add_argument('--severities', nargs='+', type=int, metavar='1-5', help='these instead of the usual ones')
    options.add_argument('--seed', type=int, help='of the random corruptions, or of PGD (default: 0)')
    options.add_argument('--profile', choices=['rgb', 'bgr'], help="bgr: the released code's channel order")
    options.add_argument(
        '--corrupted-root', help='read a copy that tools/dataset_converters/cityscapes_c.py wrote (default: on the fly)'
    )
    options.add_argument('--extras', action='store_true', default=None, help='also the 4 extra corruptions')
    options.add_argument(
        '--reference', metavar='RESULTS.json', help='network that CE is relative to (default: AlexNet)'
    )
    options.add_argument('--expected-images', type=int, help='pictures per folder (default: the published number)')

    options = parser.add_argument_group('acdc')
    options.add_argument('--split', choices=['train', 'val', 'test'], help='test: only predictions (default: val)')
    options.add_argument('--conditions', nargs='+', choices=CONDITIONS, help='default: all')
    options.add_argument(
        '--submission',
        metavar='ZIP',
        help='also write predictions for the server (default for test: OUT/acdc_test.zip)',
    )

    options = parser.add_argument_group('imagenet-variants, imagenet-p')
    options.add_argument('--variants', nargs='+', choices=RELATIVES, help='default: all')
    options.add_argument('--perturbations', nargs='+', metavar='NAME', help='of imagenet-p (default: the 10)')
    options.add_argument('--difficulty', type=int, choices=[1, 2, 3], help='of imagenet-p (default: 1)')

    options = parser.add_argument_group('adversarial')
    options.add_argument('--attacks', nargs='+', choices=ATTACKS, help='default: all')
    options.add_argument('--eps', type=float, help='largest change of a pixel, 0 to 1 (default: 1/255)')
    options.add_argument('--step-size', type=float, help='of PGD, 0 to 1 (default: 0.5/255)')
    options.add_argument('--num-steps', type=int, help='of PGD (default: 5)')
    return parser.parse_args(argv)


def build_benchmark(config: Config, args: argparse.Namespace) -> Benchmark:
    """The benchmark that the command line asks for; an option has the name of the argument that it sets.

    Raises:
        ValueError: an option belongs to another benchmark, or has a value that is not allowed; the benchmark is not for
            this kind of model.
    """
    kind = BENCHMARKS[args.benchmark]
    scope = config.get('default_scope')
    fitting = [name for name, of in BENCHMARKS.items() if of.model_type.scope == scope]
    if fitting and kind.name not in fitting:
        raise ValueError(
            f'--benchmark {args.benchmark} is for models of {kind.model_type.scope}, but {args.config} is for {scope}: '
            f'choose from {", ".join(fitting)}'
        )
    taken = {name: inspect.signature(of).parameters for name, of in BENCHMARKS.items()}
    given = {name: value for name, value in vars(args).items() if value is not None and name != 'config'}
    for name in given:
        owners = [benchmark for benchmark, parameters in taken.items() if name in parameters]
        if owners and args.benchmark not in owners:
            raise ValueError(f'--{name.replace("_", "-")} is for --benchmark {owners[0]}, not {args.benchmark}')
    return kind(config, **{name: value for name, value in given.items() if name in taken[args.benchmark]})


def which_shard(text: str | None) -> tuple[int, int]:
    """Index and count from ``--shard``, else from torchrun's environment, else everything.

    Raises:
        ValueError: the text is not I/N.
    """
    if text is None:
        return int(os.environ.get('RANK', 0)), int(os.environ.get('WORLD_SIZE', 1))
    index, slash, count = text.partition('/')
    if not (slash and index.isdigit() and count.isdigit()):
        raise ValueError(f'--shard takes I/N such as 0/3, got {text!r}')
    return int(index), int(count)


def which_device(device: str | None) -> str:
    """``--device``, else this process's GPU, else the CPU."""
    if device:
        return device
    return f'cuda:{os.environ.get("LOCAL_RANK", 0)}' if torch.cuda.is_available() else 'cpu'


def run(
    model: EvaluatedModel, benchmark: Benchmark, store: CellStore, cells: list[Cell], leave_if_told: Callable[[], None]
) -> None:
    """Run cells, with progress, time left and the mean so far; ``leave_if_told`` is called after every picture."""
    columns = (
        TextColumn('{task.description}'),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn('pictures'),
        TimeRemainingColumn(),
        TextColumn('{task.fields[state]}'),
    )
    scores = [store.read(cell).score for cell in benchmark.cells if store.has(cell) and cell not in cells]
    with Progress(*columns, disable=int(os.environ.get('RANK', 0)) > 0) as progress:
        task = progress.add_task('', total=sum(map(benchmark.size, cells)), state='')
        for cell in cells:
            progress.update(task, description=cell.name)
            result = benchmark.run(model, cell, lambda: (progress.advance(task), leave_if_told()))
            store.write(cell, result)
            scores.append(result.score)
            known = [score for score in scores if score is not None]
            mean = f', mean {benchmark.measure} {np.mean(known):.2f}' if known else ''
            progress.update(task, state=f'{len(scores)} of {len(benchmark.cells)} cells{mean}')


def write_results(model: EvaluatedModel, benchmark: Benchmark, store: CellStore, args: argparse.Namespace) -> None:
    """Write results.json, .csv, .md and .html, and the worst pictures of segmentation; print the headline."""
    name = Path(args.config).stem
    compiled = {'compile': True} if args.compile else {}
    title = f'{name} on {benchmark.name}'
    summary = benchmark.summarize(store)
    content = {
        'provenance': {
            'config': args.config,
            'checkpoint': model.checkpoint,
            'protocol': {'benchmark': benchmark.name, **benchmark.protocol},
            **store.identity,
            **compiled,
            'versions': {
                'mmrobust': __version__,
                'torch': torch.__version__,
                'opencv': cv2.__version__,
                'mmengine': mmengine.__version__,
                'mmseg': mmseg.__version__,
                'mmpretrain': mmpretrain.__version__,
            },
        },
        'results': summary,
    }
    if isinstance(benchmark, SegmentationBenchmark):
        content['worst'] = write_worst(model, benchmark, store, args.worst)
    write_whole(store.folder / 'results.json', json.dumps(content, indent=2) + '\n')
    write_whole(store.folder / 'results.csv', benchmark.to_csv(summary))
    text = benchmark.to_markdown(summary, title)
    write_whole(store.folder / 'results.md', text)
    write_whole(store.folder / 'results.html', to_html(benchmark, content, store.folder, name, title))
    headline = text.splitlines()[2:]
    print('\n'.join([f'# {title}', '', *headline[:5]]))
    print(f'\nAll numbers: {store.folder / "results.html"}, .md, .csv and .json')


def write_worst(model: EvaluatedModel, benchmark: SegmentationBenchmark, store: CellStore, count: int) -> list[dict]:
    """Write the worst pictures, and return which they are, for JSON."""
    found = find_worst({cell: store.read(cell) for cell in benchmark.cells if cell != CLEAN}, count)
    for index, one in enumerate(found):
        pictures, label_maps = benchmark.panels(model, one.cell, one.picture)
        write_panels(store.folder / 'worst', index, pictures, label_maps, benchmark.pictures(one.cell).palette)
    return [{'picture': one.picture, 'cell': one.cell.name, 'mIoU': one.miou} for one in found]


def to_html(benchmark: Benchmark, content: dict, folder: Path, name: str, title: str) -> str:
    """The results as one page."""
    if not isinstance(benchmark, SegmentationBenchmark):
        return classification_page({benchmark.name: {name: content}}, title=title, published=TABLE_3)
    shown = {name: content | {'worst': read_worst_panels(folder, content['worst'])}}
    pictures = benchmark.pictures(benchmark.cells[0])
    palette = dict(zip(pictures.class_names, pictures.palette, strict=True))
    if benchmark.name == ACDC.name:
        return robustness_page({}, title=title, acdc=shown, palette=palette)
    published = TABLE_IV if is_table_iv(content['results']) else None
    return robustness_page(shown, published, title=title, palette=palette)


def write_zip(benchmark: ACDC, submission: str | Path) -> None:
    """Pack the predictions for the ACDC server."""
    names = [Path(name).name for cell in benchmark.cells for name in benchmark.pictures(cell).names]
    height, width = cv2.imread(str(benchmark.predictions / names[0]), cv2.IMREAD_UNCHANGED).shape
    write_submission(benchmark.predictions, submission, names, (width, height))
    print(f'{submission}: {len(names)} predictions for https://acdc.vision.ee.ethz.ch/submit')
    if (width, height) != SERVER_SIZE:
        print(f'The server takes 1920 x 1080, but these pictures are {width} x {height}.')


def build_model(
    benchmark: Benchmark, config: Config, checkpoint: str | None, args: argparse.Namespace
) -> EvaluatedModel:
    """The model, as fast as the command line wants it.

    Raises:
        ValueError: an option is for other models or benchmarks; the model's own errors.
        TypeError, FileNotFoundError: the model's own errors.
    """
    if args.amp and isinstance(benchmark, Adversarial):
        raise ValueError(
            f'--amp is not for --benchmark {benchmark.name}: an attack with gradients in low precision is weaker'
        )
    options = {'amp': args.amp, 'compiled': args.compile}
    if benchmark.model_type is SegmentationModel:
        options['window_batch'] = args.window_batch
    elif args.window_batch != 1:
        raise ValueError(
            f'--window-batch is for models of mmseg, but {args.config} is for {benchmark.model_type.scope}'
        )
    device = which_device(args.device)
    return benchmark.model_type(config, checkpoint, device, args.num_workers, args.batch_size, **options)


def is_finished(benchmark: Benchmark, store: CellStore, cell: Cell) -> bool:
    """Whether a cell's counts are there, and its predictions where they are wanted."""
    if not store.has(cell):
        return False
    folder = getattr(benchmark, 'predictions', None)
    return folder is None or all((folder / Path(name).name).is_file() for name in benchmark.pictures(cell).names)


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    with cli.one_sentence():
        index, count = which_shard(args.shard)
        config = cli.load_config(args.config, args.cfg_options)
        checkpoint = args.checkpoint or config.get('load_from')
        if checkpoint:
            cli.require_file(checkpoint, 'checkpoint')
        benchmark = build_benchmark(config, args)
        if args.submission and args.benchmark != ACDC.name:
            raise ValueError(f'--submission is for --benchmark {ACDC.name}, not {args.benchmark}')
        mine = shard(benchmark.cells, index, count)
        out = Path(args.out or Path('work_dirs/robustness') / Path(args.config).stem / args.benchmark)
        submission = args.submission or (out / 'acdc_test.zip' if args.split == 'test' else None)
        if submission:
            benchmark.predictions = out / FOLDER
        model = build_model(benchmark, config, checkpoint, args)
        store = CellStore(out, benchmark.result_type, {**model.identity, **benchmark.identity})
    # broken pictures, for which MMCV's loader has assert; damaged cells; a full disk
    with (
        cli.one_sentence((ValueError, OSError, AssertionError)),
        stopped_by_sigterm(f'{out}/cells keeps what is finished, and the same command continues.') as leave_if_told,
    ):
        todo = [cell for cell in mine if not is_finished(benchmark, store, cell)]
        if isinstance(benchmark, ImageNetC):
            benchmark.require(todo)
        run(model, benchmark, store, todo, leave_if_told)
        missing = [cell for cell in benchmark.cells if not is_finished(benchmark, store, cell)]
        if missing:
            print(
                f'{len(missing)} of {len(benchmark.cells)} cells are left to other processes; the last one summarises.'
            )
            return
        if submission:
            write_zip(benchmark, submission)
        if args.split != 'test':
            write_results(model, benchmark, store, args)


if __name__ == '__main__':
    main()

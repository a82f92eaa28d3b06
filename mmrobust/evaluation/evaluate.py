"""``evaluate``: runs the cells of a benchmark, keeps finished ones on disk, and returns a report."""

import contextlib
import copy
import dataclasses
import inspect
import json
import re
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import mmengine
import mmpretrain
import mmseg
import numpy as np
import torch
from mmengine.config import Config
from mmpretrain.models.classifiers import BaseClassifier
from mmseg.models.segmentors import BaseSegmentor
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import nn

from mmrobust.classes import check_classes, classes_of_config, classes_of_meta, num_outputs
from mmrobust.cli import (
    OF_TIMM,
    load_config,
    number_in_environment,
    require_at_least,
    require_device,
    require_file,
    set_options,
)
from mmrobust.datasets.corrupted import refuse_wrapper
from mmrobust.datasets.titles import trained_on
from mmrobust.evaluation.benchmarks import Benchmark, benchmark_types
from mmrobust.evaluation.cells import Cell, CellStore, require_shard
from mmrobust.evaluation.cells import shard as shard_of
from mmrobust.evaluation.models.classification import NetworkOfTimm
from mmrobust.evaluation.models.evaluated_model import EvaluatedModel
from mmrobust.evaluation.renderers import to_csv, to_markdown, to_terminal
from mmrobust.evaluation.report import RESULTS, Report
from mmrobust.evaluation.results_page import to_html
from mmrobust.files import write_whole
from mmrobust.preprocessing import check_size_of_images, settle_preprocessing
from mmrobust.processes import stopped_by_sigterm
from mmrobust.version import __version__

# all of a config that is read here
_READ = ('default_scope', 'custom_imports', 'model', 'test_dataloader', 'class_map')


def evaluate(
    model: str | Path | Config | nn.Module,
    benchmark: str = 'cityscapes-c',
    *,
    checkpoint: str | None = None,
    data: str | Path | Mapping[str, Any] | None = None,
    out: str | Path | None = None,
    shard: tuple[int, int] | None = None,
    device: str | None = None,
    num_workers: int = 2,
    batch_size: int = 1,
    amp: bool = False,
    compiled: bool = False,
    window_batch: int = 1,
    worst: int = 8,
    worst_of: str | Path | None = None,
    cfg_options: dict | None = None,
    quiet: bool = False,
    **options: Any,
) -> Report | None:
    """Evaluate the robustness of a segmentation or classification model.

    Each finished cell (a corruption at a severity, a condition, an attack) is one file in ``out``; called again, this
    continues where it was. Several processes may share a folder, each with its ``shard`` of the cells; the last one to
    finish writes the results.

    Args:
        model: config file of any MMSegmentation or MMPretrain model, its config, ``timm:NAME`` for a classifier of
            timm by name, or a model in memory: a segmentor of MMSegmentation, a classifier of MMPretrain or a network
            of timm.
        benchmark: name of a registered benchmark: cityscapes-c, acdc, domain, minicity-weather, imagenet-c,
            imagenet-c-bar, imagenet-3dcc, tiny-imagenet-c, cifar-10-c, cifar-100-c, imagenet-variants, adversarial,
            imagenet-p, or one of your own.
        checkpoint: file or address of the weights; None takes what the config names, and for ``timm:NAME`` what timm
            downloads. Not for a model in memory.
        data: folder of the benchmark's images (``data_root``), or the config of the clean test images: a dataset with
            its pipeline. None takes the config's ``test_dataloader``, which a model in memory has in ``model.cfg``.
        out: results folder; None keeps nothing on disk.
        shard: index, from 0, and count; None takes torchrun's environment, else everything.
        device: such as ``'cpu'`` or ``'cuda:0'``; None takes that of a model in memory, else a GPU if there is one.
        num_workers: processes that load and corrupt.
        batch_size: images per forward pass.
        amp: predict in bfloat16, or in float16 on a GPU without it.
        compiled: compile backbone and heads.
        window_batch: sliding windows of each image per forward pass, of segmentation.
        worst: how many of the worst images to show, where a benchmark shows any.
        worst_of: results.json of another model; the images that are worst there are shown, so that a page that compares
            both shows both on the same images.
        cfg_options: settings of the config to override.
        quiet: print nothing.
        options: arguments of the benchmark, such as ``preset='severity5'`` or ``max_images=100``.

    Returns:
        The report, which is also written to ``out`` as results.json, .csv, .md and .html; None while cells are left to
        other processes, and where there are no labels.

    Raises:
        ValueError: an argument has a value that is not allowed, the benchmark is for another kind of model, ``out``
            holds results of something else, or an image is broken.
        TypeError: the model is of no known kind.
        FileNotFoundError: there is no such config, checkpoint or data.
        OSError: ``out`` cannot be written; what is finished stays.
        SystemExit: with code 143 after SIGTERM, in the main thread; the same call continues.
    """
    rank, local_rank = number_in_environment('RANK', 0), number_in_environment('LOCAL_RANK', 0)
    index, count = shard or (rank, number_in_environment('WORLD_SIZE', 1))
    require_shard(index, count)
    require_at_least(0, num_workers=num_workers, worst=worst)
    require_at_least(1, batch_size=batch_size, window_batch=window_batch)
    if device is not None:
        require_device(device)
    with contextlib.ExitStack() as stack:
        module = model if isinstance(model, nn.Module) else None
        if module is None:
            name, config = _read(model, cfg_options)
            if name.startswith(OF_TIMM) and not checkpoint:
                config.model.pretrained = True
        else:
            if checkpoint or cfg_options:
                raise ValueError('checkpoint and cfg_options must be None for a model in memory')
            stack.callback(module.train, module.training)
            device = device or str(next(module.parameters()).device)
            name, config, module = _of_module(module, changed=amp or compiled or window_batch != 1)
        if isinstance(data, Mapping):
            config.test_dataloader = dict(dataset=copy.deepcopy(dict(data)))
        elif data is not None:
            options['data_root'] = str(data)
        if isinstance(data, Mapping) or module is not None:
            settle_preprocessing(config, getattr(model, 'pretrained_cfg', None))
        if not config.get('test_dataloader'):
            raise ValueError(f'data must be the config of the test images, because {name} has no test_dataloader')
        refuse_wrapper(config.test_dataloader.dataset)
        if module is None:
            check_size_of_images(config)
        kind = _kind(benchmark, name, config)
        if amp and not kind.low_precision:
            raise ValueError(f'amp is not for the benchmark {benchmark}: its numbers would not be right')
        shown = None if worst_of is None else _shown_by(worst_of, kind.name)
        checkpoint = None if module is not None else checkpoint or config.get('load_from')
        if checkpoint:
            require_file(checkpoint, 'checkpoint')
        found = kind(config, **_checked(kind, options))
        cells = shard_of(found.cells, index, count)
        fast = dict(amp=amp, compiled=compiled)
        if 'window_batch' in inspect.signature(kind.model_type).parameters:
            fast['window_batch'] = window_batch
        elif window_batch != 1:
            raise ValueError(f'window_batch is for models of mmseg, but {name} is for {kind.model_type.scope}')
        device = device or (f'cuda:{local_rank}' if torch.cuda.is_available() else 'cpu')
        evaluated = kind.model_type(config, checkpoint, device, num_workers, batch_size, module=module, **fast)
        _check_classes(evaluated, found)
        folder = Path(out or stack.enter_context(tempfile.TemporaryDirectory()))
        found.begin(folder)
        store = CellStore(folder, found.counts_type, _identity(evaluated, found), found.check)
        say = (lambda text: None) if quiet else print
        if not _run(evaluated, found, store, cells, say, show=not quiet and rank == 0):
            return None
        for sentence in found.finish():
            say(sentence)
        if not found.scored:
            return None
        report = _report(evaluated, found, store, name, compiled, worst, shown, worst_of)
        write_report(report, folder)
        say(f'{to_terminal(report, _title(report))}\n')
        if out is not None:
            say(f'All numbers: {folder / "results.html"}, .md, .csv and .json')
        return report


def write_report(report: Report, folder: Path) -> None:
    """Write results.json, .csv, .md and .html.

    Raises:
        OSError: they cannot be written.
    """
    title = _title(report)
    write_whole(folder / RESULTS, report.to_json())
    write_whole(folder / 'results.csv', to_csv(report))
    write_whole(folder / 'results.md', to_markdown(report, title))
    write_whole(folder / 'results.html', to_html({report.name: [report]}, title=title))


def run_name(model: str, config: Config) -> str:
    """Name of a run: its config, with the network of timm or another library that the config names.

    Args:
        model: config file, or name of a model in memory.
        config: merged.
    """
    path = Path(model)
    name = path.stem if path.suffix in ('.py', '.json', '.yaml', '.yml') else path.name.replace(':', '_')
    network = re.sub(r'[^\w.-]+', '_', str(config.model.get('model_name') or ''))
    return name if network in name else f'{name}_{network}'


def _read(model: str | Path | Config, cfg_options: dict | None) -> tuple[str, Config]:
    """Name and config of a model that is not in memory."""
    if not isinstance(model, Config):
        return str(model), load_config(str(model), cfg_options)
    config = copy.deepcopy(model)
    set_options(config, cfg_options)
    settle_preprocessing(config)
    return str(config.filename or 'config'), config


def _of_module(module: nn.Module, changed: bool) -> tuple[str, Config, nn.Module]:
    """Name and config of a model in memory, and the model as it is evaluated: a copy if it would be changed.

    Raises:
        TypeError: it is of no known kind.
    """
    module = copy.deepcopy(module) if changed else module
    name = type(module).__name__
    config = getattr(module, 'cfg', None) or getattr(module, '_config', None)  # of init_model and get_model
    config = copy.deepcopy(config) if isinstance(config, Config) else Config(dict(model=dict(type=name)))
    if hasattr(module, 'pretrained_cfg') and not isinstance(module, BaseClassifier | BaseSegmentor):
        name = module.pretrained_cfg.get('architecture') or name
        config, module = Config(dict(model=dict(type='TimmClassifier', model_name=name))), NetworkOfTimm(module)
    if isinstance(module, BaseSegmentor):
        config.default_scope = 'mmseg'
    elif isinstance(module, BaseClassifier):
        config.default_scope = 'mmpretrain'
    else:
        raise TypeError(
            f'model must be a segmentor of MMSegmentation, a classifier of MMPretrain or a network of timm, got {name}'
        )
    return name, config, module


def _kind(benchmark: str, name: str, config: Config) -> type[Benchmark]:
    """The benchmark of a name.

    Raises:
        ValueError: there is none, or it is not for this kind of model.
    """
    types = benchmark_types()
    if benchmark not in types:
        raise ValueError(f'benchmark must be one of {", ".join(types)}, got {benchmark!r}')
    scope = config.get('default_scope')
    fitting = benchmark_types(scope)
    if fitting and benchmark not in fitting:
        raise ValueError(
            f'the benchmark {benchmark} is for models of {types[benchmark].model_type.scope}, but {name} is for '
            f'{scope}: choose from {", ".join(fitting)}'
        )
    return fitting.get(benchmark, types[benchmark])


def _checked(kind: type[Benchmark], options: dict[str, Any]) -> dict[str, Any]:
    """The same options, which must be arguments of the benchmark.

    Raises:
        ValueError: one is not.
    """
    every = [of for one in benchmark_types().values() for of in (one, one.of_segmentors) if of]
    taken = {of: list(inspect.signature(of).parameters)[1:] for of in (*every, kind)}
    for option in (option for option in options if option not in taken[kind]):
        owner = next((of for of, names in taken.items() if option in names), None)
        if owner is None:
            raise ValueError(f'{kind.name} takes {", ".join(taken[kind])}, got {option!r}')
        whose = f'for the benchmark {owner.name}, not {kind.name}: choose that one, or'
        if owner.name == kind.name:
            whose = f'for models of {owner.model_type.scope} under {kind.name}:'
        raise ValueError(f'{option} is {whose} leave {option} out')
    return options


def _check_classes(model: EvaluatedModel, benchmark: Benchmark) -> None:
    """Compare the model's outputs with the classes of all cells, before any is run.

    The model's classes are those of its checkpoint, else those of the config's own data, else those of the first cell.

    Raises:
        ValueError: they do not fit.
    """
    outputs, config = num_outputs(model.model), model.config
    trained = classes_of_meta(model.meta)
    if trained is None or (model.in_memory and len(trained) != outputs):  # init_model takes Cityscapes' if nobody says
        trained = classes_of_config(config.test_dataloader.dataset, model.scope)
    for cell in benchmark.cells:
        names, subset = benchmark.label_set(cell)
        if names:
            check_classes(outputs, names, trained, subset, config.get('class_map'))
            trained = trained or names


def _identity(model: EvaluatedModel, benchmark: Benchmark) -> dict[str, Any]:
    """Settings that determine the numbers, and where the images lie."""
    images = {'images_sha256': benchmark.images_sha256, 'classes': list(benchmark.class_names)}
    interpolation = {'opencv': cv2.__version__.partition('.')[0]}  # 4 and 5 interpolate differently
    return {**model.identity, **benchmark.identity, **images, **interpolation, 'data_root': benchmark.data_root}


def _run(
    model: EvaluatedModel,
    benchmark: Benchmark,
    store: CellStore,
    cells: list[Cell],
    say: Callable[[str], None],
    show: bool,
) -> bool:
    """Run what is not finished of these cells; whether all cells are finished then."""

    def is_finished(cell: Cell) -> bool:
        return store.has(cell) and benchmark.is_finished(cell)

    todo = [cell for cell in cells if not is_finished(cell)]
    benchmark.require(todo)
    columns = (
        TextColumn('{task.description}'),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn(benchmark.unit + 's'),
        TimeRemainingColumn(),
        TextColumn('{task.fields[state]}'),
    )
    scores = [benchmark.score(store.read(cell)) for cell in benchmark.cells if store.has(cell) and cell not in todo]
    advice = f'{store.folder}/cells keeps what is finished, and the same command continues.'
    with stopped_by_sigterm(advice) as leave_if_told, Progress(*columns, disable=not show) as progress:
        task = progress.add_task('', total=sum(map(benchmark.size, todo)), state='')
        for cell in todo:
            progress.update(task, description=cell.key)
            with _bugs_shown(f'{cell.key} cannot be run'):
                counts = benchmark.run(model, cell, lambda: (progress.advance(task), leave_if_told()))
            store.write(cell, counts)
            scores.append(benchmark.score(counts))
            known = [score for score in scores if score is not None]
            mean = f', mean {benchmark.measure} {np.mean(known):.2f}' if known else ''
            progress.update(task, state=f'{len(scores)} of {len(benchmark.cells)} cells{mean}')
    missing = [cell for cell in benchmark.cells if not is_finished(cell)]
    if missing:
        say(f'{len(missing)} of {len(benchmark.cells)} cells are left to other processes; the last one summarises.')
    return not missing


@contextlib.contextmanager
def _bugs_shown(what: str) -> Iterator[None]:
    """Turn errors after the set-up, which are bugs, into a RuntimeError, whose traceback is shown."""
    try:
        yield
    except (TypeError, KeyError) as error:
        raise RuntimeError(f'{what}: {error!r}') from error


def _shown_by(path: str | Path, benchmark: str) -> Sequence[Mapping]:
    """Worst cases of another report.

    Raises:
        ValueError: it is of another benchmark, or shows none.
    """
    report = Report.read(path)
    if report.layout.benchmark != benchmark or not report.worst:
        raise ValueError(
            f'worst_of must be results on {benchmark} with worst images, got {path} on {report.layout.benchmark} '
            f'with {len(report.worst or ())}'
        )
    return report.worst


def _report(
    model: EvaluatedModel,
    benchmark: Benchmark,
    store: CellStore,
    name: str,
    compiled: bool,
    worst: int,
    shown: Sequence[Mapping] | None,
    worst_of: str | Path | None,
) -> Report:
    """Everything that is known when all cells are finished."""
    counts = {cell: store.read(cell) for cell in benchmark.cells}
    with _bugs_shown('the results cannot be summarised'):
        results = benchmark.summarize(counts)
        found = benchmark.show_worst(model, counts, worst, store.folder, shown)
    provenance = {
        'name': run_name(name, model.config),
        'config': name,
        'checkpoint': model.checkpoint,
        'trained_on': trained_on(model.meta, model.config),
        'protocol': {'benchmark': benchmark.name, 'data_set': benchmark.data_set, **benchmark.protocol},
        **{key: value for key, value in store.identity.items() if key != 'classes'},  # the report has them
        **({'compile': True} if compiled else {}),
        **({} if worst_of is None else {'worst_of': str(worst_of)}),
        'versions': {
            'mmrobust': __version__,
            'torch': torch.__version__,
            'opencv': cv2.__version__,
            'mmengine': mmengine.__version__,
            'mmseg': mmseg.__version__,
            'mmpretrain': mmpretrain.__version__,
        },
        'merged_config': {key: value for key, value in model.config.to_dict().items() if key in _READ},
    }
    provenance = json.loads(json.dumps(provenance, default=str))  # a config may hold classes
    layout = benchmark.layout(results, provenance)
    if shown is not None:
        layout = dataclasses.replace(layout, sentences=(*layout.sentences, _of_other(shown[:worst], found, worst_of)))
    report = Report(layout, results, provenance, benchmark.class_names, benchmark.palette, found)
    return report.with_panels(store.folder)


def _of_other(asked: Sequence[Mapping], found: Sequence[Mapping] | None, worst_of: str | Path) -> str:
    """Says whose worst images are shown, and which of them are not in this run."""
    here = {(case['cell'], case['image']) for case in found or ()}
    left = [
        f'{case.get("image")} ({case.get("cell")})'
        for case in asked
        if (case.get('cell'), case.get('image')) not in here
    ]
    said = f'The worst images shown are those of {worst_of}, in its order'
    if not left:
        return f'{said}.'
    listed = ', '.join(left[:3]) + (', ...' if len(left) > 3 else '')
    return f'{said}; of its {len(asked)}, {len(left)} are not in this run and are left out: {listed}.'


def _title(report: Report) -> str:
    return f'{report.name}: {report.layout.title}'

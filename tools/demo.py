"""mmrobust in a quarter of an hour on two CPU cores: draw MiniCity, train with and without TAP and ADL, compare both
on clean images, under corruptions and in bad weather, and see what they attend to.

python tools/demo.py
python tools/demo.py --work-dir /tmp/demo
python tools/demo.py --cfg-options train_cfg.max_iters=100

Runs the commands that a user would run, shows them, and leaves everything in work_dirs/demo. Started again, it
continues where it was.
"""

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np

from mmrobust import cli  # it checks the OpenMMLab stack

# isort: split
from mmengine.config import Config

from demo_commands import console, last_checkpoint, of_project, run, show, train
from mmrobust.datasets import CityscapesDataset
from mmrobust.visualization import side_by_side

MODELS = {'baseline': of_project('configs/fan_minicity.py'), 'TAP + ADL': of_project('configs/fan_tap_adl_minicity.py')}
METRICS = ('mIoU', 'mAcc', 'aAcc')
NUM_OVERVIEW = 8  # streets in the overview image
# enough to see how robustness is measured; a verdict takes the preset kamann and all images
ROBUSTNESS = {
    'cityscapes-c': ('--preset', 'severity5', '--severities', '3', '--max-images', '20'),
    'acdc': (),
}
ATTENTION = {
    'visualize_attention': (),
    'attention_statistics': ('--num-images', '40'),
    'visualize_segmentation': ('--corruption', 'snow', '--num-images', '3'),
}


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = cli.Parser(__doc__)
    parser.add_argument('--work-dir', default='work_dirs/demo', help='where everything goes (default: %(default)s)')
    cli.add_cfg_options(parser)
    return parser.parse_args(argv)


def test(config_path: str, work_dir: Path, options: list[str]) -> dict[str, float]:
    """Test the last checkpoint with ``tools/test.py``; label maps go to ``predictions``. Returns percentages."""
    checkpoint = last_checkpoint(work_dir)
    test_dir = work_dir / 'test'
    run(
        [
            *('tools/test.py', config_path, checkpoint, '--work-dir', str(test_dir)),
            *('--out', str(work_dir / 'predictions'), *options),
        ],
        work_dir / 'test.log',
    )
    metrics = json.loads(max(test_dir.glob('*/*.json')).read_text())
    return {name: metrics[name] for name in METRICS}


def evaluate_robustness(
    config_path: str, work_dir: Path, data_root: str, options: list[str], first: Path
) -> dict[str, dict]:
    """Cityscapes-C and ACDC of the last checkpoint, with ``tools/evaluate_robustness.py``. Returns both results.

    The worst images are those of the first model, so that the page shows all models on the same ones.
    """
    checkpoint = last_checkpoint(work_dir)
    results = {}
    for benchmark, arguments in ROBUSTNESS.items():
        out = work_dir / 'robustness' / benchmark
        where = ('--data-root', f'{data_root}/acdc') if benchmark == 'acdc' else ()
        shown = first / 'robustness' / benchmark / 'results.json'
        same = () if first == work_dir else ('--worst-of', str(shown))
        run(
            [
                *('tools/evaluate_robustness.py', config_path, checkpoint, '--benchmark', benchmark),
                *(*arguments, *where, *same, '--out', str(out), *options),
            ],
            work_dir / f'{benchmark}.log',
        )
        results[benchmark] = json.loads((out / 'results.json').read_text())['results']
    return results


def write_robustness(results: dict[str, dict[str, dict]], work_dir: Path) -> Path:
    """Show the headlines, and write the page that compares the models."""
    headline = ('clean_mIoU', 'mPC', 'retention')
    corrupted = {name: [f'{of["cityscapes-c"][key]:.2f}' for key in headline] for name, of in results.items()}
    show('MiniCity, 16 corruptions, percent', ('clean', 'mPC', 'retention'), corrupted)
    conditions = list(next(iter(results.values()))['acdc']['conditions'])
    weather = {
        name: [
            *(f'{of["acdc"]["conditions"][condition]["mIoU"]:.2f}' for condition in conditions),
            f'{of["acdc"]["pooled_mIoU"]:.2f}',
        ]
        for name, of in results.items()
    }
    show('MiniCity in bad weather, mIoU in percent', (*conditions, 'pooled'), weather)
    page = work_dir / 'robustness.html'
    folders = [str(work_dir / Path(config).stem / 'robustness') for config in MODELS.values()]
    run(
        [
            *('tools/analysis_tools/compare_robustness.py', *folders, '--names', *MODELS),
            *('--reference', next(iter(MODELS)), '--title', 'MiniCity in noise, blur and bad weather'),
            *('--out', str(page)),
        ],
        work_dir / 'compare.log',
    )
    return page


def draw_attention(work_dir: Path, options: list[str]) -> Path:
    """Draws attention and predictions of both models. Returns the folder of the figures."""
    models = []
    for name, config_path in MODELS.items():
        models += ['--model', name, config_path, last_checkpoint(work_dir / Path(config_path).stem)]
    out = work_dir / 'attention'
    for tool, arguments in ATTENTION.items():
        run(
            [f'tools/analysis_tools/{tool}.py', *models, *arguments, '--out', str(out), *options],
            work_dir / f'{tool}.log',
        )
    return out


def constant_class(label_files: list[Path]) -> dict[str, float]:
    """Scores in percent of the best constant prediction."""
    num_classes = len(CityscapesDataset.METAINFO['classes'])
    counts = sum(np.bincount(cv2.imread(str(file), -1).ravel(), minlength=256) for file in label_files)[:num_classes]
    share = counts.max() / counts.sum()
    num_present = np.count_nonzero(counts)
    return {'mIoU': 100 * share / num_present, 'mAcc': 100 / num_present, 'aAcc': 100 * share}


def write_images(config: Config, work_dir: Path) -> Path:
    """Each validation image beside its ground truth and all predictions, and some of them in one overview."""
    dataset = config.val_dataloader.dataset
    images = Path(dataset.data_root) / dataset.data_prefix.img_path
    folder = work_dir / 'pictures'
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for file in sorted(images.rglob('*_leftImg8bit.png')):
        name = file.name.replace('_leftImg8bit.png', '')
        maps = {'ground truth': cv2.imread(str(label_file(config, file)), -1)}
        for title, config_path in MODELS.items():
            predictions = work_dir / Path(config_path).stem / 'predictions'
            maps[title] = cv2.imread(str(predictions / file.relative_to(images)), -1)
        row = side_by_side(cv2.imread(str(file))[..., ::-1], maps, CityscapesDataset.METAINFO['palette'])
        cv2.imwrite(str(folder / f'{name}.png'), row[..., ::-1])
        rows.append(row)
    overview = work_dir / 'overview.png'
    cv2.imwrite(str(overview), np.vstack(rows[:: max(1, len(rows) // NUM_OVERVIEW)][:NUM_OVERVIEW])[..., ::-1])
    return overview


def label_file(config: Config, image: Path) -> Path:
    """The training-id label map of an image in Cityscapes' layout."""
    prefix = config.val_dataloader.dataset.data_prefix
    path = str(image).replace(prefix.img_path, prefix.seg_map_path)
    return Path(path.replace('_leftImg8bit.png', '_gtFine_labelTrainIds.png'))


def write_table(results: dict[str, dict[str, float]], work_dir: Path) -> Path:
    """Show the results, and write them as Markdown and JSON."""
    lines = [f'| model | {" | ".join(METRICS)} |', '|---' * (len(METRICS) + 1) + '|']
    rows = {name: [f'{metrics[metric]:.2f}' for metric in METRICS] for name, metrics in results.items()}
    lines += [f'| {name} | {" | ".join(row)} |' for name, row in rows.items()]
    show('MiniCity validation, percent', METRICS, rows)
    path = work_dir / 'results.md'
    path.write_text('\n'.join(lines) + '\n')
    path.with_suffix('.json').write_text(json.dumps(results, indent=2) + '\n')
    return path


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    start = time.monotonic()
    work_dir = Path(args.work_dir)
    options = ['--cfg-options', *sys.argv[sys.argv.index('--cfg-options') + 1 :]] if args.cfg_options else []
    config = cli.load_config(MODELS['baseline'], args.cfg_options)
    data_root = str(Path(config.val_dataloader.dataset.data_root))  # without a trailing slash

    console.rule('1. Draw MiniCity')
    preview = work_dir / 'minicity.png'
    draw = of_project('tools/dataset_converters/minicity.py')
    subprocess.run([sys.executable, draw, '--out', data_root, '--preview', str(preview)], check=True)
    results, robustness = {}, {}
    for number, (name, config_path) in enumerate(MODELS.items(), start=2):
        console.rule(f'{number}. Train, test and disturb: {name}')
        model_dir = work_dir / Path(config_path).stem
        losses = {'CE': 'decode.loss_ce', 'ADL': 'loss_adl'}
        train(config_path, model_dir, options, config.train_cfg.max_iters, losses)
        results[name] = test(config_path, model_dir, options)
        first = work_dir / Path(next(iter(MODELS.values()))).stem
        robustness[name] = evaluate_robustness(config_path, model_dir, data_root, options, first)

    console.rule(f'{len(MODELS) + 2}. Compare')
    labels = sorted(
        Path(data_root, config.val_dataloader.dataset.data_prefix.seg_map_path).rglob('*_labelTrainIds.png')
    )
    results['constant class'] = constant_class(labels)
    table = write_table(results, work_dir)
    overview = write_images(config, work_dir)
    page = write_robustness(robustness, work_dir)
    attention = draw_attention(work_dir, options)
    written = {
        preview: 'what MiniCity is, in all weathers',
        overview: f'predictions beside the ground truth; one file per street in {work_dir / "pictures"}',
        table: 'the first table',
        page: 'Cityscapes-C and ACDC, both models side by side, with the worst images',
        attention / 'maps_by_picture.png': 'what both models attend to, clean and in noise',
        attention / 'stability.png': 'how stable that is in noise; more such figures beside it',
        attention / 'segmentation.png': 'predictions in snow, with boxes around the differences',
    }
    assert all(path.is_file() for path in written), [*written]
    lines = ''.join(f'  {path}   {what}\n' for path, what in written.items())
    console.print(
        f'Done in {(time.monotonic() - start) / 60:.1f} minutes. Look at\n{lines}'
        'Minutes of training from random weights do not say which model is better: that takes real data and several '
        'seeds.',
        soft_wrap=True,
    )


if __name__ == '__main__':
    main()

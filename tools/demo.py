"""mmrobust in five minutes on two CPU cores: draw MiniCity, train with and without TAP and ADL, compare both on clean
images, under corruptions and in bad weather, and see what they attend to.

python tools/demo.py          # small images, a short training
python tools/demo.py --full   # twice the size, more images, also calibration and attacks: a quarter of an hour
python tools/demo.py --work-dir /tmp/demo

Runs the commands that a user would run, shows them, and leaves everything in work_dirs/demo or work_dirs/demo_full.
Started again, it continues where it was.
"""

import argparse
import json
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from mmrobust import cli  # it checks the OpenMMLab stack

# isort: split
from mmengine.config import Config

from demo_commands import console, last_checkpoint, of_project, run, show, train
from mmrobust.datasets import CityscapesDataset
from mmrobust.visualization import side_by_side

METRICS = ('mIoU', 'mAcc', 'aAcc')
LOSSES = {'CE': 'decode.loss_ce', 'ADL': 'loss_adl'}


@dataclass(frozen=True)
class Profile:
    """What is short about the short demo.

    Attributes:
        name: in headings.
        work_dir: default folder of everything.
        configs: of the baseline and of TAP + ADL.
        minicity: options of the tool that draws it.
        at_once: commands at a time; with more than one each has one thread.
        corrupted: options of Cityscapes-C: enough to see how robustness is measured; a verdict takes the preset kamann
            and all images.
        more: options of Cityscapes-C and ACDC both.
        attacked: options of the attacks; None attacks nothing.
        statistics: images that attention statistics are of.
        seconds: of each step, as measured on two cores that do nothing else.
    """

    name: str
    work_dir: str
    configs: tuple[str, str]
    minicity: tuple[str, ...]
    at_once: int
    corrupted: tuple[str, ...]
    more: tuple[str, ...]
    attacked: tuple[str, ...] | None
    statistics: int
    seconds: Mapping[str, int]

    @property
    def models(self) -> dict[str, str]:
        """Name to config."""
        return dict(zip(('baseline', 'TAP + ADL'), map(of_project, self.configs), strict=True))


SHORT = Profile(
    name='short demo',
    work_dir='work_dirs/demo',
    configs=('configs/fan_minicity128.py', 'configs/fan_tap_adl_minicity128.py'),
    minicity=('--size', '256', '128', '--num-train', '96', '--num-val', '24', '--num-acdc', '12'),
    at_once=2,
    corrupted=('--preset', 'severity5', '--severities', '3', '--max-images', '12'),
    more=(),
    attacked=None,
    statistics=12,
    seconds=dict(draw=20, train=100, test=25, disturb=80, attention=40),
)
FULL = Profile(
    name='full demo',
    work_dir='work_dirs/demo_full',
    configs=('configs/fan_minicity.py', 'configs/fan_tap_adl_minicity.py'),
    minicity=(),
    at_once=1,
    corrupted=('--preset', 'severity5', '--severities', '3', '--max-images', '20'),
    more=('--calibration',),
    attacked=('--attacks', 'pgd', 'segpgd', '--num-steps', '5', '--max-images', '6'),
    statistics=40,
    seconds=dict(draw=45, train=440, test=30, disturb=330, attention=90),
)


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = cli.Parser(__doc__)
    parser.add_argument('--full', action='store_true', help='a longer training on larger images, and more tests')
    parser.add_argument(
        '--work-dir', help=f'where everything goes (default: {SHORT.work_dir}, with --full {FULL.work_dir})'
    )
    cli.add_cfg_options(parser)
    return parser.parse_args(argv)


@dataclass(frozen=True)
class Demo:
    """One run: every step of it is a method, in this order."""

    profile: Profile
    work_dir: Path
    options: Sequence[str]  # of every tool: --cfg-options of the user's
    config: Config  # of the baseline

    @property
    def folders(self) -> dict[str, Path]:
        """Name of a model to its working directory."""
        return {name: self.work_dir / Path(config).stem for name, config in self.profile.models.items()}

    @property
    def data_root(self) -> str:
        return str(Path(self.config.val_dataloader.dataset.data_root))  # without a trailing slash

    def models(self) -> list[str]:
        """``--model`` of each, as the tools for several models take them."""
        parts = [
            ('--model', name, config, last_checkpoint(self.folders[name]))
            for name, config in self.profile.models.items()
        ]
        return [argument for model in parts for argument in model]

    def draw(self) -> Path:
        """Draw MiniCity. Returns an image of what it holds."""
        preview = self.work_dir / 'minicity.png'
        command = ['tools/dataset_converters/minicity.py', *self.profile.minicity]
        run({self.work_dir / 'minicity.log': [*command, '--out', self.data_root, '--preview', str(preview)]})
        return preview

    def train(self) -> None:
        runs = {name: (config, self.folders[name]) for name, config in self.profile.models.items()}
        train(runs, self.options, self.config.train_cfg.max_iters, LOSSES, at_once=self.profile.at_once)

    def test(self) -> dict[str, dict[str, float]]:
        """Test the last checkpoints; label maps go to ``predictions``. Returns percentages of each model."""
        commands = {}
        for name, config in self.profile.models.items():
            folder = self.folders[name]
            where = ('--work-dir', str(folder / 'test'), '--out', str(folder / 'predictions'))
            commands[folder / 'test.log'] = ['tools/test.py', config, last_checkpoint(folder), *where, *self.options]
        run(commands, self.profile.at_once)
        results = {}
        for name, folder in self.folders.items():
            metrics = json.loads(max((folder / 'test').glob('*/*.json')).read_text())
            results[name] = {metric: metrics[metric] for metric in METRICS}
        return results

    def overview(self) -> Path:
        """Two streets, clean, in fog and in noise, beside the truth and all predictions."""
        how = ('--corruptions', 'none', 'fog', 'gaussian_noise', '--num-images', '2', '--errors')
        command = ['tools/analysis_tools/visualize_segmentation.py', *self.models(), *how, '--name', 'overview']
        run({self.work_dir / 'overview.log': [*command, '--out', str(self.work_dir), *self.options]})
        return self.work_dir / 'overview.png'

    def disturb(self) -> dict[str, dict[str, dict]]:
        """Cityscapes-C, ACDC and attacks on the last checkpoints. Returns the results of each model by benchmark.

        The worst images are those of the first model, so that the page shows all models on the same ones.
        """
        benchmarks = {'cityscapes-c': self.profile.corrupted, 'acdc': ('--data-root', f'{self.data_root}/acdc')}
        benchmarks = {name: (*arguments, *self.profile.more) for name, arguments in benchmarks.items()}
        if self.profile.attacked is not None:
            benchmarks['adversarial'] = self.profile.attacked
        first, results = next(iter(self.folders.values())), {}
        for name, config in self.profile.models.items():
            folder, results[name] = self.folders[name], {}
            for benchmark, arguments in benchmarks.items():
                out = folder / 'robustness' / benchmark
                shown = first / 'robustness' / benchmark / 'results.json'
                same = () if folder == first else ('--worst-of', str(shown))
                command = ['tools/evaluate_robustness.py', config, last_checkpoint(folder), '--benchmark', benchmark]
                command += [*arguments, *same, '--out', str(out), *self.options]
                run(self._shards(folder / f'{benchmark}.log', command), self.profile.at_once)
                results[name][benchmark] = json.loads((out / 'results.json').read_text())['results']
        return results

    def _shards(self, log: Path, command: list[str]) -> dict[Path, list[str]]:
        """The command, or as many parts of it as run at once."""
        count = self.profile.at_once
        if count == 1:
            return {log: command}
        parts = [[*command[:3], '--shard', f'{index}/{count}', *command[3:]] for index in range(count)]
        return {log.with_stem(f'{log.stem}_{index}'): part for index, part in enumerate(parts)}

    def page(self) -> Path:
        """The page that compares the models."""
        page = self.work_dir / 'robustness.html'
        folders = [str(folder / 'robustness') for folder in self.folders.values()]
        command = ['tools/analysis_tools/compare_robustness.py', *folders, '--names', *self.folders]
        title = f'MiniCity in noise, blur and bad weather ({self.profile.name})'
        command += ['--reference', next(iter(self.folders)), '--title', title, '--out', str(page)]
        run({self.work_dir / 'compare.log': command})
        return page

    def attention(self) -> Path:
        """Draws attention and predictions of both models. Returns the folder of the figures."""
        out = self.work_dir / 'attention'
        tools = {
            'attention_statistics': ('--num-images', str(self.profile.statistics)),
            'visualize_attention': (),
            'visualize_segmentation': ('--corruption', 'snow', '--num-images', '3'),
        }
        commands = {
            self.work_dir / f'{tool}.log': [
                *(f'tools/analysis_tools/{tool}.py', *self.models(), *arguments, '--out', str(out), *self.options)
            ]
            for tool, arguments in tools.items()
        }
        run(commands, self.profile.at_once)
        return out

    def constant_class(self) -> dict[str, float]:
        """Scores in percent of the best constant prediction."""
        num_classes = len(CityscapesDataset.METAINFO['classes'])
        labels = Path(self.data_root, self.config.val_dataloader.dataset.data_prefix.seg_map_path)
        files = sorted(labels.rglob('*_labelTrainIds.png'))
        counts = sum(np.bincount(cv2.imread(str(file), -1).ravel(), minlength=256) for file in files)[:num_classes]
        share = counts.max() / counts.sum()
        num_present = np.count_nonzero(counts)
        return {'mIoU': 100 * share / num_present, 'mAcc': 100 / num_present, 'aAcc': 100 * share}

    def write_images(self) -> Path:
        """Each validation image beside its ground truth and all predictions. Returns their folder."""
        prefix = self.config.val_dataloader.dataset.data_prefix
        images = Path(self.data_root, prefix.img_path)
        folder = self.work_dir / 'images'
        folder.mkdir(parents=True, exist_ok=True)
        for file in sorted(images.rglob('*_leftImg8bit.png')):
            below, name = file.relative_to(images), file.name.replace('_leftImg8bit.png', '')
            label = Path(self.data_root, prefix.seg_map_path, below).with_name(f'{name}_gtFine_labelTrainIds.png')
            maps = {'ground truth': cv2.imread(str(label), -1)}
            for title, of_model in self.folders.items():
                maps[title] = cv2.imread(str(of_model / 'predictions' / below), -1)
            row = side_by_side(cv2.imread(str(file))[..., ::-1], maps, CityscapesDataset.METAINFO['palette'])
            cv2.imwrite(str(folder / f'{name}.png'), row[..., ::-1])
        return folder

    def write_table(self, results: dict[str, dict[str, float]]) -> Path:
        """Show the results, and write them as Markdown and JSON."""
        lines = [f'| model | {" | ".join(METRICS)} |', '|---' * (len(METRICS) + 1) + '|']
        rows = {name: [f'{metrics[metric]:.2f}' for metric in METRICS] for name, metrics in results.items()}
        lines += [f'| {name} | {" | ".join(row)} |' for name, row in rows.items()]
        show('MiniCity validation, percent', METRICS, rows)
        path = self.work_dir / 'results.md'
        path.write_text('\n'.join(lines) + '\n')
        path.with_suffix('.json').write_text(json.dumps(results, indent=2) + '\n')
        return path


def show_robustness(results: dict[str, dict[str, dict]]) -> None:
    """Show the headlines."""
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
    attacked = {name: of['adversarial']['cells'] for name, of in results.items() if len(of) > 2}
    if attacked:
        rows = {name: [f'{cell["mIoU"]:.2f}' for cell in cells.values()] for name, cells in attacked.items()}
        names = [name.partition('_')[0] for name in next(iter(attacked.values()))]  # without size and steps
        show('MiniCity under attack, mIoU in percent', names, rows)


def in_words(seconds: float) -> str:
    """``40 seconds`` or ``1.5 minutes``."""
    return f'{seconds:.0f} seconds' if seconds < 60 else f'{seconds / 60:.1f} minutes'


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    start = time.monotonic()
    cv2.setNumThreads(1)  # its threads would be missing in the processes of the tools, which are forked
    profile = FULL if args.full else SHORT
    given = sys.argv[1:] if argv is None else argv
    options = given[given.index('--cfg-options') :] if args.cfg_options else []
    config = cli.load_config(profile.models['baseline'], args.cfg_options)
    demo = Demo(profile, Path(args.work_dir or profile.work_dir), options, config)

    def step(number: int, name: str, heading: str) -> None:
        console.rule(f'{number}. {heading}: about {in_words(profile.seconds[name])}')

    console.print(
        f'The {profile.name}: about {in_words(sum(profile.seconds.values()))} on two CPU cores that do nothing else. '
        'Stopped, it continues where it was.',
        soft_wrap=True,
    )
    step(1, 'draw', 'Draw MiniCity')
    preview = demo.draw()
    console.print(f'Look at {preview}: what MiniCity is, in all weathers', soft_wrap=True)
    step(2, 'train', 'Train both models')
    demo.train()
    step(3, 'test', 'Test them on clean images')
    table = demo.write_table({**demo.test(), 'constant class': demo.constant_class()})
    images = demo.write_images()
    overview = demo.overview()
    console.print(f'Look at {overview}: predictions beside the ground truth', soft_wrap=True)
    step(4, 'disturb', 'Test them in noise, blur and bad weather')
    show_robustness(demo.disturb())
    page = demo.page()
    console.print(f'Look at {page}: both models side by side', soft_wrap=True)
    step(5, 'attention', 'See what they attend to')
    attention = demo.attention()

    written = {
        preview: 'what MiniCity is, in all weathers',
        table: 'the first table',
        overview: f'predictions beside the ground truth, clean, in fog and in noise; all streets in {images}',
        page: 'both models side by side in all of this, with the worst images',
        attention / 'maps_by_image.png': 'what both models attend to, clean and in noise',
        attention / 'stability.png': 'how stable that is in noise; more such figures beside it',
        attention / 'segmentation.png': 'predictions in snow, with boxes around the differences',
    }
    assert all(path.is_file() for path in written), [*written]
    lines = ''.join(f'  {path}   {what}\n' for path, what in written.items())
    console.print(
        f'Done in {in_words(time.monotonic() - start)}. Look at\n{lines}'
        'Minutes of training from random weights do not say which model is better: that takes real data and several '
        'seeds.',
        soft_wrap=True,
    )
    console.save_text(str(demo.work_dir / 'demo.txt'))


if __name__ == '__main__':
    main()

"""Do TAP and ADL work? Trains a baseline and its rivals on several seeds, and compares errors under corruptions.

python tools/analysis_tools/evidence.py --jobs 2                       # ViT on crops of MiniCity, on a CPU
python tools/analysis_tools/evidence.py --profile scenes --device cuda:0           # FAN-T on MiniCity: a GPU
python tools/analysis_tools/evidence.py --profile scenes --config CONFIG --data-root ROOT     # images of your own
python tools/analysis_tools/evidence.py --summarise                    # only tables, from the runs that are there

Started again with the same --out, it goes on where it was. Results are results.json and evidence.md in that folder;
docs/evidence.md is such a page.
"""

import argparse
from pathlib import Path

from mmrobust import cli  # first: it checks the OpenMMLab stack

# isort: split
import mmrobust.models  # noqa: F401 - registers backbones and losses
from experiment.arms import BASELINE, changes
from experiment.page import page
from experiment.profiles import PROFILES, profile_of
from experiment.results import collect, write_about
from experiment.study import Study
from mmrobust.files import write_whole


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description='Train with and without TAP and ADL, corrupt, compare over seeds.')
    parser.add_argument('--profile', choices=PROFILES, default='crops', help='default: %(default)s')
    parser.add_argument('--config', help='model and images of a config for segmentation, with --profile scenes')
    parser.add_argument('--data-root', help='folder of its images (default: the one in the config)')
    parser.add_argument('--out', help='folder of the runs (default: work_dirs/evidence/PROFILE)')
    parser.add_argument('--device', type=cli.device, default='cpu', help='default: %(default)s')
    parser.add_argument('--jobs', type=int, default=1, help='runs at once, on a CPU (default: %(default)s)')
    parser.add_argument('--seeds', type=int, help='runs of each arm')
    parser.add_argument('--iters', type=int, help='iterations of a run')
    parser.add_argument('--batch-size', type=int, help='images of an iteration')
    parser.add_argument('--arms', nargs='+', help='instead of those of the profile; the baseline is always there')
    parser.add_argument('--train-scenes', type=int, help='scenes of MiniCity to train on')
    parser.add_argument('--val-scenes', type=int, help='and to measure on')
    parser.add_argument('--train-images', type=int, help='images of --config to train on (default: all)')
    parser.add_argument('--val-images', type=int, help='and to measure on (default: all)')
    parser.add_argument(
        '--size', type=int, nargs=2, metavar=('WIDTH', 'HEIGHT'), help='of the images of --config (default: 512 256)'
    )
    parser.add_argument('--summarise', action='store_true', help='train nothing; tables of what is there')
    return parser.parse_args(argv)


def write_results(out: Path) -> None:
    """``results.json`` with all raw numbers, and the page that says what they say."""
    text = collect(out)
    write_whole(out / 'results.json', text)
    write_whole(out / 'evidence.md', page(text))
    print(page(text).split('\n\n')[1])


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    with cli.one_sentence():
        out = Path(args.out or f'work_dirs/evidence/{args.profile}')
        if not args.summarise:
            run(args, out)
        write_results(out)


def run(args: argparse.Namespace, out: Path) -> None:
    """Train and measure what is not there yet."""
    names = ('seeds', 'iters', 'batch_size', 'train_scenes', 'val_scenes', 'train_images', 'val_images')
    overrides = {name: getattr(args, name) for name in names if getattr(args, name) is not None}
    cli.require_at_least(1, jobs=args.jobs, **overrides)
    if args.size:
        cli.require_at_least(32, width=args.size[0], height=args.size[1])
        overrides['size'] = args.size
    if args.jobs > 1 and args.device != 'cpu':
        raise ValueError(f'--jobs must be 1 on a GPU, got {args.jobs}')
    if (args.config is None) != (args.data_root is None) or (args.config and args.profile != 'scenes'):
        raise ValueError('--config and --data-root go together, and with --profile scenes')
    config = None
    if args.config:
        config = cli.load_config(args.config)
        for loader in (config.train_dataloader, config.test_dataloader):
            loader.dataset.data_root = args.data_root
    profile = profile_of(args.profile, config, overrides)
    if args.arms:
        for arm in args.arms:
            changes(arm)
        profile |= dict(first=tuple(dict.fromkeys((BASELINE, *args.arms))), second=(), follow_up=False)
    study = Study(profile, out, args.jobs, args.device, config)
    asked = {name: value for name, value in vars(args).items() if value not in (None, False) and name != 'out'}
    write_about(out, asked, profile, study.fingerprint, args.device)
    study.complete()


if __name__ == '__main__':
    main()

"""Everything that only a GPU can tell about this project, in one command and one report to send home.

python tools/analysis_tools/gpu_check.py                        # seven minutes on one GPU; `make gpu-check`
python tools/analysis_tools/gpu_check.py --parts equality ops   # some parts
python tools/analysis_tools/gpu_check.py --dry-run              # on a CPU, with tiny sizes: that everything runs

Groups of parts run one after the other, the most valuable first, each part in processes of its own and each group until
a time of its own: one that hangs or dies takes nothing else with it. OUT/gpu_check.md and OUT/gpu_check.json are
complete after every finding, so an interrupted run has a report too.
"""

import argparse
import os
import shlex
import sys
import tempfile
import time
from datetime import datetime
from pathlib import Path

# so that nothing that is imported touches the GPU: processes that use it are forked off this one
os.environ.setdefault('PYTORCH_NVML_BASED_CUDA_CHECK', '1')
if '--dry-run' in sys.argv:  # on a CPU, also where there is a GPU
    os.environ['CUDA_VISIBLE_DEVICES'] = ''
STARTED = time.monotonic()

from mmrobust import cli  # noqa: E402  first: it checks the OpenMMLab stack

# isort: split
import torch  # noqa: E402
from rich.console import Console  # noqa: E402

from performance.gpu_check.combinations import combinations  # noqa: E402
from performance.gpu_check.environment import environment  # noqa: E402
from performance.gpu_check.equality import equality  # noqa: E402
from performance.gpu_check.evaluation import evaluation_speed  # noqa: E402
from performance.gpu_check.gpu_tests import gpu_tests  # noqa: E402
from performance.gpu_check.minicity import minicity  # noqa: E402
from performance.gpu_check.ops import ops  # noqa: E402
from performance.gpu_check.processes import (  # noqa: E402
    Job,
    forked_processes_can_use_the_device,
    run_under_limit,
)
from performance.gpu_check.report import PartReport, Report  # noqa: E402
from performance.gpu_check.resuming import resuming  # noqa: E402
from performance.gpu_check.steps import compiled_steps, eager_steps  # noqa: E402
from performance.gpu_check.work import Part, Work, cores, limits  # noqa: E402

ROOT = Path(__file__).resolve().parents[2]
# Parts of a group run beside each other: they compare or compile, and what is timed waits until it has the device for
# itself. Equality comes first, and leaves compiled kernels to the others.
GROUPS = (
    (Part('environment', environment, share=5, needs=1),),
    (Part('equality', equality, share=50, needs=10, processes=8),),
    (
        Part('compiled', compiled_steps, share=115, needs=30, processes=2),
        Part('combinations', combinations, share=115, needs=15, processes=5),
        Part('tests', gpu_tests, share=115, needs=10),
        Part('resuming', resuming, share=115, needs=30),
    ),
    (Part('ops', ops, share=20, needs=10),),
    (Part('minicity', minicity, share=165, needs=30),),
    (Part('evaluation', evaluation_speed, share=40, needs=15),),
    (Part('steps', eager_steps, share=25, needs=10),),
)
PARTS = [part for group in GROUPS for part in group]
console = Console(highlight=False)


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = cli.Parser(__doc__)
    parser.add_argument('--minutes', type=float, default=7, help='for all parts together (default: %(default)g)')
    names = [part.name for part in PARTS]
    parser.add_argument('--parts', nargs='+', choices=names, default=names, metavar='NAME',
                        help=f'some of {", ".join(names)} (default: all)')  # fmt: skip
    parser.add_argument(
        '--out',
        type=cli.output_folder,
        default='work_dirs/gpu_check',
        help='folder of the report (default: %(default)s)',
    )
    parser.add_argument('--dry-run', action='store_true', help='tiny sizes, on a CPU: that everything runs, no figures')
    args = parser.parse_args(argv)
    if not args.minutes > 0:
        parser.error(f'--minutes must be more than 0, got {args.minutes:g}')
    return args


def check(report: Report, groups: list[list[Part]], work: Work, ends_at: float) -> None:
    """Run the groups, one after the other; the report is written after everything that they find.

    Args:
        report: has an entry for each part.
        groups: in their order.
        work: what the parts are called with.
        ends_at: by ``time.monotonic()``, when all have to be over.
    """
    begun = time.monotonic()
    for group, end in zip(groups, limits(groups, ends_at - begun), strict=True):
        limit = begun + end - time.monotonic()
        for part in group:
            entry = report.parts[part.name]
            entry.limit = limit
            if limit < part.needs:
                entry.state = 'skipped'
                entry.reason = f'{max(0, limit):.0f} s were left of the {part.needs:g} s that it takes at least'
                _say(part, entry)
        report.write()
        _run(report, [part for part in group if limit >= part.needs], work, begun + end)


def _run(report: Report, group: list[Part], work: Work, ends_at: float) -> None:
    """Run parts beside each other."""
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix='gpu_check_') as folder:
        jobs = []
        for part in group:
            entry = report.parts[part.name]
            entry.state = 'running'
            # the folder has the lock of what is timed, which all of them share
            of_part = work.shared_by(max(1, min(part.processes, cores() // 2)), Path(folder), ends_at)

            def on_note(name: str, value: object, entry: PartReport = entry) -> None:
                entry.found[name] = value
                report.write()

            jobs.append(Job(part.function, of_part, on_note, work.logs / f'{part.name}.log'))
        report.write()
        for index, outcome in run_under_limit(jobs, ends_at - started):
            entry = report.parts[group[index].name]
            entry.end(*outcome)
            entry.seconds = time.monotonic() - started
            report.write()
            _say(group[index], entry)


def _say(part: Part, entry: PartReport) -> None:
    why = f': {entry.reason.splitlines()[-1]}' if entry.reason else ''
    console.print(f'{time.monotonic() - STARTED:5.0f} s  {part.name}: {entry.state}{why}', markup=False)


def main(argv: list[str] | None = None) -> int:
    args = parse_args(argv)
    with cli.one_sentence():
        if not args.dry_run and not torch.cuda.is_available():
            raise ValueError('there is no GPU that PyTorch can use here; --dry-run runs everything in tiny on a CPU')
        out = Path(args.out).resolve()
        logs = out / 'logs'
        logs.mkdir(parents=True, exist_ok=True)
    chosen = ([part for part in group if part.name in args.parts] for group in GROUPS)
    groups = [group for group in chosen if group]
    run = dict(
        started=datetime.now().astimezone().isoformat(timespec='seconds'),
        command=shlex.join(['gpu_check.py', *(sys.argv[1:] if argv is None else argv)]),
        minutes=args.minutes,
        dry_run=args.dry_run,
    )
    report = Report(out, run, {part.name: PartReport() for group in groups for part in group})
    report.write()
    console.print(f'the report grows in {out}/gpu_check.md and .json', markup=False, soft_wrap=True)
    work = Work(ROOT, out, logs, tiny=args.dry_run)
    if not forked_processes_can_use_the_device(work):
        console.print('processes cannot be forked off here: each starts afresh and imports everything')
        work = Work(ROOT, out, logs, tiny=args.dry_run, forked=False)
    run['forked'] = work.forked
    check(report, groups, work, STARTED + 60 * args.minutes)
    console.print(f'{report.folder}/gpu_check.md: {_summary(report)}', markup=False, soft_wrap=True)
    return 0 if all(part.state == 'done' for part in report.parts.values()) else 1


def _summary(report: Report) -> str:
    targets = report.targets()
    counts = {text: sum(row['held'] is held for row in targets)
              for text, held in (('held', True), ('missed', False), ('not measured', None))}  # fmt: skip
    return f'of {len(targets)} targets ' + ', '.join(f'{number} {text}' for text, number in counts.items())


if __name__ == '__main__':
    sys.exit(main())

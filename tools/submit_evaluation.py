"""Evaluate robustness with submitit: a Slurm job array, or processes on this machine.

python tools/submit_evaluation.py --shards 8 --parameters slurm_partition=gpu -- CONFIG CHECKPOINT --preset kamann
python tools/submit_evaluation.py --shards 2 --cluster local -- CONFIG CHECKPOINT --out results
python tools/submit_evaluation.py --shards 4 --gpus 0 --cpus 8 -- CONFIG CHECKPOINT --benchmark acdc

What follows -- is given to tools/evaluate_robustness.py. The command returns at once; the last shard to finish writes
the summary. A shard that Slurm preempts, or whose time is up, is requeued and runs what is missing. It needs
``pip install submitit``.
"""

import argparse
import signal
import subprocess
import sys
from pathlib import Path

from mmrobust import cli  # first: it checks the OpenMMLab stack

# isort: split
with cli.one_sentence():
    try:
        import submitit
    except ImportError as error:
        raise ImportError('submit_evaluation.py needs submitit: pip install submitit') from error

TOOL = Path(__file__).resolve().parent / 'evaluate_robustness.py'
WARNINGS = (signal.SIGTERM, signal.SIGUSR2)  # Slurm sends both to all processes of a job before it kills them


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = cli.Parser(__doc__)
    parser.add_argument('--shards', type=int, required=True, help='how many jobs share the work')
    parser.add_argument('--cluster', choices=['slurm', 'local'], default='slurm', help='default: %(default)s')
    parser.add_argument('--gpus', type=int, choices=[0, 1], default=1, help='of one job (default: 1)')
    parser.add_argument('--cpus', type=int, default=5, help='of one job (default: 5)')
    parser.add_argument('--minutes', type=int, default=24 * 60, help='of one job (default: a day)')
    parser.add_argument('--log-dir', default='work_dirs/submitit', help='logs (default: %(default)s)')
    parser.add_argument(
        '--parameters',
        nargs='+',
        action=cli.CfgOptions,
        default={},
        metavar='KEY=VALUE',
        help="others of submitit's AutoExecutor, such as slurm_partition=gpu slurm_array_parallelism=4",
    )
    parser.add_argument('evaluation', nargs='+', metavar='...', help='-- and arguments of evaluate_robustness.py')
    return parser.parse_args(argv)


class Evaluation(submitit.helpers.Checkpointable):
    """Runs a shard; what is pickled to be requeued is the command, because finished cells are on disk."""

    def __init__(self, arguments: list[str], count: int) -> None:
        self.arguments, self.count = arguments, count

    def __call__(self, index: int) -> None:
        """Run shard ``index``, from 0.

        Raises:
            subprocess.CalledProcessError: it failed.
        """
        # in a process of its own, which leaves the warnings to submitit: it kills that process when it requeues
        command = [sys.executable, str(TOOL), *self.arguments, '--shard', f'{index}/{self.count}']
        subprocess.run(command, check=True, preexec_fn=block_warnings)


def block_warnings() -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, WARNINGS)


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    # submitit's own: an unknown parameter, no Slurm, a job that Slurm refuses
    with cli.one_sentence((*cli.USER_ERRORS, NameError, RuntimeError)):
        if args.shards < 1:
            raise ValueError(f'--shards must be 1 or more, got {args.shards}')
        executor = submitit.AutoExecutor(args.log_dir, cluster=args.cluster)
        executor.update_parameters(
            name='evaluate_robustness',
            gpus_per_node=args.gpus,
            cpus_per_task=args.cpus,
            timeout_min=args.minutes,
            **{'slurm_additional_parameters': {'requeue': True}} | args.parameters,
        )
        jobs = executor.map_array(Evaluation(args.evaluation, args.shards), range(args.shards))
    for job in jobs:
        print(f'{job.job_id}: {job.paths.stdout}')


if __name__ == '__main__':
    sys.exit(main())

"""Kill training and evaluating at random moments, continue each time, and compare with runs that nobody disturbed.

python -m tests.test_faults.random_kills              # 20 kills of each of three jobs
python -m tests.test_faults.random_kills --kills 3 --seed 1

A moment is drawn from the whole life of a process, from its start to where an undisturbed one would end: building the
model, loading data, training, saving, validating, summarising. A finished run is compared, and the next kills go to a
new one. The signal is SIGKILL or SIGTERM, to the process alone or to its whole group with the loading processes.
"""

import argparse
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

from tests.test_faults.jobs import Job, evaluation, training, wait, write_files
from tests.tool_loading import load_tool

SIGNALS = (signal.SIGKILL, signal.SIGTERM)
MAY_END_WITH = (-signal.SIGKILL, -signal.SIGTERM, 128 + signal.SIGTERM)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--kills', type=int, default=20, help='of each job (default: %(default)s)')
    parser.add_argument('--seed', type=int, default=0)
    args = parser.parse_args()
    for tool in ('train.py', 'evaluate_robustness.py'):  # imports what takes seconds, once and for all forks
        load_tool(tool)
    folder = Path(tempfile.mkdtemp())
    try:
        write_files(folder)
        whole = folder / 'segmentation_undisturbed'
        jobs = {name: training(folder, name) for name in ('segmentation', 'classification')}
        jobs['evaluation'] = evaluation(folder, whole / 'iter_12.pth')
        return sum(kill_one(job, folder, name, args.kills, args.seed) for name, job in jobs.items())
    finally:
        shutil.rmtree(folder)


def kill_one(job: Job, folder: Path, name: str, kills: int, seed: int) -> int:
    """Kill one job that often; return how many of its runs were not what they should be."""
    draw = random.Random(f'{seed} {name}')
    output = folder / f'{name}.txt'
    begin = time.monotonic()
    code = wait(job.start(folder / f'{name}_undisturbed', output))
    length = time.monotonic() - begin
    expected = job.outcome(folder / f'{name}_undisturbed') if code == 0 else None
    print(f'## {name}: {job.tool}, undisturbed {length:.1f} s, exit code {code}', flush=True)
    if code:
        print(output.read_text()[-3000:])
        return 1
    wrong = killed = runs = 0
    while killed < kills:
        runs += 1
        work = folder / f'{name}_{runs}'
        finished = False
        while not finished:
            moment, number, group = draw.uniform(0, length), draw.choice(SIGNALS), draw.random() < 0.5
            code = run(job, work, output, (moment, number, group) if killed < kills else None)
            finished = code == 0
            if finished:
                break
            killed += 1
            place = describe(work)
            print(
                f'{killed:2d}  {number.name} to the {"group" if group else "process":7s} after {moment:4.1f} s: '
                f'exit code {code:4d}, {place}',
                flush=True,
            )
            if code not in MAY_END_WITH or 'Traceback' in output.read_text():
                print(output.read_text()[-3000:])
                return wrong + 1
        same = job.outcome(work) == expected
        print(f'    run {runs} is finished: {"the same as undisturbed" if same else "NOT THE SAME"}', flush=True)
        if not same:
            show(job.outcome(work), expected)
            wrong += 1
    print(f'{killed} kills, {runs} runs, {wrong} differ, {time.monotonic() - begin:.0f} s\n', flush=True)
    return wrong


def run(job: Job, work: Path, output: Path, kill: tuple[float, signal.Signals, bool] | None) -> int:
    """Run a job, with a kill after some time; return its exit code."""
    process = job.start(work, output)
    if kill:
        moment, number, group = kill
        try:
            return wait(process, moment, then=None)
        except TimeoutError:
            (os.killpg if group else os.kill)(process, number)
    return wait(process)


def describe(work: Path) -> str:
    """Where it was: what it had saved, and whether it was writing."""
    saved = work / 'last_checkpoint'
    cells = list((work / 'cells').glob('*.json'))
    partial = [path.name for path in work.rglob('*.tmp')]
    place = Path(saved.read_text()).name if saved.is_file() else f'{len(cells)} cells' if cells else 'nothing saved'
    return place + (f', in the middle of writing {partial[0]}' if partial else '')


def show(found: dict, expected: dict, name: str = '') -> None:
    """Say where two outcomes differ."""
    for key in {*found, *expected}:
        one, other = found.get(key), expected.get(key)
        if one != other:
            if isinstance(one, dict) and isinstance(other, dict):
                show(one, other, f'{name} {key}')
            else:
                print(f'    {name} {key}: {str(one)[:200]} instead of {str(other)[:200]}')


if __name__ == '__main__':
    sys.exit(main())

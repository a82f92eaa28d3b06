"""MiniCity trained, stopped by SIGTERM and resumed, beside a run that nobody disturbs."""

import os
import signal
from pathlib import Path

from performance.gpu_check.minicity import config, draw, processes, scalars, training, without_notes
from performance.gpu_check.tools import require
from performance.gpu_check.work import Work

EXIT_CODE_OF_SIGTERM = 143
TOLERANCE = 0.01  # relative, of a loss


def resuming(work: Work) -> None:
    """Largest relative difference of a loss between both runs.

    Raises:
        RuntimeError: a run did not end as it should, or did not go on where it was stopped.
    """
    iterations, stop_at = (12, 3) if work.tiny else (40, 8)
    file = config(work, draw(work), 1, 'env_cfg = dict(cudnn_benchmark=False)\n')
    with processes(work, 1) as pool:
        undisturbed = pool.submit(_undisturbed, without_notes(work), file, iterations)
        stopped_at, resumed = _stopped_and_resumed(work, file, iterations, stop_at)
        expected = undisturbed.result()
    if not resumed or not expected.keys() >= resumed.keys() or max(resumed) != iterations:
        raise RuntimeError(f'of {iterations} iterations, stopped after {stopped_at}, these were resumed: {[*resumed]}')
    errors = {step: abs(loss - expected[step]) / abs(expected[step]) for step, loss in resumed.items()}
    # later ones may drift apart: kernels whose sums are in no fixed order are amplified by training
    first = max(errors[step] for step in sorted(errors)[:3])
    found = {
        'stopped after': stopped_at,
        'error of the first three losses': first,
        'error of all losses': max(errors.values()),
        'tolerance': TOLERANCE,
        'held': first <= TOLERANCE,
    }
    work.note('after SIGTERM', found)


def _undisturbed(work: Work, file: Path, iterations: int) -> dict[int, float]:
    """The loss of each iteration."""
    with work.beside_others():
        require(training(work, file, 'undisturbed', iterations, ['--no-validate']))
    return {entry['step']: entry['loss'] for entry in scalars(work.folder / 'undisturbed')}


def _stopped_and_resumed(work: Work, file: Path, iterations: int, stop_at: int) -> tuple[int, dict[int, float]]:
    """After which iteration it was stopped, and the losses of those that followed when it was resumed."""
    told = []

    def stop(pid: int) -> None:
        entries = scalars(work.folder / 'stopped')
        if not told and entries and entries[-1]['step'] >= stop_at:
            told.append(entries[-1]['step'])
            os.kill(pid, signal.SIGTERM)

    with work.beside_others():
        require(training(work, file, 'stopped', iterations, ['--no-validate'], stop), EXIT_CODE_OF_SIGTERM)
    stopped_at = scalars(work.folder / 'stopped')[-1]['step']
    with work.beside_others():
        require(training(work, file, 'stopped', iterations, ['--no-validate', '--resume']))
    entries = scalars(work.folder / 'stopped')
    return stopped_at, {entry['step']: entry['loss'] for entry in entries if entry['step'] > stopped_at}

import os
import signal
import sys
from pathlib import Path

import pytest

from mmrobust.evaluation.benchmarks.segmentation_base import SegmentationBenchmark
from mmrobust.evaluation.cells import CLEAN
from performance.gpu_check.evaluation import timed_images
from performance.gpu_check.minicity import scalars
from performance.gpu_check.tools import in_own_process, load_tool, require, run_tool
from performance.gpu_check.work import Work

ROOT = Path(__file__).resolve().parents[3]


def test_a_tool_is_loaded():
    assert load_tool(ROOT / 'tools/train.py').__doc__.startswith('Train')


@pytest.mark.parametrize('forked', [True, False])
def test_a_mistake_is_found(tmp_path, forked, monkeypatch):
    monkeypatch.setenv('PYTHONPATH', str(ROOT))
    seen = []
    work = Work(ROOT, tmp_path, tmp_path, tiny=True, forked=forked)
    run = run_tool(work, 'tools/train.py', ['none.py'], tmp_path / 'logs/a.log', seen.append)
    assert run.exit_code == 2
    assert "train.py: error: There is no config file 'none.py': check the path" in run.last_lines
    assert os.getpid() not in seen
    with pytest.raises(RuntimeError, match=r'code 2 instead of 0:\n.*There is no config file'):
        require(run)
    assert require(run, 2) is run


def test_a_tool_that_is_ended(tmp_path):
    """Also where this process takes SIGTERM for something else, as a training that failed in it leaves it behind."""
    (tmp_path / 'slow.py').write_text(
        'import time\n\ndef main():\n    print("begun", flush=True)\n    time.sleep(600)\n'
    )
    log = tmp_path / 'log'

    def stop(pid):
        if log.is_file() and 'begun' in log.read_text():
            os.kill(pid, signal.SIGTERM)

    previous = signal.signal(signal.SIGTERM, lambda number, frame: None)
    try:
        run = run_tool(Work(tmp_path, tmp_path, tmp_path, tiny=True), 'slow.py', [], log, stop)
    finally:
        signal.signal(signal.SIGTERM, previous)
    assert (run.exit_code, run.last_lines) == (-signal.SIGTERM, 'begun')


def test_what_a_function_raises_in_its_process(tmp_path):
    in_own_process((tmp_path / 'a').touch)
    assert (tmp_path / 'a').is_file()
    with pytest.raises(RuntimeError, match='exit ended with code 3'):
        in_own_process(sys.exit, 3)


def test_scalars_of_two_runs_and_of_a_line_that_is_being_written(tmp_path):
    for name, lines in (
        ('a', ['{"step": 1, "loss": 3.0}', '{"step": 2, "loss": 2.0}', '{"step": 2, "mIoU": 9.0}']),
        ('b', ['{"step": 2, "loss": 2.5}', '{"step": 3, "lo']),
    ):
        (tmp_path / name / 'vis_data').mkdir(parents=True)
        (tmp_path / name / 'vis_data/scalars.json').write_text('\n'.join(lines))
    assert [(entry['step'], entry['loss']) for entry in scalars(tmp_path)] == [(1, 3.0), (2, 2.5)]
    assert scalars(tmp_path / 'none') == []


def test_times_of_images(tmp_path, monkeypatch):
    def run(benchmark, model, cell, on_image):
        on_image()
        on_image()
        return 'result'

    monkeypatch.setattr(SegmentationBenchmark, 'run', run)
    seen = []
    with timed_images(tmp_path / 'times'):
        for _ in range(2):
            result = SegmentationBenchmark().run(None, CLEAN, lambda: seen.append(1))
            assert result == 'result'
    assert seen == [1] * 4
    assert SegmentationBenchmark.run is run
    for line in (tmp_path / 'times').read_text().splitlines():
        start, first, second = map(float, line.strip('[]').split(','))
        assert start <= first <= second

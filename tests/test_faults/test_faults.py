"""The real tools when the machine lets them down: after each fault the job continues to the undisturbed result."""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from mmrobust.checkpoint import load_checkpoint_file
from tests.test_faults.jobs import REPO, evaluation, training, wait, write_files

pytestmark = pytest.mark.slow


@pytest.fixture(scope='module')
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp('files')
    write_files(folder)
    return folder


@pytest.fixture(scope='module')
def train(files):
    return training(files, 'segmentation')


@pytest.fixture(scope='module')
def undisturbed(files, train):
    """A finished training, and what came out."""
    assert wait(train.start(files / 'whole', files / 'whole.txt')) == 0, (files / 'whole.txt').read_text()[-3000:]
    return files / 'whole', train.outcome(files / 'whole')


@pytest.fixture(scope='module')
def evaluate(files, undisturbed):
    return evaluation(files, undisturbed[0] / 'iter_12.pth')


@pytest.fixture(scope='module')
def evaluated(files, evaluate):
    assert wait(evaluate.start(files / 'out', files / 'out.txt')) == 0, (files / 'out.txt').read_text()[-3000:]
    return evaluate.outcome(files / 'out')


@pytest.fixture
def output(tmp_path):
    return tmp_path / 'output.txt'


@pytest.fixture
def disk(tmp_path):
    """An empty disk of 64 MiB."""
    folder = tmp_path / 'disk'
    folder.mkdir()
    mounting = ['mount', '-t', 'tmpfs', '-o', 'size=64m', 'tmpfs', str(folder)]
    try:
        result = subprocess.run(mounting, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        pytest.skip('there is no mount')
    if result.returncode:
        pytest.skip(f'mounting a tmpfs is not allowed here: {result.stderr.strip()}')
    yield folder
    subprocess.run(['umount', '-l', str(folder)], check=True)


def fill(disk: Path, left: int) -> Path:
    """Leave this many bytes; return the file to remove."""
    status = os.statvfs(disk)
    ballast = disk / 'ballast'
    with ballast.open('wb') as file:
        file.truncate(0)
        os.posix_fallocate(file.fileno(), 0, status.f_bavail * status.f_frsize - left // 4096 * 4096)
    return ballast


def one_error(output: Path) -> str:
    """The one line that says what is wrong."""
    text = output.read_text()
    errors = re.findall(r'^\w+\.py: error: (.*)$', text, re.MULTILINE)
    assert len(errors) == 1 and 'Traceback' not in text, text[-3000:]
    return errors[0]


def wait_for(process: int, path: Path) -> None:
    """Wait until a job has written a file."""
    end = time.monotonic() + 120
    while not path.exists() and time.monotonic() < end:
        assert os.waitpid(process, os.WNOHANG)[0] == 0, f'it ended before it wrote {path}'
        time.sleep(0.005)
    assert path.exists()


def kill_loading_processes(process: int) -> None:
    for child in children(process):
        with suppress(ProcessLookupError):  # a validation may have come to its end
            os.kill(child, signal.SIGKILL)


def children(process: int) -> list[int]:
    return [int(word) for word in Path(f'/proc/{process}/task/{process}/children').read_text().split()]


@pytest.mark.parametrize('left', [0, 20_000, 1_000_000, 15_000_000], ids='{} bytes left'.format)
def test_training_on_a_full_disk(train, undisturbed, disk, output, left):
    """It has no place for its lock, its configuration, its first or its second checkpoint of 10 MB."""
    ballast = fill(disk, left)
    work = disk / 'work'
    assert wait(train.start(work, output)) == 2
    assert 'No space left on device' in one_error(output)
    assert str(work) in one_error(output)
    for path in work.glob('*.pth'):
        load_checkpoint_file(path)
    ballast.unlink()
    assert wait(train.start(work, output)) == 0
    assert train.outcome(work) == undisturbed[1]


@pytest.mark.parametrize('left', [0, 20_000], ids='{} bytes left'.format)
def test_evaluating_on_a_full_disk(evaluate, evaluated, disk, output, left):
    ballast = fill(disk, left)
    assert wait(evaluate.start(disk / 'out', output)) == 2
    assert 'No space left on device' in one_error(output)
    finished = {path: path.read_bytes() for path in (disk / 'out/cells').glob('*.json')}
    assert len(finished) == (1 if left else 0) or left
    ballast.unlink()
    assert wait(evaluate.start(disk / 'out', output)) == 0
    assert all(path.read_bytes() == content for path, content in finished.items())
    assert evaluate.outcome(disk / 'out') == evaluated


@pytest.mark.parametrize('name', ['train', 'evaluate'])
def test_read_only_folder_of_results(request, disk, output, name):
    job = request.getfixturevalue(name)
    subprocess.run(['mount', '-o', 'remount,ro', str(disk)], check=True)
    assert wait(job.start(disk / 'work', output)) == 2
    reason = 'Read-only file system' if name == 'train' else f'{disk} refuses it'
    assert reason in one_error(output) and str(disk / 'work') in one_error(output)
    assert not re.search(r'\d images', output.read_text()) and 'Checkpoints will be saved' not in output.read_text()


def test_read_only_folder_of_data_is_all_that_is_needed(undisturbed, evaluated, disk, tmp_path, output):
    write_files(disk)
    subprocess.run(['mount', '-o', 'remount,ro', str(disk)], check=True)
    train = training(disk, 'segmentation')
    assert wait(train.start(tmp_path / 'work', output)) == 0
    assert train.outcome(tmp_path / 'work') == undisturbed[1]
    evaluate = evaluation(disk, tmp_path / 'work/iter_12.pth')
    assert wait(evaluate.start(tmp_path / 'out', output)) == 0
    cells = {name: content for name, content in evaluated.items() if name.startswith('cells')}
    assert {name: evaluate.outcome(tmp_path / 'out')[name] for name in cells} == cells


def test_a_loading_process_of_training_is_killed(train, undisturbed, tmp_path, output):
    process = train.start(tmp_path / 'work', output)
    wait_for(process, tmp_path / 'work/iter_2.pth')
    kill_loading_processes(process)
    assert wait(process, 60) == 2
    assert re.match(r'A process that loads images has died \(.*\): .* fewer num_workers', one_error(output))
    assert wait(train.start(tmp_path / 'work', output)) == 0
    assert train.outcome(tmp_path / 'work') == undisturbed[1]


def test_a_loading_process_of_an_evaluation_is_killed(evaluate, evaluated, tmp_path, output):
    process = evaluate.start(tmp_path / 'out', output)
    wait_for(process, tmp_path / 'out/cells/clean.json')
    end = time.monotonic() + 60
    while not children(process) and time.monotonic() < end:
        time.sleep(0.001)
    kill_loading_processes(process)
    assert wait(process, 60) == 2
    assert one_error(output).startswith('A process that loads images has died')
    assert wait(evaluate.start(tmp_path / 'out', output)) == 0
    assert evaluate.outcome(tmp_path / 'out') == evaluated


@pytest.mark.parametrize('name', ['train', 'evaluate'])
def test_shared_memory_of_a_small_container(request, files, undisturbed, tmp_path, name):
    """Docker gives 64 MiB, which is for real images what 16 kB is for these."""
    options = ['--cfg-options', 'train_dataloader.num_workers=2'] if name == 'train' else []
    command = request.getfixturevalue(name).command(tmp_path / 'out', *options)
    script = 'mount -t tmpfs -o size=16k tmpfs /dev/shm || exit 77; exec "$@"'
    try:
        result = subprocess.run(
            ['unshare', '-m', 'sh', '-c', script, 'sh', *command],
            cwd=REPO,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
    except FileNotFoundError:
        pytest.skip('there is no unshare')
    if result.returncode in (1, 77) and 'error: ' not in result.stderr:
        pytest.skip(f'mounting a tmpfs is not allowed here: {result.stderr.strip()}')
    assert result.returncode == 2, result.stderr[-3000:]
    last = result.stderr.splitlines()[-1]
    assert '/dev/shm is full: give the container more than 0.0156 MiB, as docker run --shm-size=8g does' in last


def test_second_run_in_a_folder(train, undisturbed, tmp_path, output):
    """It is refused before it touches anything; SIGKILL frees the folder, although loading processes are left over."""
    first = train.start(tmp_path / 'work', tmp_path / 'first.txt')
    wait_for(first, tmp_path / 'work/iter_2.pth')
    os.kill(first, signal.SIGSTOP)
    before = sorted((tmp_path / 'work').rglob('*'))
    assert wait(train.start(tmp_path / 'work', output)) == 2
    assert one_error(output) == (
        f'The folder {tmp_path}/work belongs to a run of process {first} on {socket.gethostname()}: '
        'give another one, or wait for it.'
    )
    assert sorted((tmp_path / 'work').rglob('*')) == before
    os.kill(first, signal.SIGKILL)
    assert wait(first) == -signal.SIGKILL
    assert wait(train.start(tmp_path / 'work', output)) == 0
    assert train.outcome(tmp_path / 'work') == undisturbed[1]


def test_two_evaluations_in_a_folder(evaluate, evaluated, tmp_path, output):
    processes = [evaluate.start(tmp_path / 'out', output) for _ in range(2)]
    assert [wait(process) for process in processes] == [0, 0], output.read_text()[-3000:]
    assert evaluate.outcome(tmp_path / 'out') == evaluated


def test_the_clock_is_set_back(train, undisturbed, tmp_path, output):
    """By a day between a start and its resume, and once more while the run lasts."""

    def jump() -> None:
        real, begin = time.time, time.monotonic()
        time.time = lambda: real() - 86400 * (1 + (time.monotonic() > begin + 2))

    process = train.start(tmp_path / 'work', output)
    wait_for(process, tmp_path / 'work/iter_4.pth')
    os.kill(process, signal.SIGTERM)
    assert wait(process) == 143
    newest = (tmp_path / 'work/last_checkpoint').read_text()
    assert wait(train.start(tmp_path / 'work', output, first=jump)) == 0, output.read_text()[-3000:]
    assert f'Load checkpoint from {newest}' in output.read_text()
    logs = sorted(path.name for path in (tmp_path / 'work').glob('2*'))
    assert len(logs) == 2 and logs[0][:8] < logs[1][:8]
    assert train.outcome(tmp_path / 'work') == undisturbed[1]


def test_image_that_breaks_after_the_first_epoch(files, tmp_path, output):
    """Fatal or replaced, as the dataset is told; named in both cases; and replaced in the same way after a resume."""
    shutil.copytree(files / 'minicity', tmp_path / 'minicity')
    (tmp_path / 'segmentation.py').write_text(
        (files / 'segmentation.py').read_text().replace(str(files), str(tmp_path))
    )
    train = training(tmp_path, 'segmentation')
    some = ['--cfg-options', 'train_cfg.max_iters=4']
    skipping = 'train_dataloader.dataset.on_corrupt=skip'
    assert wait(train.start(tmp_path / 'begun', output, *some)) == 0  # two epochs of two iterations
    broken = next((tmp_path / 'minicity/leftImg8bit/train').rglob('*.png'))
    broken.write_bytes(broken.read_bytes()[:-20])
    for name in ('whole', 'parts'):
        shutil.copytree(tmp_path / 'begun', tmp_path / name)
        (tmp_path / name / 'last_checkpoint').write_text(str(tmp_path / name / 'iter_4.pth'))

    assert wait(train.start(tmp_path / 'begun', output)) == 2
    assert one_error(output).startswith(f'The image {broken} (')

    output.unlink()
    assert wait(train.start(tmp_path / 'whole', output, '--cfg-options', skipping)) == 0
    warned = [line for line in output.read_text().splitlines() if str(broken) in line]
    assert len([line for line in warned if 'Another one takes its place.' in line]) >= 4  # epochs, and loaded ahead
    assert '4 samples of the iterations 5 to 12 were replaced, because of 1 broken files' in warned[-1]

    assert wait(train.start(tmp_path / 'parts', output, '--cfg-options', skipping, 'train_cfg.max_iters=7')) == 0
    assert wait(train.start(tmp_path / 'parts', output, '--cfg-options', skipping)) == 0
    parts, whole = train.outcome(tmp_path / 'parts'), train.outcome(tmp_path / 'whole')
    assert parts['checkpoints']['iter_12.pth'] == whole['checkpoints']['iter_12.pth']


def test_broken_image_of_an_evaluation_is_never_skipped(files, undisturbed, tmp_path, output):
    shutil.copytree(files / 'minicity', tmp_path / 'minicity')
    config = (files / 'segmentation.py').read_text().replace(str(files), str(tmp_path))
    (tmp_path / 'segmentation.py').write_text(config + "test_dataloader['dataset']['on_corrupt'] = 'skip'\n")
    broken = next((tmp_path / 'minicity/leftImg8bit/val').rglob('*.png'))
    broken.write_bytes(broken.read_bytes()[:-20])
    evaluate = evaluation(tmp_path, undisturbed[0] / 'iter_12.pth')
    assert wait(evaluate.start(tmp_path / 'out', output)) == 2
    assert one_error(output).startswith(f'The image {broken} (')


@pytest.mark.parametrize('group', [False, True], ids=['to the process', 'to its group'])
def test_sigterm_as_a_cluster_sends_it(train, undisturbed, tmp_path, group):
    """To a process that Python itself ends, with its loading processes, in less time than any cluster gives."""
    work = tmp_path / 'work'
    command = train.command(work, '--cfg-options', 'train_dataloader.num_workers=3', 'train_cfg.max_iters=12')
    environment = os.environ | {'OMP_NUM_THREADS': '1'}
    process = subprocess.Popen(
        command, env=environment, cwd=REPO, start_new_session=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    wait_for(process.pid, work / 'iter_2.pth')
    (os.killpg if group else os.kill)(process.pid, signal.SIGTERM)
    text = process.communicate(timeout=300)[0].decode()
    assert process.returncode == 143 and 'Traceback' not in text, text[-3000:]
    assert len(re.findall('Stopped by SIGTERM after iteration', text)) == 1
    assert subprocess.run(command, env=environment, cwd=REPO, capture_output=True, check=False).returncode == 0
    assert train.outcome(work) == undisturbed[1]


@pytest.mark.parametrize('to_all', [True, False], ids=['to torchrun', 'to one rank'])
def test_sigterm_in_a_distributed_run(train, tmp_path, to_all):
    """All ranks stop after the same iteration; torchrun's own exit code is another matter."""

    def command(folder: Path) -> list[str]:
        launcher = ['-m', 'torch.distributed.run', '--standalone', '--nproc_per_node', '2']
        return [sys.executable, *launcher, *train.command(folder)[1:], '--launcher', 'pytorch', '--no-validate']

    environment = os.environ | {'OMP_NUM_THREADS': '1'}
    start = {'env': environment, 'cwd': REPO, 'stdout': subprocess.PIPE, 'stderr': subprocess.STDOUT}
    whole = subprocess.run(command(tmp_path / 'whole'), check=False, **start)
    assert whole.returncode == 0, whole.stdout[-3000:].decode()

    process = subprocess.Popen(command(tmp_path / 'part'), **start)
    wait_for(process.pid, tmp_path / 'part/iter_2.pth')
    os.kill(process.pid if to_all else children(process.pid)[1], signal.SIGTERM)
    text = process.communicate(timeout=300)[0].decode()
    assert process.returncode != 0
    assert len(re.findall('Stopped by SIGTERM after iteration', text)) == 1, text[-3000:]
    assert 'exitcode  : 143' in text or to_all, text[-3000:]
    assert not (tmp_path / 'part/iter_12.pth').exists()
    assert subprocess.run(command(tmp_path / 'part'), check=False, **start).returncode == 0
    assert train.outcome(tmp_path / 'part') == train.outcome(tmp_path / 'whole')


def test_random_kills(tmp_path):
    command = [sys.executable, '-m', 'tests.test_faults.random_kills', '--kills', '3', '--seed', '1']
    result = subprocess.run(command, cwd=REPO, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout[-3000:] + result.stderr[-3000:]
    assert len(re.findall(r'3 kills, \d+ runs, 0 differ', result.stdout)) == 3

"""tools/dataset_converters/cityscapes_c.py on MiniCity: whole files, whatever happens on the way."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

from mmrobust.datasets import corrupted_dataset
from mmrobust.datasets.minicity import MiniCityParams, write_minicity
from tests.tool_loading import TOOLS

REPO = Path(__file__).parents[1]
TOOL = TOOLS / 'dataset_converters/cityscapes_c.py'
CELLS = ['--corruptions', 'shot_noise', 'fog', '--severities', '2', '5']
IMAGES = 4


@pytest.fixture(scope='module')
def minicity(tmp_path_factory):
    root = tmp_path_factory.mktemp('data') / 'minicity'
    write_minicity(root, MiniCityParams(num_train=1, num_val=IMAGES, num_acdc=0, size=(64, 32)))
    return root


@pytest.fixture(scope='module')
def whole(tool, minicity, tmp_path_factory):
    """The copy that one undisturbed process writes."""
    out = tmp_path_factory.mktemp('whole') / 'copy'
    tool.main([str(minicity), str(out), '--num-workers', '0', *CELLS])
    return out


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob('*') if path.is_file()}


def test_layout_and_manifest(minicity, whole):
    names = [str(path.relative_to(minicity)) for path in minicity.glob('leftImg8bit/val/*/*_leftImg8bit.png')]
    assert len(names) == IMAGES and len({Path(name).parent for name in names}) == 2
    expected = {
        f'{corruption}/{severity}/{name}'
        for corruption in ('shot_noise', 'fog')
        for severity in (2, 5)
        for name in names
    }
    assert set(contents(whole)) == expected | {'corrupted.json'}
    assert json.loads((whole / 'corrupted.json').read_text()) == {'format': 1, 'seed': 0, 'profile': 'rgb'}


def test_a_copy_is_not_continued_with_other_images_or_without_a_manifest(tool, minicity, whole, tmp_path, capsys):
    """Of the same names; and images without a manifest may be anything."""
    out, other = tmp_path / 'copy', tmp_path / 'minicity'
    shutil.copytree(whole, out)
    shutil.copytree(minicity, other)
    next((out / 'fog').rglob('*.png')).unlink()
    for file in (other / 'leftImg8bit/val').rglob('*.png'):
        cv2.imwrite(str(file), 255 - cv2.imread(str(file)))
    before = contents(out)
    for root, sentence in ((other, 'the copy was made of other images'), (minicity, 'but no corrupted.json')):
        with pytest.raises(SystemExit):
            tool.main([str(root), str(out), '--num-workers', '0', *CELLS])
        assert sentence in capsys.readouterr().err and contents(out) == before
        (out / 'corrupted.json').unlink(missing_ok=True)
        before.pop('corrupted.json', None)


@pytest.mark.parametrize('slash', ['', '/'])
@pytest.mark.parametrize('options', [dict(), dict(seed=3, profile='bgr')])
def test_pixels_are_those_of_the_dataset_on_the_fly(tool, minicity, tmp_path, slash, options):
    flags = [part for name, value in options.items() for part in (f'--{name}', str(value))]
    cells = ['--corruptions', 'shot_noise', 'spatter', '--severities', '4']
    tool.main([f'{minicity}{slash}', str(tmp_path), '--num-workers', '0', *cells, *flags])
    for corruption in ('shot_noise', 'spatter'):
        dataset = corrupted_dataset(
            dict(
                type='CityscapesDataset',
                data_root=str(minicity),
                data_prefix=dict(img_path='leftImg8bit/val', seg_map_path='gtFine/val'),
                pipeline=[dict(type='LoadImageFromFile'), dict(type='PackSegInputs')],
            ),
            corruption,
            4,
            **options,
        )
        assert len(dataset) == IMAGES
        for sample in dataset:
            name = Path(sample['data_samples'].img_path).relative_to(minicity)
            written = cv2.imread(str(tmp_path / corruption / '4' / name), cv2.IMREAD_UNCHANGED)
            assert np.array_equal(written, sample['inputs'].permute(1, 2, 0))


def test_processes_write_the_same(tool, minicity, whole, tmp_path, capsys):
    tool.main([str(minicity), str(tmp_path), '--num-workers', '2', *CELLS])
    assert contents(tmp_path) == contents(whole)
    printed = capsys.readouterr().out
    assert '16 files to write, 0 are there already: about 4.92e-05 GB, at most 9.83e-05 GB; ' in printed
    assert f'16 files written, 0 were there already: {tmp_path}' in printed


def test_continued(tool, minicity, whole, tmp_path, capsys):
    tool.main([str(minicity), str(tmp_path), '--num-workers', '0', *CELLS])
    files = sorted(tmp_path.rglob('*.png'))
    for file in files[::3]:
        file.with_name(f'{file.name}.12ab.tmp').write_bytes(file.read_bytes()[:100])  # a process was killed
        file.unlink()
    untouched = {file: file.stat().st_mtime_ns for file in files if file.exists()}
    capsys.readouterr()
    tool.main([str(minicity), str(tmp_path), '--num-workers', '2', *CELLS])
    assert '6 files to write, 10 are there already' in capsys.readouterr().out
    assert {file: file.stat().st_mtime_ns for file in untouched} == untouched
    found = contents(tmp_path)
    assert {name: content for name, content in found.items() if not name.endswith('.tmp')} == contents(whole)
    tool.main([str(minicity), str(tmp_path), '--num-workers', '2', *CELLS])
    assert '0 files to write, 16 are there already' in capsys.readouterr().out


@pytest.mark.parametrize('stop', [signal.SIGINT, signal.SIGKILL])
def test_interrupted_and_continued(tool, tmp_path, stop):
    """The whole process group, as a terminal does it."""
    root, out = tmp_path / 'minicity', tmp_path / 'out'
    num_images = 12  # enough work to be stopped in, also where this process is the one that waits for a core
    write_minicity(root, MiniCityParams(num_train=1, num_val=num_images, num_acdc=0, size=(256, 128)))
    arguments = [str(root), str(out), '--preset', 'severity5', '--num-workers', '2']
    command = [sys.executable, str(TOOL), *arguments]
    process = subprocess.Popen(
        command,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a shell's background jobs ignore it
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 120
    while len(list(out.rglob('*.png'))) < 3 and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.002)
    os.killpg(process.pid, stop)
    printed, errors = process.communicate(timeout=60)
    files = list(out.rglob('*.png'))
    assert 3 <= len(files) < 16 * num_images, 'stopped too early or too late to prove anything, or not at all'
    assert all(cv2.imread(str(file)).shape == (128, 256, 3) for file in files)
    if stop == signal.SIGINT:
        assert process.returncode == 130 and 'Traceback' not in errors
        assert 'the same command continues' in printed
        assert not list(out.rglob('*.tmp'))
    before = {file: file.stat().st_mtime_ns for file in files}
    tool.main(arguments)
    assert {file: file.stat().st_mtime_ns for file in files} == before
    assert len(list(out.rglob('*.png'))) == 16 * num_images
    assert not list(out.rglob('*.tmp'))


def test_only_what_dead_processes_of_this_machine_have_left_is_removed(tool, minicity, tmp_path):
    dead = subprocess.Popen(['true'])
    dead.wait()
    here = socket.gethostname()
    for owner in (f'{here}.{dead.pid}', f'{here}.{os.getpid()}', f'other.{dead.pid}'):
        (tmp_path / f'x.png.{owner}.tmp').touch()
    tool.main([str(minicity), str(tmp_path), '--num-workers', '0', '--corruptions', 'fog', '--severities', '1'])
    assert sorted(path.name for path in tmp_path.glob('*.tmp')) == sorted(
        [f'x.png.{here}.{os.getpid()}.tmp', f'x.png.other.{dead.pid}.tmp']
    )


@pytest.mark.parametrize('num_workers', ['0', '1'])
def test_a_full_disk_leaves_nothing_behind(tool, minicity, tmp_path, monkeypatch, capsys, num_workers):
    tool.main([str(minicity), str(tmp_path), '--num-workers', '0', '--corruptions', 'fog', '--severities', '1'])
    before = contents(tmp_path)

    def full(_):
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr(os, 'fsync', full)  # worker processes are forked, and inherit it
    with pytest.raises(SystemExit) as stopped:
        tool.main([str(minicity), str(tmp_path), '--num-workers', num_workers, *CELLS])
    assert stopped.value.code == 2
    assert 'No space left on device' in capsys.readouterr().err
    assert contents(tmp_path) == before


@pytest.mark.parametrize(
    ('options', 'sentence'),
    [
        (['--seed', '1'], 'seed 0 there, 1 asked for'),
        (['--profile', 'bgr'], "profile 'rgb' there, 'bgr' asked for"),
        (['--corruptions', 'dust'], "got 'dust'"),
        (['--severities', '6'], 'severity must be 1 to 5, got 6'),
        (['--num-workers', '-1'], '--num-workers must be 0 or more, got -1'),
        (['--images', 'leftImg8bit/test'], 'leftImg8bit/test/**/*_leftImg8bit.png'),
        (['--suffix', '.jpg'], 'leftImg8bit/val/**/*.jpg'),
    ],
)
def test_bad_input_is_one_sentence_and_writes_nothing(tool, minicity, whole, capsys, options, sentence):
    before = contents(whole)
    with pytest.raises(SystemExit) as stopped:
        tool.main([str(minicity), str(whole), '--num-workers', '0', *CELLS, *options])
    assert stopped.value.code == 2
    error = capsys.readouterr().err.strip()
    assert sentence in error and len(error.splitlines()) == 1
    assert contents(whole) == before


def test_copies_among_the_clean_images_are_refused(tool, minicity, capsys):
    before = contents(minicity)
    with pytest.raises(SystemExit):
        tool.main([str(minicity), str(minicity / 'leftImg8bit/val/c'), '--num-workers', '0'])
    assert 'OUT must lie outside the folder of the clean images' in capsys.readouterr().err
    assert contents(minicity) == before


@pytest.mark.parametrize('num_workers', ['0', '2'])
@pytest.mark.parametrize(
    ('content', 'sentence'),
    [
        (lambda whole: whole[:-40], ' is broken: '),
        (
            lambda whole: cv2.imencode('.png', np.zeros((20, 40, 3), np.uint8))[1].tobytes(),
            ': image must be at least 32 x 32 pixels, got 40 x 20',
        ),
    ],
)
def test_a_bad_image_is_named(tool, tmp_path, capsys, num_workers, content, sentence):
    root = tmp_path / 'minicity'
    write_minicity(root, MiniCityParams(num_train=1, num_val=2, num_acdc=0, size=(64, 32)))
    bad = sorted(root.glob('leftImg8bit/val/*/*.png'))[-1]
    bad.write_bytes(content(bad.read_bytes()))
    with pytest.raises(SystemExit) as stopped:
        tool.main([str(root), str(tmp_path / 'out'), '--num-workers', num_workers, *CELLS])
    assert stopped.value.code == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert str(bad) in error and sentence in error
    assert not any((tmp_path / 'out').rglob(f'{bad.name}*'))

import os
from pathlib import Path

import cv2
import numpy as np
import pytest
from mmengine.registry import DATASETS

from mmrobust.datasets import ImageNetP, imagenet_p
from mmrobust.datasets.imagenet_p import read_frames
from mmrobust.datasets.imagenet_variants import WNIDS
from mmrobust.evaluation.statistics.perturbation_stability import EXTRA_PERTURBATIONS, PERTURBATIONS


def write_video(path: Path, num_frames: int, size: tuple[int, int] = (48, 32)) -> Path:
    """Frames of one colour, blue above red, that get brighter by 20 from frame to frame."""
    path.parent.mkdir(parents=True, exist_ok=True)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*'mp4v'), 1, size)
    if not writer.isOpened():
        pytest.skip('OpenCV cannot write mp4v')
    for index in range(num_frames):
        frame = np.zeros((*size[::-1], 3), np.uint8)
        frame[:16, :, 0] = frame[16:, :, 2] = 40 + 20 * index
        writer.write(frame)
    writer.release()
    return path


def fill(root: Path, video: Path) -> None:
    for wnid in WNIDS:
        (root / wnid).mkdir(parents=True)
        os.link(video, root / wnid / 'b.mp4')


def test_frames(tmp_path):
    frames = read_frames(str(write_video(tmp_path / 'video.mp4', 7)))
    assert frames.shape == (7, 32, 48, 3) and frames.dtype == np.uint8
    for index, frame in enumerate(frames.astype(int)):
        blue, red = frame[4:12].mean((0, 1)), frame[20:28].mean((0, 1))
        assert blue == pytest.approx([40 + 20 * index, 0, 0], abs=8)
        assert red == pytest.approx([0, 0, 40 + 20 * index], abs=8)


def test_dataset(tmp_path):
    snow, noise = write_video(tmp_path / 'snow.mp4', 3), write_video(tmp_path / 'noise.mp4', 5)
    fill(tmp_path / 'p/snow', snow)
    fill(tmp_path / 'p/shot_noise_2', noise)
    os.link(snow, tmp_path / 'p/snow/n01440764/a.MP4')
    (tmp_path / 'p/snow/n01440764/list.txt').write_text('not a video')
    dataset = ImageNetP(tmp_path / 'p', 'snow')
    found = [dataset.get_data_info(index) for index in (0, 1, 2, 1000)]
    assert len(dataset) == 1001 and [info['gt_label'] for info in found] == [0, 0, 1, 999]
    assert [os.path.relpath(info['video_path'], tmp_path / 'p/snow') for info in found] == [
        *('n01440764/a.MP4', 'n01440764/b.mp4', 'n01443537/b.mp4', 'n15075141/b.mp4')
    ]
    assert np.array_equal(dataset[2]['frames'], read_frames(str(snow))) and dataset[2]['gt_label'] == 1
    # a difficulty is another folder for noise, and the same folder for the others
    assert ImageNetP(tmp_path / 'p', 'shot_noise', 2)[0]['frames'].shape[0] == 5
    assert ImageNetP(tmp_path / 'p', 'snow', 2)[0]['frames'].shape[0] == 3
    config = dict(type='mmrobust.ImageNetP', data_root=str(tmp_path / 'p'), perturbation='snow', indices=4)
    assert len(DATASETS.build(config)) == 4


def test_missing_folders(tmp_path):
    sentence = (
        rf'^There is no shot_noise_3 of ImageNet-P in {tmp_path}/p/shot_noise_3: download and unpack its archives from '
        r'https://zenodo.org/records/3565846\.$'
    )
    with pytest.raises(FileNotFoundError, match=sentence):
        ImageNetP(tmp_path / 'p', 'shot_noise', 3)
    fill(tmp_path / 'p/snow', write_video(tmp_path / 'video.mp4', 2))
    (tmp_path / 'p/snow/n01440764/b.mp4').unlink()
    with pytest.raises(ValueError, match=r'has no file \*\.mp4 in 1 of 1000 class folders \(n01440764\)'):
        ImageNetP(tmp_path / 'p', 'snow')
    (tmp_path / 'p/snow/n01440764').rmdir()
    with pytest.raises(ValueError, match=r'has 999 class folders, not the expected 1000: 1 missing \(n01440764\)'):
        ImageNetP(tmp_path / 'p', 'snow')


def test_truncated_video(tmp_path):
    """The index of these files is at their end, so nothing can be read."""
    path = write_video(tmp_path / 'video.mp4', 9)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(
        ValueError, match=rf'^{path} cannot be read as a video: it may be truncated, unpack it again\.$'
    ):
        read_frames(str(path))


def test_video_without_its_last_frames(tmp_path):
    """The index announces them, but what it points to is gone."""
    path = write_video(tmp_path / 'video.mp4', 9)
    data = bytearray(path.read_bytes())
    index = data.index(b'moov') - 4
    data[index // 2 : index] = bytes(index - index // 2)
    path.write_bytes(data)
    with pytest.raises(ValueError, match=rf'^{path} has [1-8] readable frames of 9: it is damaged, unpack it again\.$'):
        read_frames(str(path))


def test_other_files_are_no_sequences(tmp_path):
    with pytest.raises(ValueError, match='has 1 frames, and a sequence needs at least 2'):
        read_frames(str(write_video(tmp_path / 'one.mp4', 1)))
    (tmp_path / 'text.mp4').write_text('not a video')
    with pytest.raises(ValueError, match='cannot be read as a video'):
        read_frames(str(tmp_path / 'text.mp4'))
    with pytest.raises(FileNotFoundError, match=f'There is no video {tmp_path}/none.mp4'):
        read_frames(str(tmp_path / 'none.mp4'))


@pytest.mark.parametrize(
    ('arguments', 'kind', 'sentence'),
    [
        (dict(perturbation='fog'), ValueError, "perturbation must be one of gaussian_noise, .*, got 'fog'"),
        (dict(perturbation='snow', difficulty=4), ValueError, 'difficulty must be 1, 2 or 3, got 4'),
        (dict(perturbation='snow', ann_file='a.txt'), TypeError, 'takes no ann_file'),
    ],
)
def test_wrong_arguments_are_refused_before_files_are_looked_for(tmp_path, arguments, kind, sentence):
    with pytest.raises(kind, match=sentence):
        ImageNetP(tmp_path / 'none', lazy_init=True, **arguments)


def test_its_perturbations_are_those_that_have_numbers():
    assert imagenet_p.PERTURBATIONS == PERTURBATIONS + EXTRA_PERTURBATIONS

import threading
import time

import numpy as np
import pytest

from mmrobust.corruptions import CORRUPTIONS
from mmrobust.evaluation.benchmarks.presets import select_cells
from mmrobust.evaluation.cells import CLEAN, Cell, CellStore, shard
from mmrobust.evaluation.counts import Attacked, Confusion, Flips, Predictions
from mmrobust.evaluation.images import require_names

FOG = Cell('fog', 3)


def _result(names=('a.png', 'b.png')):
    return Confusion.of_matrices({name: np.arange(9).reshape(3, 3) + len(name) for name in names})


def test_round_trip_does_not_depend_on_the_order_of_images(tmp_path):
    store = CellStore(tmp_path, Confusion, {'seed': 0})
    store.write(FOG, _result(('a.png', 'b.png')))
    first = store.path(FOG).read_bytes()
    store.write(FOG, _result(('b.png', 'a.png')))
    assert store.path(FOG).read_bytes() == first
    read = store.read(FOG)
    assert np.array_equal(read.confusion, _result().confusion) and read.confusion.dtype == np.int64
    assert all(np.array_equal(read.images[name], counts) for name, counts in _result().images.items())
    assert store.has(FOG) and not store.has(CLEAN)


def test_what_an_attack_did_is_kept(tmp_path):
    attacked = {'a.png': Attacked(0.5, 2.25, 0, 1), 'b.png': Attacked(0.0, 1e9, 1, 0)}
    store = CellStore(tmp_path, Confusion, {})
    store.write(FOG, Confusion(_result().confusion, _result().images, attacked))
    assert store.read(FOG).attacked == attacked and store.read(FOG).attacked['a.png'].after == 2.25


def test_another_identity_is_refused(tmp_path):
    CellStore(tmp_path, Confusion, {'checkpoint_sha256': 'aa', 'seed': 0})
    CellStore(tmp_path, Confusion, {'checkpoint_sha256': 'aa', 'seed': 0})
    with pytest.raises(ValueError, match=r"checkpoint_sha256 'aa' there and 'bb' here.*another folder"):
        CellStore(tmp_path, Confusion, {'checkpoint_sha256': 'bb', 'seed': 0})


def test_what_differs_is_named_where_it_lies_deep(tmp_path):
    """And where the images lie is said beside it, but is no difference by itself."""
    here = {'merged_config': {'model': {'layers': [dict(kernel=3), dict(kernel=5)]}}, 'data_root': '/a', 'size': [1, 2]}
    CellStore(tmp_path, Confusion, here)
    CellStore(tmp_path, Confusion, here | {'data_root': '/b'})
    other = {
        'merged_config': {'model': {'layers': [dict(kernel=3), dict(kernel=7)]}},
        'data_root': '/b',
        'size': [1, 3],
    }
    with pytest.raises(ValueError, match='of another run') as error:
        CellStore(tmp_path, Confusion, other)
    assert (
        '(merged_config.model.layers.1.kernel 5 there and 7 here; size [1, 2] there and [1, 3] here; '
        "data_root '/a' there and '/b' here)" in str(error.value)
    )


def test_of_images_those_cells_count_that_both_have(tmp_path):
    CellStore(tmp_path, Confusion, {'images_sha256': {'clean': 'a', 'fog_1': 'b'}})
    CellStore(tmp_path, Confusion, {'images_sha256': {'clean': 'a', 'fog_2': 'c'}})
    with pytest.raises(ValueError, match=r"images_sha256\.fog_1 'b' there and 'c' here"):
        CellStore(tmp_path, Confusion, {'images_sha256': {'clean': 'a', 'fog_1': 'c'}})


def test_cells_without_an_identity_or_with_that_of_an_earlier_version_are_refused(tmp_path):
    store = CellStore(tmp_path, Confusion, {'seed': 0})
    store.write(FOG, _result())
    (tmp_path / 'identity.json').write_text('{"seed": 0}')
    with pytest.raises(ValueError, match=r'holds results of another version of mmrobust.*give another folder'):
        CellStore(tmp_path, Confusion, {'seed': 0})
    (tmp_path / 'identity.json').unlink()
    with pytest.raises(ValueError, match=r'has finished cells but no identity\.json.*give another folder'):
        CellStore(tmp_path, Confusion, {'seed': 0})
    assert not (tmp_path / 'identity.json').exists()


@pytest.mark.parametrize('links', [True, False])
def test_of_two_that_start_at_once_one_is_refused(tmp_path, monkeypatch, links):
    """Both see an empty folder, as both processes do that start at the same moment."""
    if not links:
        monkeypatch.setattr('os.link', lambda *_: (_ for _ in ()).throw(PermissionError(1, 'no links here')))
    barrier, refused = threading.Barrier(2), []

    def start(folder, seed):
        barrier.wait()
        try:
            CellStore(folder, Confusion, {'seed': seed})
        except ValueError:
            refused.append(folder)

    monkeypatch.setattr('os.fsync', lambda _: time.sleep(0.001))  # so that the two meet
    folders = [tmp_path / str(index) for index in range(30)]
    for folder in folders:
        threads = [threading.Thread(target=start, args=(folder, seed)) for seed in (0, 1)]
        [thread.start() for thread in threads]
        [thread.join() for thread in threads]
        assert [path.name for path in folder.iterdir()] == ['identity.json']
    assert refused == folders


def test_a_cell_that_is_not_of_the_data(tmp_path):
    def check(cell, counts):
        require_names(counts.images, ['a.png', 'c.png'])

    store = CellStore(tmp_path, Confusion, {}, check)
    store.write(FOG, _result())
    with pytest.raises(ValueError, match=r"fog_3\.json is damaged \(it is of 2 images .* 'b\.png' is only in the file"):
        store.read(FOG)


def test_damaged_cell_is_named(tmp_path):
    store = CellStore(tmp_path, Confusion, {})
    store.write(FOG, _result())
    store.path(FOG).write_text(store.path(FOG).read_text()[:40])
    with pytest.raises(ValueError, match=r'fog_3\.json is damaged.*remove it'):
        store.read(FOG)


def test_full_disk_keeps_what_was_there(tmp_path, monkeypatch):
    store = CellStore(tmp_path, Confusion, {})
    store.write(FOG, _result())
    before = store.path(FOG).read_bytes()

    def full(*_):
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr('os.fsync', full)
    with pytest.raises(OSError, match='No space left on device, nothing was changed'):
        store.write(FOG, _result(('c.png',)))
    assert store.path(FOG).read_bytes() == before
    assert [path.name for path in store.path(FOG).parent.iterdir()] == ['fog_3.json']


@pytest.mark.parametrize('content', ['[1]', 'null', '{"seed"', '"seed"', '[' * 100_000])
def test_a_damaged_identity_is_named(tmp_path, content):
    (tmp_path / 'identity.json').write_text(content)
    with pytest.raises(ValueError, match=rf'^{tmp_path}/identity\.json (must hold|is no JSON|is nested)'):
        CellStore(tmp_path, Confusion, {'seed': 0})


@pytest.mark.parametrize(
    ('kind', 'content'),
    [
        (Confusion, '{"confusion": 5, "images": {}}'),
        (Confusion, '{"confusion": [[1, 2]], "images": {}}'),
        (Confusion, '{"confusion": [[1]], "images": {"a.png": [[1], [1]]}}'),
        (Confusion, '{"confusion": [[1000000000000000000000]], "images": {}}'),
        (Confusion, '{"confusion": [[9223372036854775807]], "images": {"a.png": [[9223372036854775807]]}}'),
        (Confusion, '{"confusion": [[-1]], "images": {"a.png": [[-1], [-1], [-1]]}}'),
        (Confusion, '{"confusion": [[1.5]], "images": {"a.png": [[1.5], [1.5], [1.5]]}}'),
        (Confusion, '{"confusion": [[2]], "images": {"a.png": [[1], [1], [1]]}}'),  # not their sum
        (Confusion, '{"confusion": [[0, 1], [0, 0]], "images": {"a.png": [[0, 0], [0, 1], [0, 1]]}}'),
        (Confusion, '{"confusion": [[2]], "images": {"a.png": [[2], [1], [1]], "b.png": [[0], [1], [1]]}}'),
        *(
            (Confusion, f'{{"confusion": [[2]], "attacked": {attacked}, "images": {{"a.png": [[2], [2], [2]]}}}}')
            for attacked in (
                '{}',
                '{"b.png": [0.5, 1.5, 0, 0]}',
                '{"a.png": [0.5, 1.5, 0]}',
                '{"a.png": [0.5, -1.5, 0, 0]}',
                '{"a.png": [0.5, NaN, 0, 0]}',
                '{"a.png": [0.5, 1.5, 2, 0]}',
                '{"a.png": [0.5, 1.5, 0, true]}',
                '[1]',
            )
        ),
        (Predictions, '{"images": {"a.png": [1, Infinity]}}'),
        (Predictions, '{"images": {"a.png": [1, 1.5]}}'),
        (Predictions, '{"images": {"a.png": [-1, 0]}}'),
        (Predictions, '{"images": {"a.png": [true, true]}}'),
        (Predictions, '[' * 100_000),
        (Flips, '{"videos": {"a.mp4": [0, 0, 0]}}'),
        (Flips, '{"videos": {"a.mp4": [5, 0, 4]}}'),
        (Flips, '{"videos": {"a.mp4": [1, 61, 4]}}'),
        (Flips, '{"videos": ' * 100_000),
    ],
)
def test_counts_that_are_none(tmp_path, kind, content):
    store = CellStore(tmp_path, kind, {})
    store.path(FOG).parent.mkdir()
    store.path(FOG).write_text(content)
    with pytest.raises(ValueError, match=r'fog_3\.json is damaged .*remove it'):
        store.read(FOG)


@pytest.mark.parametrize('count', [1, 2, 3, 7])
def test_every_cell_is_in_one_shard(count):
    cells = [CLEAN, *select_cells('kamann')]
    parts = [shard(cells, index, count) for index in range(count)]
    assert sorted(cell for part in parts for cell in part) == sorted(cells)


def test_names_are_distinct():
    cells = [CLEAN, *(Cell(name, severity) for name in CORRUPTIONS for severity in (1, 2, 3, 4, 5))]
    assert len({cell.key for cell in cells}) == len(cells)
    assert [Cell.of_key(cell.key) for cell in cells] == cells


@pytest.mark.parametrize('name', ['fog_7', 'fog_0', 'fog_' + '9' * 5000, 'fog_\u0663', 'fog_05'])
def test_what_ends_in_another_number_is_no_severity(name):
    assert Cell.of_key(name) == Cell(name, 0)


def test_a_shard_that_is_none():
    with pytest.raises(ValueError, match='0/3 to 2/3, got 3/3'):
        shard([CLEAN], 3, 3)

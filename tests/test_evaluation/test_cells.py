import numpy as np
import pytest

from mmrobust.corruptions import CORRUPTIONS
from mmrobust.evaluation.benchmarks.presets import select_cells
from mmrobust.evaluation.cells import CLEAN, Cell, CellStore, shard
from mmrobust.evaluation.counts import Confusion, Flips, Predictions

FOG = Cell('fog', 3)


def _result(names=('a.png', 'b.png')):
    return Confusion(np.arange(9).reshape(3, 3), {name: np.arange(9).reshape(3, 3) + len(name) for name in names})


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


def test_another_identity_is_refused(tmp_path):
    CellStore(tmp_path, Confusion, {'checkpoint_sha256': 'aa', 'seed': 0})
    CellStore(tmp_path, Confusion, {'checkpoint_sha256': 'aa', 'seed': 0})
    with pytest.raises(ValueError, match=r"checkpoint_sha256 'aa' there and 'bb' here.*another folder"):
        CellStore(tmp_path, Confusion, {'checkpoint_sha256': 'bb', 'seed': 0})


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
        (Predictions, '{"images": {"a.png": [1, Infinity]}}'),
        (Predictions, '[' * 100_000),
        (Flips, '{"videos": {"a.mp4": [0, 0, 0]}}'),
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

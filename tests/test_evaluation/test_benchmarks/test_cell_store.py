import numpy as np
import pytest

from mmrobust.evaluation.benchmarks import CLEAN, Cell, CellStore, ConfusionResult
from mmrobust.evaluation.benchmarks.class_result import ClassResult
from mmrobust.evaluation.benchmarks.sequence_result import SequenceResult

FOG = Cell('fog', 3)


def _result(names=('a.png', 'b.png')):
    return ConfusionResult(np.arange(9).reshape(3, 3), {name: np.arange(9).reshape(3, 3) + len(name) for name in names})


def test_round_trip_does_not_depend_on_the_order_of_pictures(tmp_path):
    store = CellStore(tmp_path, ConfusionResult, {'seed': 0})
    store.write(FOG, _result(('a.png', 'b.png')))
    first = store.path(FOG).read_bytes()
    store.write(FOG, _result(('b.png', 'a.png')))
    assert store.path(FOG).read_bytes() == first
    read = store.read(FOG)
    assert np.array_equal(read.confusion, _result().confusion) and read.confusion.dtype == np.int64
    assert all(np.array_equal(read.images[name], counts) for name, counts in _result().images.items())
    assert store.has(FOG) and not store.has(CLEAN)


def test_another_identity_is_refused(tmp_path):
    CellStore(tmp_path, ConfusionResult, {'checkpoint_sha256': 'aa', 'seed': 0})
    CellStore(tmp_path, ConfusionResult, {'checkpoint_sha256': 'aa', 'seed': 0})
    with pytest.raises(ValueError, match=r"checkpoint_sha256 'aa' there and 'bb' here.*another folder"):
        CellStore(tmp_path, ConfusionResult, {'checkpoint_sha256': 'bb', 'seed': 0})


def test_damaged_cell_is_named(tmp_path):
    store = CellStore(tmp_path, ConfusionResult, {})
    store.write(FOG, _result())
    store.path(FOG).write_text(store.path(FOG).read_text()[:40])
    with pytest.raises(ValueError, match=r'fog_3\.json is damaged.*remove it'):
        store.read(FOG)


def test_full_disk_keeps_what_was_there(tmp_path, monkeypatch):
    store = CellStore(tmp_path, ConfusionResult, {})
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
        CellStore(tmp_path, ConfusionResult, {'seed': 0})


@pytest.mark.parametrize(
    ('kind', 'content'),
    [
        (ConfusionResult, '{"confusion": 5, "images": {}}'),
        (ConfusionResult, '{"confusion": [[1, 2]], "images": {}}'),
        (ConfusionResult, '{"confusion": [[1]], "images": {"a.png": [[1], [1]]}}'),
        (ConfusionResult, '{"confusion": [[1000000000000000000000]], "images": {}}'),
        (ClassResult, '{"pictures": {"a.png": [1, Infinity]}}'),
        (ClassResult, '[' * 100_000),
        (SequenceResult, '{"videos": {"a.mp4": [0, 0, 0]}}'),
        (SequenceResult, '{"videos": ' * 100_000),
    ],
)
def test_counts_that_are_none(tmp_path, kind, content):
    store = CellStore(tmp_path, kind, {})
    store.path(FOG).parent.mkdir()
    store.path(FOG).write_text(content)
    with pytest.raises(ValueError, match=r'fog_3\.json is damaged .*remove it'):
        store.read(FOG)

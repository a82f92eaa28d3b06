import pytest

from performance.gpu_check.work import Part, limits


def test_each_part_ends_when_its_share_has_passed():
    parts = [Part(name, print, share, needs=1) for name, share in (('a', 10), ('b', 30), ('c', 60))]
    assert limits(parts, 200) == pytest.approx([20, 80, 200])
    assert limits(parts[1:], 90) == pytest.approx([30, 90])

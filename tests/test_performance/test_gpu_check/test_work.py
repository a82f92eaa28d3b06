import pytest

from performance.gpu_check.work import Part, limits


def test_each_group_ends_when_its_share_has_passed():
    groups = [[Part('', print, share, needs=1) for share in shares] for shares in ((10, 5), (30,), (60, 60))]
    assert limits(groups, 200) == pytest.approx([20, 80, 200])
    assert limits(groups[1:], 90) == pytest.approx([30, 90])

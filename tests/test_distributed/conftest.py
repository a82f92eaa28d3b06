from collections.abc import Iterator

import pytest

from tests.test_distributed.ranks import Ranks


@pytest.fixture(scope='session')
def ranks(tmp_path_factory) -> Iterator[Ranks]:
    group = Ranks(tmp_path_factory.mktemp('ranks'))
    yield group
    group.close()

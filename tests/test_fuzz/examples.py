"""How many examples a test draws: few, always the same; many new ones with HYPOTHESIS_PROFILE=thorough (make fuzz)."""

import os
from tempfile import TemporaryDirectory

from hypothesis import HealthCheck, settings
from hypothesis.configuration import set_hypothesis_home_dir

_HOME = TemporaryDirectory(prefix='mmrobust-hypothesis-')  # for its tables of characters: not in the repository
set_hypothesis_home_dir(_HOME.name)

_SHARED = dict(
    deadline=None,  # other programs may have the processor
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
settings.register_profile('ci', **_SHARED, derandomize=True)
settings.register_profile('thorough', **_SHARED, print_blob=True)
_PROFILE = os.environ.get('HYPOTHESIS_PROFILE', 'ci')
settings.load_profile(_PROFILE)


def examples(few: int, many: int) -> settings:
    """Settings of a test: how many examples in the profile ``ci``, and how many in ``thorough``."""
    return settings(max_examples=many if _PROFILE == 'thorough' else few)

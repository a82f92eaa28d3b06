"""No file in the golden folder is silently passed over."""

import pytest

from .conftest import golden_folder
from .test_fan_parity import NAME

LATER = ('rvt', 'swin')  # backbones that the project does not have yet


def test_every_file_has_a_test():
    names = [path.stem for path in golden_folder().glob('*.json')]
    unknown = [name for name in names if not (NAME.match(name) or name.startswith(('adl_', 'corruptions_')))]
    not_yet = [name for name in unknown if any(word in name for word in LATER)]
    assert set(unknown) == set(not_yet)
    if not_yet:
        pytest.skip(f'not covered yet: {", ".join(sorted(not_yet))}')

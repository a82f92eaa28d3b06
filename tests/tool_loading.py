"""Command line tools as modules: they are no part of the package."""

import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from unittest import mock

TOOLS = Path(__file__).resolve().parents[1] / 'tools'


def load_tool(name: str | Path) -> ModuleType:
    """Import a file below ``tools``, anew each time; what lies beside it is found as when it is run."""
    path = TOOLS / name
    spec = spec_from_file_location(f'tool_{path.stem}', path)
    module = module_from_spec(spec)
    with mock.patch.object(sys, 'path', [str(path.parent), *sys.path]):
        spec.loader.exec_module(module)
    return module

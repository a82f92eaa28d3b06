"""Command line tools as modules: they are no part of the package."""

import argparse
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


def tools() -> list[Path]:
    """The files below ``tools`` that are run, not those that lie beside them for their use; those at the top first."""
    files = sorted(TOOLS.glob('**/*.py'), key=lambda path: (len(path.parts), path))
    return [path for path in files if "if __name__ == '__main__'" in path.read_text()]


def parser_of(tool: ModuleType) -> argparse.ArgumentParser:
    """The parser that a tool makes."""

    class Made(BaseException):
        pass

    def stop(parser: argparse.ArgumentParser, *_) -> None:
        raise Made(parser)

    program = mock.patch.object(sys, 'argv', [Path(tool.__file__).name])
    with program, mock.patch.object(argparse.ArgumentParser, 'parse_args', stop):
        try:
            getattr(tool, 'parse_args', tool.main)()
        except Made as made:
            return made.args[0]
    raise AssertionError(f'{tool.__file__} parses no arguments.')

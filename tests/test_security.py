"""Nothing in the package or the tools can run what it reads: read from the source with ``ast``."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

# what runs a text or a file, or a shell
NEVER = {
    'builtins.eval',
    'builtins.exec',
    'builtins.compile',
    'builtins.__import__',
    'dill.load',
    'dill.loads',
    'joblib.load',
    'marshal.load',
    'marshal.loads',
    'mmengine.load',  # also of a pickle, and of YAML with any tag
    'mmengine.fileio.load',
    'os.popen',
    'os.system',
    'pandas.read_pickle',
    'pickle.load',
    'pickle.loads',
    'pickle.Unpickler',
    'shelve.open',
    'subprocess.getoutput',
    'subprocess.getstatusoutput',
    'tempfile.mktemp',
    'torch.hub.load',
    'torch.jit.load',
    'yaml.full_load',
    'yaml.load',
    'yaml.load_all',
    'yaml.unsafe_load',
}
# archives are looked into, never unpacked
NEVER_METHODS = {'extract', 'extractall', 'unpack_archive'}
# the function and the keyword that must have this value, and what it is when it is left out
KEYWORDS = {'torch.load': ('weights_only', True, False), 'numpy.load': ('allow_pickle', False, False)}


def names_of(tree: ast.AST) -> dict[str, str]:
    """What each imported name stands for."""
    names = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.asname or alias.name.split('.')[0]: alias.name if alias.asname else alias.name.split('.')[0]
                      for alias in node.names}  # fmt: skip
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names |= {alias.asname or alias.name: f'{node.module}.{alias.name}' for alias in node.names}
    return names


def full_name(node: ast.AST, names: dict[str, str]) -> str:
    """The dotted name of a function, '' of anything else."""
    if isinstance(node, ast.Attribute):
        of = full_name(node.value, names)
        return f'{of}.{node.attr}' if of else ''
    return names.get(node.id, f'builtins.{node.id}') if isinstance(node, ast.Name) else ''


def dangers(source: str) -> Iterator[str]:
    """Yield everything that could run what is read, as ``'line: name'``."""
    tree = ast.parse(source)
    names = names_of(tree)
    for node in ast.walk(tree):
        # a function that is only named could be called under another name
        name = full_name(node, names) if isinstance(node, ast.Name | ast.Attribute) else ''
        if name in NEVER or (isinstance(node, ast.Attribute) and node.attr in NEVER_METHODS):
            yield f'{node.lineno}: {name or node.attr}'
        if isinstance(node, ast.Call):
            given = {keyword.arg: keyword.value for keyword in node.keywords}
            keyword, needed, default = KEYWORDS.get(full_name(node.func, names), ('shell', False, False))
            value = given.get(keyword, ast.Constant(default))
            if not isinstance(value, ast.Constant) or value.value is not needed:
                yield f'{node.lineno}: {full_name(node.func, names)} without {keyword}={needed}'


def test_nothing_runs_what_it_reads():
    files = [file for folder in ('mmrobust', 'tools') for file in sorted((ROOT / folder).rglob('*.py'))]
    assert len(files) > 100
    found = [f'{file.relative_to(ROOT)}:{danger}' for file in files if '.mim' not in file.parts
             for danger in dangers(file.read_text(encoding='utf-8'))]  # fmt: skip
    assert found == []


def test_shell_scripts_run_no_text():
    lines = [line for file in (ROOT / 'tools').rglob('*.sh') for line in file.read_text().splitlines()]
    assert len(lines) > 20 and not [line for line in lines if {'eval', 'source', '-c'} & set(line.split())]


@pytest.mark.parametrize(
    ('source', 'number'),
    [
        ('import torch\ntorch.load(path, weights_only=True)', 0),
        ('import torch\ntorch.load(path)', 1),
        ('import torch\ntorch.load(path, weights_only=flag)', 1),
        ('import torch as t\nt.load(path, weights_only=False)', 1),
        ('from torch import load\nload(path)', 1),
        ('import numpy as np\nnp.load(path)', 0),
        ('import numpy as np\nnp.load(path, allow_pickle=True)', 1),
        ('import yaml\nyaml.safe_load(text)', 0),
        ('import yaml\nyaml.load(text, yaml.Loader)', 1),
        ('from pickle import loads as read\nread(text)', 1),
        ('import pickle\nread = pickle.load', 1),
        ('import pickle\nraise pickle.UnpicklingError', 0),
        ('eval(text)', 1),
        ('model.eval()', 0),
        ('import re\nre.compile(text)', 0),
        ('import torch\ntorch.compile(model)', 0),
        ('import os\nos.system(text)', 1),
        ('import subprocess\nsubprocess.run([text])', 0),
        ('import subprocess\nsubprocess.run(text, shell=True)', 1),
        ('import subprocess\nsubprocess.Popen(text, shell=flag)', 1),
        ('from zipfile import ZipFile\nZipFile(path).extractall(folder)', 1),
        ('import shutil\nshutil.unpack_archive(path)', 1),
        ('def late():\n    import pickle\n    pickle.load(file)', 1),
    ],
)
def test_checker_sees_a_danger(source, number):
    assert len(list(dangers(source))) == number

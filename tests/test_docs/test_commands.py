"""The commands that README and docs name: each is given to the parser of its tool."""

import functools
import re
import shlex
import warnings
from collections.abc import Iterator

import pytest

from mmrobust.cli import load_config
from tests.tool_loading import TOOLS, load_tool, parser_of

from .pages import REPO, TEXTS, blocks, name, prose

TARGETS = set(re.findall(r'^([a-z-]+):', (REPO / 'Makefile').read_text(), flags=re.MULTILINE))
# what a shell script gives to a tool: how many arguments are its own, and the places of the others
SCRIPTS = {
    'tools/dist_train.sh': ('tools/train.py', [0]),
    'tools/dist_test.sh': ('tools/test.py', [0, 1]),
    'tools/slurm_train.sh': ('tools/train.py', [2]),
    'tools/slurm_test.sh': ('tools/test.py', [2, 3]),
    'tools/slurm_evaluate.sh': ('tools/evaluate_robustness.py', [2, 3]),
}
OWN = {'tools/dist_train.sh': 2, 'tools/dist_test.sh': 3, 'tools/slurm_train.sh': 3}
OTHER_PROGRAMS = {'cd', 'export', 'hf', 'kubectl', 'mkdir', 'pip', 'pytest', 'unzip'}
OTHER_PROGRAMS |= {'diff', 'echo', 'grep', 'ls', 'scancel', 'scontrol', 'squeue', 'tail', 'wc'}
OTHER_PROGRAMS |= {'.venv/bin/pre-commit', 'old/bin/pip', 'tests/slurm/start_slurm.sh', 'tests/slurm/stop_slurm.sh'}
PROGRAMS = {'make', 'python', 'python3.11', 'torchrun', *SCRIPTS, *OTHER_PROGRAMS}


def commands(path) -> Iterator[list[str]]:
    """The words of each command of a text, without settings of the environment in front."""
    text = path.read_text()
    lines = [line for block in blocks(path, 'bash') for line in block.replace('\\\n', ' ').splitlines()]
    for block in blocks(path, 'console'):
        lines += re.findall(r'^\$ (.*)$', block.replace('\\\n', ' '), flags=re.MULTILINE)
    lines += re.findall(r'`((?:python tools/|make )[^`]+)`', prose(text))
    array = re.search(r'^MODELS=\((.+?)\)$', text, flags=re.MULTILINE | re.DOTALL)
    for line in lines:
        if re.match(r'(MODELS=\(| +--model |MIM=)', line):  # an array of the shell; what a program prints
            continue
        line = line.replace('$MIM/', '').replace('"${MODELS[@]}"', array[1].replace('\n', ' ') if array else '')
        lexer = shlex.shlex(line, posix=True, punctuation_chars=';|&')
        lexer.whitespace_split = True
        words, command = [*lexer, ';'], []
        for word in words:
            if word in (';', '&&', '|'):
                while command and re.match(r'\w+=', command[0]):
                    command = command[1:]
                if command:
                    yield command
                command = []
            else:
                command.append(word)


@functools.cache
def parser(tool: str):
    assert (REPO / tool).is_file(), f'there is no {tool}'
    return parser_of(load_tool(REPO / tool))


@pytest.mark.parametrize('path', TEXTS, ids=name)
def test_commands_are_understood(path, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)  # so that no folder of this checkout decides
    for words in commands(path):
        line = shlex.join(words)
        assert words[0] in PROGRAMS, line
        if words[0] == 'make':
            targets = [word for word in words[1:] if '=' not in word]
            assert set(targets) <= TARGETS, line
        for word in words:
            if re.match(r'(configs|tests|tools)/', word):
                assert (REPO / word.split('::')[0]).exists(), line
        places = [place for place, word in enumerate(words) if re.match(r'tools/.*\.(py|sh)$', word)]
        if words[0] == 'kubectl' or not places:
            continue
        tool, arguments = words[places[0]], words[places[0] + 1 :]
        if tool in SCRIPTS:
            script = tool
            tool, taken = SCRIPTS[script]
            arguments = [arguments[place] for place in taken] + arguments[OWN.get(script, 4) :]
        if '...' in arguments:
            continue
        for benchmark in re.findall(r"register_module\(name='([\w-]+)'\)", path.read_text()):  # the page's own
            arguments = ['cityscapes-c' if word == benchmark else word for word in arguments]
        try:
            args = vars(parser(tool).parse_args(arguments))
        except SystemExit as error:
            raise AssertionError(f'{line}: its parser refuses it') from error
        config = args.get('config') or args.get('model')
        if args.get('cfg_options') and isinstance(config, str) and (REPO / config).is_file():
            with warnings.catch_warnings():
                warnings.filterwarnings('error', message='--cfg-options')
                load_config(str(REPO / config), args['cfg_options'])


def test_a_wrong_command_is_found(tmp_path, monkeypatch):
    for wrong in ('python tools/train.py', 'python tools/tset.py CONFIG', 'make domo', 'pyhton tools/train.py CONFIG'):
        page = tmp_path / 'page.md'
        page.write_text(f'```bash\n{wrong}\n```\n')
        with pytest.raises(AssertionError):
            test_commands_are_understood(page, monkeypatch, tmp_path)


@pytest.mark.parametrize('path', TEXTS, ids=name)
def test_paths_exist(path):
    named = re.findall(r'`((?:configs|docs|mmrobust|tests|tools)/[\w./-]+)`', prose(path.read_text()))
    missing = {path for path in named if not (REPO / path).exists() and '/.mim' not in path}  # of an installation
    assert not missing


@pytest.mark.parametrize('path', TEXTS, ids=name)
def test_extras_exist(path):
    setup = (REPO / 'setup.py').read_text()
    for extras in re.findall(r'\.\[([\w,]+)\]', path.read_text()):
        for extra in extras.split(','):
            assert f"'{extra}': [" in setup
    assert 'pip install mmrobust' not in path.read_text() and 'pip install "mmrobust' not in path.read_text()


def test_every_tool_is_documented():
    text = '\n'.join(path.read_text() for path in TEXTS)
    assert not {path.name for path in TOOLS.glob('**/*.sh')} - set(re.findall(r'\w+\.sh', text))

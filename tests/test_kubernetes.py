"""The commands of tools/kubernetes_evaluate.yml, run as Kubernetes would run them; there is no cluster."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.test_evaluate_robustness import TOOL, _contents, files  # noqa: F401 (TOOL: of the fixture tool)

ROOT = Path(__file__).resolve().parents[1]
INDEX = 'JOB_COMPLETION_INDEX'  # what Kubernetes sets in every container of an Indexed Job


@pytest.fixture(scope='module')
def job():
    return yaml.safe_load((ROOT / 'tools/kubernetes_evaluate.yml').read_text())['spec']


def _commands(job):
    """Command and environment of every index, with ``$(NAME)`` replaced in what Kubernetes replaces it in."""
    (container,) = job['template']['spec']['containers']
    for index in range(job['completions']):
        variables = {one['name']: one['value'] for one in container['env']} | {INDEX: str(index)}
        words = container['command'] + container['args']
        yield [re.sub(r'\$\((\w+)\)', lambda name: variables[name[1]], word) for word in words], variables  # noqa: B023


def test_every_index_is_a_shard_of_one_volume(job):
    assert job['completionMode'] == 'Indexed' and job['completions'] == job['parallelism']
    shards = [command[-1] for command, _ in _commands(job)]
    assert shards == [f'--shard={index}/{job["completions"]}' for index in range(job['completions'])]
    pod = job['template']['spec']
    (container,) = pod['containers']
    volumes = {volume['name']: volume for volume in pod['volumes']}
    mounted = {mount['mountPath']: volumes[mount['name']] for mount in container['volumeMounts']}
    assert 'persistentVolumeClaim' in mounted[container['workingDir']]
    # Kubernetes takes backoffLimitPerIndex and podFailurePolicy with this policy only
    assert pod['restartPolicy'] == 'Never'
    assert (ROOT / container['command'][1]).is_file() and (ROOT / container['args'][0]).is_file()


@pytest.mark.slow
def test_its_commands_give_what_one_command_gives(job, files, tmp_path):  # noqa: F811
    """In a checkout whose config and checkpoint are small ones under the manifest's names."""
    results = {}
    for name in ('pods', 'one'):
        folder = tmp_path / name
        commands = list(_commands(job))
        config, checkpoint, out = (folder / word.removeprefix('--out=') for word in commands[0][0][2:5])
        for small, place in ((files / 'toy.py', config), (files / 'toy.pth', checkpoint)):
            place.parent.mkdir(parents=True)
            place.symlink_to(small)
        (folder / 'tools').symlink_to(ROOT / 'tools')
        if name == 'one':
            commands = [([word for word in commands[0][0] if not word.startswith('--shard')], commands[0][1])]
        for number, (command, variables) in enumerate(commands, 1):
            assert not (out / 'results.json').exists()
            environment = os.environ | {'PATH': f'{Path(sys.executable).parent}:{os.environ["PATH"]}'} | variables
            done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
            assert done.returncode == 0, done.stderr[-2000:]
            assert ('left to other processes' in done.stdout) == (number < len(commands))
        results[name] = _contents(out)
    assert results['pods'] == results['one']


def test_a_users_mistake_is_the_exit_code_that_ends_the_job(job, tool, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # where neither config nor checkpoint is
    ((command, _), *_) = _commands(job)
    with pytest.raises(SystemExit) as stopped:
        tool.main(command[2:])
    (rule,) = (rule for rule in job['podFailurePolicy']['rules'] if rule['action'] == 'FailJob')
    assert stopped.value.code in rule['onExitCodes']['values']

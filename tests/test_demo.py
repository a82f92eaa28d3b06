"""The demo gives its tools commands that they take, from whatever folder it is started in."""

import ast
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from mmrobust.cli import load_config
from tests.tool_loading import TOOLS, load_tool


@pytest.fixture(params=['SHORT', 'FULL'])
def recorded(request, tmp_path, monkeypatch):
    """A demo on checkpoints that are there, and the list of what its steps run, parsed by the tools."""
    tool, commands = load_tool('demo.py'), []

    def record(parts, *_, **__):
        commands.extend(
            (name, load_tool(name.removeprefix('tools/')).parse_args(argv)) for name, *argv in parts.values()
        )

    monkeypatch.setattr(tool, 'run', record)
    profile = getattr(tool, request.param)
    demo = tool.Demo(profile, tmp_path, ['--cfg-options', 'model.a=1'], load_config(profile.models['baseline']))
    for folder in demo.folders.values():
        folder.mkdir()
        (folder / 'last_checkpoint').write_text(f'{folder.name}/iter_9.pth\n')
        for benchmark in ('cityscapes-c', 'acdc', 'adversarial'):
            (folder / 'robustness' / benchmark).mkdir(parents=True)
            (folder / 'robustness' / benchmark / 'results.json').write_text('{"results": {}}')
    return demo, commands


def test_figures_are_of_the_last_checkpoints_of_both_models(recorded):
    demo, commands = recorded
    demo.overview()
    out = demo.attention()
    for _, args in commands:
        assert args.model == [
            [name, config, f'{Path(config).stem}/iter_9.pth'] for name, config in demo.profile.models.items()
        ]
        assert args.cfg_options == {'model.a': 1}
    assert [args.out for _, args in commands] == [str(demo.work_dir), *3 * [str(out)]]
    assert {(Path(tool).stem, args.num_images) for tool, args in commands} == {
        ('visualize_segmentation', 2),
        ('attention_statistics', demo.profile.statistics),
        ('visualize_attention', 3),
        ('visualize_segmentation', 3),
    }
    assert commands[0][1].corruptions == ['none', 'fog', 'gaussian_noise'] and commands[0][1].errors


def test_page_and_data_say_which_demo_it_is(recorded):
    demo, commands = recorded
    demo.draw()
    demo.page()
    (_, drawn), (_, page) = commands
    assert drawn.out == demo.data_root and drawn.preview == str(demo.work_dir / 'minicity.png')
    assert page.title.endswith(f'({demo.profile.name})') and page.names == ['baseline', 'TAP + ADL']
    assert [Path(folder).parent for folder in page.results] == [*demo.folders.values()]


def test_config_says_how_its_data_are_drawn():
    demo = load_tool('demo.py')
    config = demo.SHORT.models['baseline']
    command = ast.get_docstring(ast.parse(Path(config).read_text())).replace('\\\n', ' ')
    assert ' '.join(demo.SHORT.minicity) in ' '.join(command.split())
    assert f'--out {load_config(config).data_root.rstrip("/")}' in command


def test_both_models_meet_the_same_images(recorded):
    demo, commands = recorded
    demo.disturb()
    first, second = demo.folders.values()
    shards = [None] if demo.profile.at_once == 1 else ['0/2', '1/2']
    full = demo.profile.name == 'full demo'
    benchmarks = ['cityscapes-c', 'acdc', *(['adversarial'] if full else [])]
    assert {args.calibration for _, args in commands[:2]} == {True if full else None}
    ran = [(args.checkpoint, args.benchmark, args.shard, args.worst_of) for _, args in commands]
    assert ran == [
        (
            f'{folder.name}/iter_9.pth',
            benchmark,
            shard,
            worst_of and str(first / 'robustness' / benchmark / 'results.json'),
        )
        for folder, worst_of in ((first, None), (second, True))
        for benchmark in benchmarks
        for shard in shards
    ]
    assert {args.data_root for _, args in commands} == {None, f'{demo.data_root}/acdc'}
    assert {args.max_images for _, args in commands if args.benchmark == 'cityscapes-c'} <= {12, 20}


def test_logs_are_of_one_command_each(recorded, monkeypatch):
    demo, _ = recorded
    parts = demo._shards(Path('log/acdc.log'), ['tools/evaluate_robustness.py', 'CONFIG', 'CHECKPOINT', '--worst', '3'])
    if demo.profile.at_once == 1:
        assert parts == {Path('log/acdc.log'): ['tools/evaluate_robustness.py', 'CONFIG', 'CHECKPOINT', '--worst', '3']}
    else:
        assert [log.name for log in parts] == ['acdc_0.log', 'acdc_1.log']


def test_the_short_demo_is_short():
    demo = load_tool('demo.py')
    assert sum(demo.SHORT.seconds.values()) <= 360
    assert sum(demo.SHORT.seconds[step] for step in ('draw', 'train', 'test')) <= 180  # until the first number
    assert demo.SHORT.seconds.keys() == demo.FULL.seconds.keys()


def test_constant_class_is_the_best_of_all_classes(tmp_path):
    demo = load_tool('demo.py')
    folder = tmp_path / 'gtFine/val/city'
    folder.mkdir(parents=True)
    label = np.array([[0, 0, 0, 1], [2, 2, 0, 255]], np.uint8)
    assert cv2.imwrite(str(folder / 'a_gtFine_labelTrainIds.png'), label)
    config = load_config(demo.SHORT.models['baseline'], {'val_dataloader.dataset.data_root': str(tmp_path)})
    found = demo.Demo(demo.SHORT, tmp_path, (), config).constant_class()
    assert found == pytest.approx({'mIoU': 100 * (4 / 7) / 3, 'mAcc': 100 / 3, 'aAcc': 400 / 7})


def configs_of(tool) -> list[str]:
    profiles = [tool.SHORT.models, tool.FULL.models] if hasattr(tool, 'SHORT') else [tool.MODELS]
    return [config for models in profiles for config in models.values()]


@pytest.mark.parametrize('tool', ['demo.py', 'demo_classification.py'])
def test_configs_are_found_from_another_folder(tool, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert all(Path(config).is_file() for config in configs_of(load_tool(tool)))
    monkeypatch.chdir(TOOLS.parent)
    assert all(config.startswith('configs/') for config in configs_of(load_tool(tool)))


def test_tools_are_run_from_another_folder(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    commands = load_tool('demo_commands.py')
    tool, configs = 'tools/misc/print_config.py', ('fan_minicity', 'fan_digits')
    parts = {Path(name): [tool, commands.of_project(f'configs/{name}.py')] for name in configs}
    for at_once in (1, 2):
        commands.run(parts, at_once)
        assert all('train_cfg = ' in Path(name).read_text() for name in configs)
    with pytest.raises(SystemExit, match='exit code 2; all of its output is in log'):
        commands.run({Path('log'): [tool, 'configs/fan_minicity.py']})
    assert 'There is no config file' in capsys.readouterr().out


def test_commands_at_once_have_a_thread_each(tmp_path, monkeypatch):
    commands = load_tool('demo_commands.py')
    (tmp_path / 'tool.py').write_text('import torch, sys; print(torch.get_num_threads(), *sys.argv[1:])')
    monkeypatch.setattr(commands, 'PROJECT', tmp_path)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        for at_once in (1, 2):
            commands.run({tmp_path / name: ['tool.py', name] for name in 'ab'}, at_once)
            threads = 2 if at_once == 1 else 1
            assert [(tmp_path / name).read_text() for name in 'ab'] == [f'{threads} a\n', f'{threads} b\n']
    finally:
        torch.set_num_threads(before)


def test_a_failure_ends_what_runs_beside_it(tmp_path, monkeypatch):
    commands = load_tool('demo_commands.py')
    (tmp_path / 'tool.py').write_text('import sys, time; sys.argv[1] == "wrong" and sys.exit(3); time.sleep(60)')
    monkeypatch.setattr(commands, 'PROJECT', tmp_path)
    start = time.monotonic()
    with pytest.raises(SystemExit, match='exit code 3'):
        commands.run({tmp_path / name: ['tool.py', name] for name in ('right', 'wrong', 'later')}, at_once=2)
    assert time.monotonic() - start < 30
    assert not (tmp_path / 'later').exists()

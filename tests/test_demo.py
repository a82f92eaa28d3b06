"""The demo gives its tools commands that they take, from whatever folder it is started in."""

from pathlib import Path

import pytest

from tests.tool_loading import TOOLS, load_tool


def test_figures_are_of_the_last_checkpoints_of_both_models(tmp_path, monkeypatch):
    demo, commands = load_tool('demo.py'), []
    monkeypatch.setattr(demo, 'run', lambda command, log: commands.append(command))
    for name in ('fan_minicity', 'fan_tap_adl_minicity'):
        (tmp_path / name).mkdir()
        (tmp_path / name / 'last_checkpoint').write_text(f'{name}/iter_350.pth\n')
    out = demo.draw_attention(tmp_path, ['--cfg-options', 'model.a=1'])
    parsed = {tool: load_tool(tool.removeprefix('tools/')).parse_args(arguments) for tool, *arguments in commands}
    for args in parsed.values():
        assert args.model == [
            ['baseline', demo.MODELS['baseline'], 'fan_minicity/iter_350.pth'],
            ['TAP + ADL', demo.MODELS['TAP + ADL'], 'fan_tap_adl_minicity/iter_350.pth'],
        ]
        assert (args.out, args.cfg_options) == (str(out), {'model.a': 1})
    assert {Path(tool).stem: (args.corruption, args.num_images) for tool, args in parsed.items()} == {
        'visualize_attention': ('gaussian_noise', 3),
        'attention_statistics': ('gaussian_noise', 40),
        'visualize_segmentation': ('snow', 3),
    }


@pytest.mark.parametrize('tool', ['demo.py', 'demo_classification.py'])
def test_configs_are_found_from_another_folder(tool, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert all(Path(config).is_file() for config in load_tool(tool).MODELS.values())
    monkeypatch.chdir(TOOLS.parent)
    assert all(config.startswith('configs/') for config in load_tool(tool).MODELS.values())


def test_tools_are_run_from_another_folder(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    commands = load_tool('demo_commands.py')
    commands.run(['tools/misc/print_config.py', commands.of_project('configs/fan_minicity.py')], Path('log'))
    assert 'train_cfg = ' in Path('log').read_text()
    with pytest.raises(SystemExit, match='exit code 2; all of its output is in log'):
        commands.run(['tools/misc/print_config.py', 'configs/fan_minicity.py'], Path('log'))
    assert 'There is no config file' in capsys.readouterr().out

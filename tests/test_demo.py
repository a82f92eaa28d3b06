"""The demo gives its tools commands that they take."""

from pathlib import Path

from tests.tool_loading import load_tool


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
            ['baseline', 'configs/fan_minicity.py', 'fan_minicity/iter_350.pth'],
            ['TAP + ADL', 'configs/fan_tap_adl_minicity.py', 'fan_tap_adl_minicity/iter_350.pth'],
        ]
        assert (args.out, args.cfg_options) == (str(out), {'model.a': 1})
    assert {Path(tool).stem: (args.corruption, args.num_images) for tool, args in parsed.items()} == {
        'visualize_attention': ('gaussian_noise', 3),
        'attention_statistics': ('gaussian_noise', 40),
        'visualize_segmentation': ('snow', 3),
    }

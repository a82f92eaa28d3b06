"""An ONNX file of a tiny FAN with TAP: images of any size, the same logits."""

import pytest
import torch
from mmengine.config import Config

from mmrobust.complexity import build

pytest.importorskip('onnxscript')
onnxruntime = pytest.importorskip('onnxruntime')
TOOL = 'export_onnx.py'
TOLERANCE = 1e-4
SIZES = [(32, 48), (64, 32), (48, 80)]
CONFIG = Config(
    dict(
        default_scope='mmseg',
        model=dict(
            type='mmrobust.RobustEncoderDecoder',
            backbone=dict(
                type='mmrobust.FAN',
                arch=dict(embed_dims=16, depth=2, num_heads=2, feature_blocks=(0, 1), stem_depths=(1, 1)),
                tap_cfg=dict(num_branches=3),
            ),
            decode_head=dict(
                type='mmrobust.FANSegformerHead',
                in_channels=[128, 256, 16, 16],
                in_index=[0, 1, 2, 3],
                channels=8,
                num_classes=3,
                norm_cfg=dict(type='BN'),
                align_corners=False,
            ),
            loss_attn=dict(type='mmrobust.AttentionDiversificationLoss'),
        ),
    )
)


@pytest.fixture(scope='module')
def model() -> torch.nn.Module:
    """With random weights everywhere: a layer scale near zero would hide what it scales."""
    model = build(CONFIG).eval()
    generator = torch.Generator().manual_seed(0)
    for name, tensor in model.state_dict().items():
        if tensor.is_floating_point():
            noise = torch.rand(tensor.shape, generator=generator)
            tensor.copy_(0.5 + noise if 'running_var' in name else 0.6 * (noise - 0.5))
    return model


@pytest.fixture(scope='module')
def exported(tool, model) -> bytes:
    return tool.export_onnx(model, SIZES[0])


@pytest.mark.slow
def test_logits_agree_on_every_size(tool, exported, model):
    differences = tool.compare_onnx(exported, model, SIZES)
    assert tool.TOLERANCE == TOLERANCE and len(differences) == 3 and max(differences) <= TOLERANCE
    with torch.no_grad():
        assert model(torch.randn(1, 3, 32, 48)).std() > 100 * TOLERANCE


@pytest.mark.slow
def test_sides_are_free_and_named(exported):
    session = onnxruntime.InferenceSession(exported)
    (images,), (logits,) = session.get_inputs(), session.get_outputs()
    assert images.name == 'images' and images.shape[:2] == [1, 3] and images.shape[2:] == ['16*height', '16*width']
    assert logits.name == 'logits' and logits.shape[:2] == [1, 3]


@pytest.mark.slow
def test_other_weights_are_noticed(tool, exported, model):
    other = build(CONFIG).eval()
    other.load_state_dict(model.state_dict())
    with torch.no_grad():
        other.decode_head.conv_seg.bias[1] += 0.5
    assert tool.compare_onnx(exported, other, SIZES[:1])[0] == pytest.approx(0.5, abs=TOLERANCE)


@pytest.mark.parametrize('worst', [2e-5, 2e-3, float('nan')])
def test_tool_writes_what_agrees(tool, worst, tmp_path, monkeypatch, capsys, model):
    monkeypatch.setattr(tool, 'export_onnx', lambda *_: b'onnx')
    monkeypatch.setattr(tool, 'compare_onnx', lambda content, model, sizes: [1e-6, worst])
    CONFIG.dump(tmp_path / 'config.py')
    torch.save(dict(state_dict=model.state_dict()), tmp_path / 'a.pth')
    argv = [str(tmp_path / 'config.py'), str(tmp_path / 'a.pth'), '--out', str(tmp_path / 'a.onnx')]
    if worst < TOLERANCE:
        tool.main(argv)
        assert '192 x 160: largest difference 2.0e-05' in capsys.readouterr().out
        assert (tmp_path / 'a.onnx').read_bytes() == b'onnx'
    else:
        with pytest.raises(SystemExit):
            tool.main(argv)
        assert 'differ by more than 0.0001' in capsys.readouterr().err
        assert not (tmp_path / 'a.onnx').exists()


def test_tool_refuses_a_size(tool, capsys):
    with pytest.raises(SystemExit):
        tool.main(['config.py', '--out', 'a.onnx', '--size', '40', '64'])
    assert '--size takes multiples of 16, from two times that on, but got 40' in capsys.readouterr().err

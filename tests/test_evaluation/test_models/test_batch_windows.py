import pytest
import torch
from mmengine.config import ConfigDict
from mmseg.models.segmentors import EncoderDecoder  # the import registers the models
from mmseg.registry import MODELS

from mmrobust.evaluation.models.segmentation import batch_windows

CROP, STRIDE = (32, 48), (24, 32)


def _model(align_corners=False, **test_cfg):
    torch.manual_seed(0)
    model = MODELS.build(
        dict(
            type='EncoderDecoder',
            backbone=dict(
                type='MixVisionTransformer', embed_dims=8, num_stages=1, num_layers=[1], num_heads=[1], patch_sizes=[7],
                strides=[4], sr_ratios=[4], out_indices=(0,),
            ),
            decode_head=dict(
                type='FCNHead', in_channels=8, in_index=0, channels=8, num_classes=5, num_convs=1,
                align_corners=align_corners, norm_cfg=dict(type='BN'),
            ),
            test_cfg=ConfigDict(test_cfg or dict(mode='slide', crop_size=CROP, stride=STRIDE)),
        )
    )  # fmt: skip
    torch.nn.init.normal_(model.decode_head.conv_seg.weight)
    return model.eval()


def _metas(inputs):
    return [dict(ori_shape=inputs.shape[2:], img_shape=tuple(inputs.shape[2:]), pad_shape=inputs.shape[2:])] * len(
        inputs
    )


@torch.no_grad()
def _logits(model, inputs):
    return model.inference(inputs, _metas(inputs))


@pytest.mark.parametrize('align_corners', [False, True])
@pytest.mark.parametrize('size', [(64, 96), (57, 131), (32, 48), (20, 90), (20, 30)], ids=str)
def test_equals_mmseg(size, align_corners):
    inputs = torch.randn(2, 3, *size)
    expected = _logits(_model(align_corners), inputs)
    for window_batch in (1, 2, 100):
        model = _model(align_corners)
        batch_windows(model, window_batch)
        found = _logits(model, inputs)
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
        if window_batch == 1:
            assert torch.equal(found, expected)


def test_forward_passes_and_what_the_head_is_told():
    model, seen = _model(), []
    encode_decode = model.encode_decode

    def spy(inputs, metas):
        assert len(metas) == len(inputs)
        assert all(isinstance(meta['img_shape'], torch.Size) and meta['img_shape'] == CROP for meta in metas)
        seen.append(len(inputs))
        return encode_decode(inputs, metas)

    model.encode_decode = spy
    batch_windows(model, 3)
    metas = _metas(torch.empty(2, 3, 64, 96))
    with torch.no_grad():
        model.slide_inference(torch.randn(2, 3, 64, 96), metas)  # 3 x 3 windows
    assert seen == [6, 6, 6] and metas[0]['img_shape'] == (64, 96)


def test_only_this_model_is_changed():
    changed, other = _model(), _model()
    batch_windows(changed, 2)
    assert 'slide_inference' in vars(changed) and 'slide_inference' not in vars(other)
    assert list(changed.state_dict()) == list(other.state_dict())


def test_what_does_not_fit():
    with pytest.raises(ValueError, match='window_batch must be 1 or more, got 0'):
        batch_windows(_model(), 0)
    with pytest.raises(ValueError, match=r"where test_cfg.mode is not 'slide', got 2 and 'whole'"):
        batch_windows(_model(mode='whole'), 2)
    with pytest.raises(ValueError, match=r'stride must be at most crop_size \(32, 48\), got \(33, 32\)'):
        batch_windows(_model(mode='slide', crop_size=CROP, stride=(33, 32)), 2)
    model = _model()
    model.__class__ = type('Own', (EncoderDecoder,), {'slide_inference': lambda self, inputs, metas: inputs})
    with pytest.raises(ValueError, match='must be 1 for Own, got 2'):
        batch_windows(model, 2)

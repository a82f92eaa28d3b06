import pytest
import torch
from mmengine.config import ConfigDict
from mmengine.structures import PixelData
from mmseg.models.segmentors import EncoderDecoder
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample

ADL = dict(type='mmrobust.AttentionDiversificationLoss', tau=1.0)


def _config(tiny_hybrid, loss_attn=ADL, **kwargs):
    head = dict(
        type='mmrobust.FANSegformerHead',
        in_channels=[128, 256, 16, 16],
        in_index=[0, 1, 2, 3],
        channels=8,
        num_classes=5,
        norm_cfg=dict(type='BN'),
        align_corners=False,
        loss_decode=dict(type='CrossEntropyLoss'),
    )
    config = dict(
        type='mmrobust.RobustEncoderDecoder',
        data_preprocessor=dict(type='SegDataPreProcessor', size=(32, 64), test_cfg=dict(size_divisor=16)),
        backbone=dict(type='mmrobust.FAN', arch=tiny_hybrid, tap_cfg=dict(num_branches=2)),
        decode_head=head,
        loss_attn=loss_attn,
        train_cfg=dict(),
        test_cfg=dict(mode='whole'),
    )
    return ConfigDict(config | kwargs)


def _build(config):
    model = MODELS.build(config)
    for block in model.backbone.blocks:  # attention sharp enough for ADL to see
        torch.nn.init.normal_(block.attn.q.weight, std=1.0)
        torch.nn.init.normal_(block.attn.kv.weight, std=1.0)
    return model


def _batch(height=32, width=64):
    samples = [SegDataSample(gt_sem_seg=PixelData(data=torch.randint(0, 5, (1, height, width)))) for _ in range(2)]
    for sample in samples:
        sample.set_metainfo(dict(img_shape=(height, width), ori_shape=(height, width)))
    return dict(inputs=[torch.randint(0, 256, (3, height, width)) for _ in range(2)], data_samples=samples)


def test_adl_is_part_of_the_total(tiny_hybrid):
    model = _build(_config(tiny_hybrid))
    batch = model.data_preprocessor(_batch(), training=True)
    losses = model(**batch, mode='loss')
    assert losses['loss_adl'] > 0
    total, log = model.parse_losses(losses)
    torch.testing.assert_close(total, losses['decode.loss_ce'] + losses['loss_adl'])
    assert set(log) >= {'loss', 'decode.loss_ce', 'loss_adl'}


def test_log_layers_is_logged_and_not_summed(tiny_hybrid):
    model = _build(_config(tiny_hybrid, ADL | dict(log_layers=True)))
    losses = model(**model.data_preprocessor(_batch(), training=True), mode='loss')
    total, log = model.parse_losses(losses)
    torch.testing.assert_close(total, losses['decode.loss_ce'] + losses['loss_adl'])
    assert {'adl_layer_0', 'adl_layer_1'} <= set(log)
    torch.testing.assert_close((log['adl_layer_0'] + log['adl_layer_1']) / 2, log['loss_adl'].detach())


@pytest.mark.parametrize('loss_attn', [None, ADL | dict(loss_weight=0.0)])
def test_without_adl_it_is_the_parent(tiny_hybrid, loss_attn):
    """The heads' losses are those of mmseg's EncoderDecoder: this pins what `loss` restates of it."""
    aux = _config(tiny_hybrid)['decode_head'] | dict(
        type='FCNHead', in_channels=16, in_index=2, input_transform=None, num_convs=1, concat_input=False
    )
    model = _build(_config(tiny_hybrid, loss_attn, auxiliary_head=aux))
    model.decode_head.dropout = model.auxiliary_head.dropout = None
    batch = model.data_preprocessor(_batch(), training=True)
    expected = EncoderDecoder.loss(model, **batch)
    losses = model.loss(**batch)
    assert losses.pop('loss_adl', torch.zeros(())) == 0
    assert set(losses) == set(expected)
    for key, value in expected.items():
        torch.testing.assert_close(losses[key], value)


def test_neck_and_mmseg_segformer_head(tiny_hybrid):
    """mmseg's own head and neck work on FAN's maps."""
    head = _config(tiny_hybrid)['decode_head'] | dict(type='SegformerHead', in_channels=[8] * 4)
    neck = dict(type='FPN', in_channels=[128, 256, 16, 16], out_channels=8, num_outs=4)
    model = _build(_config(tiny_hybrid, decode_head=head, neck=neck))
    losses = model(**model.data_preprocessor(_batch(), training=True), mode='loss')
    assert losses['loss_adl'] > 0 and losses['decode.loss_ce'] > 0


def test_every_parameter_has_a_gradient(tiny_hybrid):
    """So DDP needs no `find_unused_parameters`."""
    model = _build(_config(tiny_hybrid))
    losses = model(**model.data_preprocessor(_batch(), training=True), mode='loss')
    model.parse_losses(losses)[0].backward()
    assert not [key for key, parameter in model.named_parameters() if parameter.grad is None]


@pytest.mark.parametrize(('height', 'width'), [(32, 64), (37, 61), (16, 100)])
@pytest.mark.parametrize('mode', ['whole', 'slide'])
def test_predicts_images_of_any_size(tiny_hybrid, height, width, mode):
    test_cfg = dict(mode=mode, crop_size=(32, 32), stride=(24, 24))
    model = _build(_config(tiny_hybrid, test_cfg=test_cfg)).eval()
    predictions = model.test_step(_batch(height, width))
    assert [tuple(sample.pred_sem_seg.data.shape) for sample in predictions] == [(1, height, width)] * 2


@pytest.mark.parametrize(
    ('height', 'width', 'seen'),
    [(40, 61, (40, 61)), (20, 61, (32, 61)), (45, 21, (45, 32)), (17, 30, (32, 32)), (32, 32, (32, 32))],
)
def test_sliding_windows_hold_padding_only_where_the_image_is_smaller(tiny_hybrid, height, width, seen):
    """A side of 61 pixels would become 64, and the last window 32 to 64 instead of 29 to 61."""
    model = _build(_config(tiny_hybrid, test_cfg=dict(mode='slide', crop_size=(32, 32), stride=(24, 24)))).eval()
    batch = _batch(height, width)
    images = torch.stack(batch['inputs']).float()
    padded = torch.nn.functional.pad(images, (0, seen[1] - width, 0, seen[0] - height))
    with torch.no_grad():
        expected = model.slide_inference(padded, [{}, {}])[..., :height, :width]
        found = model.test_step(batch)
    for sample, logits in zip(found, expected, strict=True):
        assert torch.equal(sample.seg_logits.data, logits)


def test_acdc_at_full_size_slides_as_released(tiny_hybrid):
    """1820 x 1024 pixels, windows of 1024 and steps of 768: the last ends with the image."""
    test_cfg = dict(mode='slide', crop_size=(1024, 1024), stride=(768, 768))
    model = _build(_config(tiny_hybrid, test_cfg=test_cfg)).eval()
    windows = []
    rows, columns = torch.arange(1024.0)[:, None].expand(-1, 1820), torch.arange(1820.0).expand(1024, -1)
    batch = _batch(1024, 1820)
    batch = dict(inputs=[torch.stack([rows, columns, columns])], data_samples=batch['data_samples'][:1])

    def encode_decode(inputs, metas):
        windows.append([int(inputs[0, channel, row, row]) for channel in (0, 1) for row in (0, -1)])
        return inputs.new_zeros((1, 5, *inputs.shape[2:]))

    model.encode_decode = encode_decode
    model.test_step(batch)
    assert windows == [[0, 1023, first, first + 1023] for first in (0, 768, 796)]


def test_other_backbones_cannot_feed_adl(tiny_hybrid):
    resnet = dict(type='ResNet', depth=18)
    with pytest.raises(TypeError, match='ResNet has no `observe`'):
        MODELS.build(_config(tiny_hybrid, backbone=resnet))
    MODELS.build(_config(tiny_hybrid, loss_attn=None, backbone=resnet))

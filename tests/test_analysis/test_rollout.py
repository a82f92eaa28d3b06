"""Attention rollout, against products of whole maps, among them those that timm computes."""

import pytest
import torch

from mmrobust.analysis import TokenAttention, attention_rollout, has_rollout, rollout_statistics
from mmrobust.models import TimmViT
from mmrobust.models.layers import AttentionView
from mmrobust.ops import Attention


def random_views(number: int = 3, num_prefix_tokens: int = 3, num_registers: int = 1) -> list[AttentionView]:
    shape = (2, 2, 4, num_prefix_tokens + 6, 5)
    return [
        AttentionView(Attention(*2 * torch.randn(shape)), (2, 3), num_prefix_tokens, num_registers=num_registers)
        for _ in range(number)
    ]


def plain_rollout(maps: list[torch.Tensor]) -> list[torch.Tensor]:
    """First row of the product of ``(A_l + I) / 2`` from the last layer to each, for maps ``(B, H, N, N)``."""
    found = []
    product = torch.eye(maps[0].size(-1)).expand_as(maps[0][:, 0])
    for layer in reversed(maps):
        product = product @ (layer.mean(1) + torch.eye(layer.size(-1))) / 2
        found.append(product[:, 0])
    return found[::-1]


@pytest.mark.parametrize('block_entries', [1, 2 * 4 * 9 * 2, 2**22])
def test_equals_the_product_of_whole_maps(block_entries):
    views = random_views()
    found = attention_rollout(views, block_entries)
    for own, plain in zip(found, plain_rollout([view.probs() for view in views]), strict=True):
        torch.testing.assert_close(own, plain)
        torch.testing.assert_close(own.sum(-1), torch.ones(2))
    for own, layer in zip(found, rollout_statistics(views), strict=True):
        shares = own[:, 3:] / own[:, 3:].sum(-1, keepdim=True)
        torch.testing.assert_close(layer['rollout_patches'][:, 0], (-(shares * shares.log()).sum(-1)).exp())


def test_by_hand():
    """All attention of the class token is on patch 4 in both layers, and that of patches on themselves."""
    maps = torch.eye(5)
    maps[0] = torch.eye(5)[4]
    attention = Attention(maps.clamp(min=1e-38).log()[None, None], torch.eye(5)[None, None])
    first, last = attention_rollout([AttentionView(attention, (2, 2), 1)] * 2)
    torch.testing.assert_close(last, torch.tensor([[0.5, 0, 0, 0, 0.5]]))
    torch.testing.assert_close(first, torch.tensor([[0.25, 0, 0, 0, 0.75]]))


@pytest.mark.parametrize(
    'name', ['vit_small_patch14_reg4_dinov2', 'deit3_small_patch16_224', 'vit_small_patch16_dinov3']
)
def test_class_token_and_rollout_are_those_of_the_maps_of_timm(name):
    timm = pytest.importorskip('timm')
    from timm.utils import AttentionExtract

    sizes = dict(img_size=56 if 'patch14' in name else 48, embed_dim=16, depth=3, num_heads=2)
    network = timm.create_model(name, num_classes=0, **sizes)
    for key, parameter in network.named_parameters():
        if 'qkv' in key or 'gamma' in key:
            torch.nn.init.normal_(parameter)
    backbone = TimmViT(name, **sizes).eval()
    backbone.load_state_dict(backbone.adapt_state_dict(network.state_dict()))
    for block in network.blocks:
        block.attn.fused_attn = False
    images = torch.randn(2, 3, *network.patch_embed.img_size)
    with torch.no_grad():
        maps = list(AttentionExtract(network, method='hook')(images).values())
        of_class = backbone(images, TokenAttention(None))[1]
        rollout = attention_rollout(backbone(images, lambda view: view)[1])
    num_patches = of_class[0].shape[2:].numel()
    assert maps[0].std() > 0.1 / maps[0].size(-1)  # it is not flat
    for own, layer in zip(of_class, maps, strict=True):
        expected = layer.size(-1) * layer[:, :, 0, -num_patches:]
        torch.testing.assert_close(own.flatten(2), expected, rtol=1e-4, atol=1e-5)
    for own, plain in zip(rollout, plain_rollout(maps), strict=True):
        torch.testing.assert_close(own, plain, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    'views',
    [
        random_views(num_prefix_tokens=0, num_registers=0),
        random_views(num_prefix_tokens=2, num_registers=2),
        [*random_views(1), *random_views(1, num_prefix_tokens=4)],
        [view._replace(num_windows=1) for view in random_views()],
    ],
    ids=['no class token', 'registers alone', 'fewer tokens in a layer', 'windows'],
)
def test_layers_without_a_rollout(views):
    assert not has_rollout(views)
    assert rollout_statistics(views) == [{}] * len(views)
    with pytest.raises(ValueError, match='must be of layers with one class token and the same tokens'):
        attention_rollout(views)

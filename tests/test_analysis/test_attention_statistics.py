"""Statistics of attention: values worked out by hand, and the formulas written down with whole maps."""

import math

import pytest
import torch

from mmrobust.analysis import AttentionStatistics
from mmrobust.models.layers import AttentionView, WindowAttention
from mmrobust.ops import Attention

N = 16  # a grid of 4 x 4
SINK = torch.zeros(N, N)
SINK[:, 5] = 1
UNIFORM = torch.full((N, N), 1 / N)
# what one token further right attends to, and the last token to the first: four rows end a line of the grid
SHIFTED = torch.eye(N).roll(1, 1)


def view_of(maps: torch.Tensor, hw_shape: tuple[int, int] = (4, 4), num_prefix_tokens: int = 0) -> AttentionView:
    """A view whose probabilities are these: ``softmax(log(A))``."""
    attention = Attention(maps.clamp(min=1e-38).log(), torch.eye(maps.size(-1)).expand_as(maps))
    return AttentionView(attention, hw_shape, num_prefix_tokens)


def statistics_of(maps: torch.Tensor, **options) -> dict[str, torch.Tensor]:
    return AttentionStatistics(**options)(view_of(maps))


@pytest.mark.parametrize(
    ('attention', 'expected'),
    [
        (SINK, (1, 0, 1, 1, 1 / 16, 9 / 16, 1, 1, 0)),  # token 5 is inside the grid: near to 9 tokens
        (torch.eye(N), (3 / 16, 1, 16, 1, 1, 1, 1 / 16, 0, 1 / 16)),
        (
            UNIFORM,
            (3 / 16, 1, 16, 16, 1 / 16, 100 / 256, 1 / 16, 0, 1 / 16),
        ),  # 4 x 4 corners, 8 x 6 edges, 4 x 9 inside
        (SHIFTED, (3 / 16, 1, 16, 1, 0, 12 / 16, 1 / 16, 0, 1 / 16)),
    ],
    ids=['sink', 'identity', 'uniform', 'shifted'],
)
def test_values_by_hand(attention, expected):
    found = statistics_of(attention.expand(2, 3, N, N), top_k=3)
    names = (
        'top_share',
        'column_entropy',
        'effective_tokens',
        'row_effective_tokens',
        'self_share',
        'neighbour_share',
        'sink_share',
        'sink_rate',
        'first_share',
    )
    for name, value in zip(names, expected, strict=True):
        torch.testing.assert_close(found[name], torch.full((2, 3), float(value)), atol=1e-5, rtol=1e-5)
    for name in ('head_similarity_map', 'head_similarity_rows'):  # all heads are the same
        torch.testing.assert_close(found[name], torch.ones(2, 3))


def test_stability_by_hand():
    pairs = [(SINK, SINK), (SINK, torch.eye(N)), (torch.eye(N), SHIFTED), (UNIFORM, torch.eye(N)), (UNIFORM, SINK)]
    clean, corrupted = (torch.stack(maps)[:, None] for maps in zip(*pairs, strict=True))
    found = statistics_of(torch.cat((clean, corrupted)), paired=True)
    # sink and identity share one entry of sixteen; uniform has 1/16 there, and a norm of 1
    expected = torch.tensor([[1], [1 / 16], [0], [1 / 4], [1 / 4]])
    torch.testing.assert_close(found['stability_map'], expected)
    torch.testing.assert_close(found['stability_rows'], expected)


def test_similarity_of_heads_by_hand():
    # sink - identity 1/16, sink - uniform 1/4, identity - uniform 1/4
    found = statistics_of(torch.stack((SINK, torch.eye(N), UNIFORM))[None])
    expected = torch.tensor([[(1 / 16 + 1 / 4) / 2, (1 / 16 + 1 / 4) / 2, 1 / 4]])
    torch.testing.assert_close(found['head_similarity_map'], expected)
    torch.testing.assert_close(found['head_similarity_rows'], expected)


def test_the_two_readings_differ():
    """A sharp row dominates the cosine of whole maps, and counts like all others in the mean over rows."""
    half = torch.cat((torch.eye(N)[: N // 2], UNIFORM[N // 2 :]))
    other = torch.cat((torch.eye(N)[: N // 2].roll(1, 1), UNIFORM[N // 2 :]))
    found = statistics_of(torch.stack((half, other))[:, None], paired=True)
    assert found['stability_map'].item() == pytest.approx(0.5 / (8 + 0.5))
    assert found['stability_rows'].item() == pytest.approx(0.5)


def plain(maps: torch.Tensor, other: torch.Tensor, top_k: int) -> dict[str, torch.Tensor]:
    """The formulas of the module's docstring, for maps ``(H, N, N)`` in double precision."""
    heads, num_tokens, _ = maps.shape
    shares = maps.mean(1)
    entropy = -(shares * shares.log()).sum(-1)
    flat, rows = maps.flatten(1), maps
    pairs = [[b for b in range(heads) if b != a] for a in range(heads)]
    return {
        'top_share': shares.sort(descending=True).values[:, :top_k].sum(-1),
        'column_entropy': entropy / math.log(num_tokens),
        'effective_tokens': entropy.exp(),
        'row_effective_tokens': (-(maps * maps.log()).sum(-1)).exp().mean(-1),
        'self_share': maps.diagonal(dim1=1, dim2=2).mean(-1),
        'sink_share': shares.max(-1).values,
        'sink_rate': (shares.max(-1).values > 0.3).double(),
        'first_share': maps[..., 0].mean(-1),
        'head_similarity_map': torch.stack(
            [torch.cosine_similarity(flat[a], flat[b], dim=-1).mean() for a, b in enumerate(pairs)]
        ),
        'head_similarity_rows': torch.stack(
            [torch.cosine_similarity(rows[a], rows[b], dim=-1).mean() for a, b in enumerate(pairs)]
        ),
        'stability_map': torch.cosine_similarity(flat, other.flatten(1), dim=-1),
        'stability_rows': torch.cosine_similarity(maps, other, dim=-1).mean(-1),
    }


@pytest.mark.parametrize('block_entries', [1, 4 * 3 * 24 * 5, 2**22])
@pytest.mark.parametrize('gated', [False, True])
def test_blocks_of_rows_agree_with_whole_maps(block_entries, gated):
    query, key = 2 * torch.randn(4, 3, 24, 8), torch.randn(4, 3, 24, 8)
    view = AttentionView(Attention(query, key, 2 * torch.rand(3, 24, 24) if gated else None), (4, 6))
    found = AttentionStatistics(paired=True, top_k=4, block_entries=block_entries)(view)
    maps = view.probs().double()
    for index in range(4):
        expected = plain(maps[index], maps[(index + 2) % 4], 4)
        for name, value in expected.items():
            if len(found[name]) == 4 or index < 2:
                torch.testing.assert_close(found[name][index].double(), value, atol=2e-6, rtol=1e-5, msg=name)


def test_neighbours_lie_on_the_grid():
    """Of 4 x 6 tokens: token 0 is near to 1, 6 and 7, and not to 5."""
    for key, near in ((1, 1), (6, 1), (7, 1), (2, 0), (5, 0), (12, 0)):
        maps = torch.eye(24)
        maps[0] = torch.eye(24)[key]
        found = AttentionStatistics()(view_of(maps[None, None], (4, 6)))
        assert found['neighbour_share'].item() == pytest.approx((23 + near) / 24)


def test_prefix_tokens_are_tokens_without_neighbours():
    """A class token in front of 4 x 4 patches: a sink for all, and near to none."""
    maps = torch.zeros(N + 1, N + 1)
    maps[:, 0] = 0.75
    maps += 0.25 * torch.eye(N + 1)
    found = AttentionStatistics(top_k=1)(view_of(maps[None, None], num_prefix_tokens=1))
    assert found['top_share'].item() == pytest.approx(0.75 + 0.25 / 17)
    assert found['self_share'].item() == pytest.approx((1 + 16 * 0.25) / 17)
    assert found['neighbour_share'].item() == pytest.approx(0.25)
    with pytest.raises(ValueError, match='make up its 17 tokens, got 0 and 4 x 4'):
        AttentionStatistics()(view_of(maps[None, None]))


def test_class_token_and_registers():
    """Of a class token, two registers and 2 x 3 patches, against the formulas."""
    query, key = 2 * torch.randn(2, 3, 9, 4), torch.randn(2, 3, 9, 4)
    view = AttentionView(Attention(query, key), (2, 3), 3, num_registers=2)
    found, maps = AttentionStatistics(block_entries=1)(view), view.probs()
    torch.testing.assert_close(found['first_share'], maps[..., 0].mean(-1))
    torch.testing.assert_close(found['register_share'], maps[..., 1:3].sum(-1).mean(-1))
    to_patches = maps[:, :, 0, 3:]
    torch.testing.assert_close(found['class_patch_share'], to_patches.sum(-1))
    shares = to_patches / to_patches.sum(-1, keepdim=True)
    torch.testing.assert_close(found['class_patches'], (-(shares * shares.log()).sum(-1)).exp())


@pytest.mark.parametrize(('num_prefix_tokens', 'num_registers'), [(0, 0), (3, 3)])
def test_without_a_class_token_nothing_is_said_of_it(num_prefix_tokens, num_registers):
    num_tokens = 6 + num_prefix_tokens
    attention = Attention(*torch.randn(2, 1, 2, num_tokens, 4))
    found = AttentionStatistics()(AttentionView(attention, (2, 3), num_prefix_tokens, num_registers=num_registers))
    assert {name for name in found if name.startswith('class')} == set()
    assert ('register_share' in found) == (num_registers > 0)


def test_one_head_has_no_similarity():
    assert not [name for name in statistics_of(UNIFORM[None, None]) if name.startswith('head_similarity')]


@pytest.mark.parametrize('hw_shape', [(8, 8), (8, 12), (6, 10), (4, 4)])
@pytest.mark.parametrize('shifted', [False, True])
def test_windows_are_maps_of_their_own(hw_shape, shifted):
    """Against each window and each region of it cut out of the probabilities by what they can see."""
    layer = WindowAttention(16, 2, 4, shifted)
    x = 4 * torch.randn(4, hw_shape[0] * hw_shape[1], 16)
    found, view = layer(
        x,
        hw_shape,
        observe=lambda view: (AttentionStatistics(paired=True, top_k=2)(view), view),
    )[1]
    probs, (*_, query_regions, key_regions) = view.probs(), view.attention
    windows = len(probs) // 4
    assert windows == view.num_windows
    for image in range(4):
        own, other = (probs[part * windows : (part + 1) * windows] for part in (image, (image + 2) % 4))
        tops, sinks, entropies, counts, flat, rows_cosine = [], [], [], [], [], []
        for index in range(windows):
            regions = (
                [(torch.ones(16, dtype=torch.bool),) * 2]
                if query_regions is None
                else list(zip(query_regions[index], key_regions[index], strict=True))
            )
            for queries, keys in regions:
                if not queries.any():
                    continue
                one, two = (maps[index][:, queries][..., keys] for maps in (own, other))
                torch.testing.assert_close(one.sum(-1), torch.ones_like(one.sum(-1)))  # it sees nothing else
                shares = one.mean(1)
                sinks.append(shares.max(-1).values)
                tops.append(shares.topk(min(2, shares.size(-1))).values.sum(-1))
                entropies.append(torch.special.entr(shares).sum(-1) / math.log(keys.sum()))
                counts.append(queries.sum())
                flat.append((one.flatten(1), two.flatten(1)))
                rows_cosine.append(torch.cosine_similarity(one, two, dim=-1))
        weight = torch.stack(counts)[:, None] / sum(counts)
        torch.testing.assert_close(found['top_share'][image], (torch.stack(tops) * weight).sum(0))
        torch.testing.assert_close(found['column_entropy'][image], (torch.stack(entropies) * weight).sum(0))
        torch.testing.assert_close(found['sink_share'][image], (torch.stack(sinks) * weight).sum(0))
        assert 'first_share' not in found
        if image < 2:
            whole = torch.cosine_similarity(*(torch.cat(parts, 1) for parts in zip(*flat, strict=True)))
            torch.testing.assert_close(found['stability_map'][image], whole)
            torch.testing.assert_close(found['stability_rows'][image], torch.cat(rows_cosine, 1).mean(-1))


def test_what_is_not_allowed():
    with pytest.raises(ValueError, match='top_k must be at least 1, got 0'):
        AttentionStatistics(top_k=0)
    with pytest.raises(ValueError, match='must have an even number, got 3'):
        statistics_of(UNIFORM.expand(3, 1, N, N), paired=True)


def test_a_map_is_square():
    view = AttentionView(Attention(torch.randn(1, 1, 4, 2), torch.randn(1, 1, 9, 2)), (2, 2))
    with pytest.raises(ValueError, match='as many keys as queries, got 9 and 4'):
        AttentionStatistics()(view)

import torch

from mmrobust.models.layers import ClassAttentionBlock, PatchTokenPath


def test_patch_path_is_what_the_block_does_to_patches():
    torch.manual_seed(0)
    block = ClassAttentionBlock(8, num_heads=2, mlp_ratio=4)
    torch.nn.init.normal_(block.gamma1)
    path = PatchTokenPath(8)
    path.load_state_dict({key: block.state_dict()[key] for key in path.state_dict()})
    x = torch.randn(2, 5, 8)
    torch.testing.assert_close(path(x[:, 1:]), block(x)[:, 1:])


def test_class_token_attends_to_all_tokens():
    torch.manual_seed(0)
    attention = ClassAttentionBlock(8, num_heads=2, mlp_ratio=4).attn
    x = torch.randn(1, 5, 8)
    query, key, value = attention.q(x[:, :1]), attention.k(x), attention.v(x)
    heads = []
    for head in (slice(0, 4), slice(4, 8)):
        probs = (query[..., head] @ key[..., head].transpose(1, 2) / 2).softmax(-1)
        heads.append(probs @ value[..., head])
    torch.testing.assert_close(attention(x), attention.proj(torch.cat(heads, -1)))

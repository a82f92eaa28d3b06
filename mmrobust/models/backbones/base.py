"""Base class of the backbones: attention can be observed, and leaves a block already reduced."""

# B batch, N tokens, C channels, L layers

import warnings
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from mmengine.model import BaseModule
from mmengine.runner.checkpoint import CheckpointLoader
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from mmrobust.checkpoint import check_state_dict, weights_of, without_auxiliary_head
from mmrobust.models.layers import Observe, recompute
from mmrobust.origin import origin_of
from mmrobust.registry import MODELS


class AttentionBackbone(BaseModule):
    """Base of the robust backbones.

    ``forward(images, observe=None)`` returns the feature maps ``outs``, a tuple, as every OpenMMLab backbone does.
    Given ``observe``, any function of an :class:`~mmrobust.models.layers.AttentionView`, it returns
    ``(outs, (aux_1, ..., aux_L))`` with what ``observe`` made of each attention layer, first layer first. There is no
    other way to the attention: no hooks, no state on modules. So gradients through ``aux`` survive activation
    checkpointing, ``torch.compile``, AMP and DDP.

    A block is called as ``block(x, hw_shape, observe=observe)`` and returns ``(x, aux)``.

    Args:
        frozen_stages: -1 freezes nothing, 0 the patch and position embeddings, k the first k blocks too. A subclass
            calls ``self.train()`` at the end of its ``__init__``, so that what is frozen is so from the start.
        norm_eval: keep batch norms in evaluation mode while training.
        with_cp: recompute the blocks' activations in the backward pass instead of keeping them.
        init_cfg: ``dict(type='Pretrained', checkpoint=...)`` loads strictly: every tensor of the backbone must be there
            with its shape, else a ValueError names what is missing and what is unexpected.

    Attributes:
        new_parts: in the names of parameters that keep their initial values where pretrained weights have none of them.
    """

    new_parts: Sequence[str] = ()

    def __init__(
        self,
        frozen_stages: int = -1,
        norm_eval: bool = False,
        with_cp: bool = False,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg)
        self.frozen_stages = frozen_stages
        self.norm_eval = norm_eval
        self.with_cp = with_cp

    def check_frozen_stages(self, num_blocks: int, network: str = 'this arch') -> None:
        """Raises a ValueError if ``frozen_stages`` is not within -1 to ``num_blocks``."""
        if not -1 <= self.frozen_stages <= num_blocks:
            raise ValueError(f'frozen_stages must be -1 to {num_blocks} for {network}, got {self.frozen_stages}')

    def stages_to_freeze(self) -> list[nn.Module]:
        """The modules that ``frozen_stages`` names."""
        raise NotImplementedError

    def freeze(self) -> None:
        """What is frozen has no gradient, and is in evaluation mode while the rest trains."""
        if self.frozen_stages >= 0:
            for module in self.stages_to_freeze():
                module.eval().requires_grad_(False)

    def adapt_state_dict(self, state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """A pretrained ``state_dict`` in this backbone's own layout: cuts out ``backbone.`` of a task model."""
        prefix = 'backbone.'
        if any(key.startswith(prefix) for key in state_dict):
            return {key[len(prefix) :]: value for key, value in state_dict.items() if key.startswith(prefix)}
        return dict(state_dict)

    def run_block(
        self, block: nn.Module, x: Tensor, hw_shape: tuple[int, int], observe: Observe | None, **others: Any
    ) -> tuple[Tensor, Any]:
        """``block(x, hw_shape, observe=observe)``, under activation checkpointing where that is asked for.

        ``others`` are further arguments of the block.
        """
        if self.with_cp:
            return recompute(block, x, hw_shape, observe=observe, norms=block, **others)
        return block(x, hw_shape, observe=observe, **others)

    def methods_to_compile(self) -> list[tuple[nn.Module, str]]:
        """What ``torch.compile`` takes one by one, in training: a block's code serves all blocks that are like it."""
        return [(self.patch_embed, 'forward'), (self, 'run_block')]

    def init_weights(self) -> None:
        """Initialise, or load the pretrained weights that ``init_cfg`` names."""
        if not self.init_cfg or self.init_cfg.get('type') != 'Pretrained':
            warnings.warn(
                f'{type(self).__name__} starts from random weights, as for ImageNet; to fine-tune, load weights with '
                "model.backbone.init_cfg=dict(type='Pretrained', checkpoint=PATH)",
                stacklevel=2,
            )
            super().init_weights()
            return
        path = self.init_cfg['checkpoint']
        loaded = CheckpointLoader.load_checkpoint(path, map_location='cpu')
        self.load_pretrained(weights_of(loaded, path), path)
        self._is_init = True

    def load_pretrained(self, weights: Mapping[str, Tensor], source: str) -> None:
        """Load weights in any layout that this backbone knows, called ``source``; ValueError if they do not fit."""
        state_dict = self.adapt_state_dict(without_auxiliary_head(weights, source))
        for part in self.new_parts:
            if not any(part in key for key in state_dict):
                state_dict |= {key: value for key, value in self.state_dict().items() if part in key}
        check_state_dict(self.state_dict(), state_dict, source)
        self.load_state_dict(state_dict)

    def train(self, mode: bool = True) -> 'AttentionBackbone':
        """Training mode, but for what is frozen."""
        super().train(mode)
        if mode:
            self.freeze()
            if self.norm_eval:
                for module in self.modules():
                    if isinstance(module, _BatchNorm):
                        module.eval()
        return self


def check_choice(name: str, value: Any, allowed: Collection[Any]) -> None:
    """Raises a ValueError if the argument ``name`` has a value that is not ``allowed``."""
    if value not in allowed:
        raise ValueError(f'{name} must be one of {allowed}, got {value!r}')


def find_arch(arch: str | dict[str, Any], archs: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
    """The sizes of a network by its name in ``archs``; a dict of sizes is returned as it is."""
    if not isinstance(arch, str):
        return arch
    if arch not in archs:
        raise ValueError(f'arch must be one of {sorted(archs)} or a dict, got {arch!r}')
    return archs[arch]


def stages_of(arch: Mapping[str, Any]) -> tuple[tuple[int, ...], ...]:
    """``embed_dims``, ``depth`` and ``num_heads`` of each stage; a number stands for a network of one stage."""
    values = (arch[key] for key in ('embed_dims', 'depth', 'num_heads'))
    return tuple((value,) if isinstance(value, int) else tuple(value) for value in values)


def check_out_indices(
    out_indices: Sequence[int], count: int, given: Sequence[int] | None = None, network: str = ''
) -> None:
    """Raises a ValueError if ``out_indices``, as ``given`` by the user, do not ascend within 0 to ``count - 1``."""
    if not out_indices or list(out_indices) != sorted({*out_indices} & {*range(count)}):
        given = tuple(out_indices if given is None else given)
        raise ValueError(f'out_indices must be ascending and within 0 to {count - 1}{network}, got {given}')


def check_size(size: Sequence[int], patch_size: tuple[int, int], dense: bool) -> None:
    """Raises a ValueError if patches do not fill images of this height and width.

    ``dense`` is whether the backbone makes maps, for MMSegmentation, or else features for a classifier of MMPretrain,
    whose preprocessors pad by options of different names.
    """
    if size[0] % patch_size[0] or size[1] % patch_size[1]:
        divisor = max(patch_size)
        option, when = (
            (f'test_cfg=dict(size_divisor={divisor})', ' at test time')
            if dense
            else (f'pad_size_divisor={divisor}', '')
        )
        multiple = ' and '.join(map(str, dict.fromkeys(patch_size)))
        raise ValueError(
            f'height and width of an image or crop must be multiples of {multiple}, got {size[0]} x {size[1]} '
            f'(data_preprocessor.{option} pads images{when})'
        )


def build_tap(tap_cfg: dict | None, embed_dims: int) -> nn.Module | None:
    """The layer in front of a block's self-attention: TAP, or what ``type`` names; None for None."""
    if tap_cfg is None:
        return None
    return MODELS.build({'type': 'mmrobust.TokenAwareAvgPool', **tap_cfg, 'embed_dims': embed_dims})


def init_linear(module: nn.Module) -> None:
    """For ``apply``: the initial values of the linear layers of FAN and Swin; RVT has PyTorch's."""
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def is_released(names: Iterable[str], network: str) -> bool:
    """Whether these are names of a released network, ``'FAN'``, ``'RVT'`` or ``'Swin'``, and not of this project."""
    origin = origin_of(names)
    return origin.is_foreign and origin.network == network


def to_tokens(grid: Tensor) -> tuple[Tensor, tuple[int, int]]:
    """A map ``(B, C, Hp, Wp)`` as tokens ``(B, N, C)``, and the token grid ``(Hp, Wp)``."""
    return grid.flatten(2).transpose(1, 2), (grid.size(2), grid.size(3))


def to_map(x: Tensor, hw_shape: tuple[int, int]) -> Tensor:
    """Tokens ``(B, N, C)`` as a map ``(B, C, Hp, Wp)``; channels-last in memory, nothing is copied."""
    return x.unflatten(1, hw_shape).permute(0, 3, 1, 2)

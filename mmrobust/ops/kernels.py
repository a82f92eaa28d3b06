"""Whether the Triton kernels can run here: asked before they are imported, and told when they could not."""

import warnings
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor

DTYPES = (torch.float32, torch.bfloat16, torch.float16)
_INSTALLED = find_spec('triton') is not None
_failure: str | None = None


def fit(*tensors: Tensor) -> bool:
    """True for CUDA tensors of one dtype that the kernels take, where Triton is installed and no kernel has failed."""
    return (
        _INSTALLED
        and _failure is None
        and tensors[0].dtype in DTYPES
        and all(x.is_cuda and x.dtype == tensors[0].dtype for x in tensors)
    )


def failure() -> str | None:
    """Why the kernels are not used any more in this process; None as long as none has failed."""
    return _failure


def run_or(kernels: Callable[[], Any], otherwise: Callable[[], Any]) -> Any:
    """``kernels()``; and ``otherwise()`` if they cannot be compiled or launched here, with one warning per process.

    Raises:
        torch.OutOfMemoryError: as it comes; other kernels would not fit either.
        RuntimeError: an error of CUDA itself, after which nothing runs any more.
    """
    global _failure
    if _failure is None:
        try:
            return kernels()
        except Exception as error:
            if isinstance(error, torch.OutOfMemoryError) or 'CUDA error' in str(error):
                raise
            lines = str(error).strip().splitlines() or ['']
            _failure = f'{type(error).__name__}: {lines[-1]}'
            warnings.warn(
                f'The Triton kernels of TAP and ADL do not run here, so slower PyTorch code takes over ({_failure}).',
                RuntimeWarning,
                stacklevel=3,
            )
    return otherwise()

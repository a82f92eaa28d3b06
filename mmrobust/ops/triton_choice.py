"""Whether a Triton kernel may be taken: asked before Triton is imported, which works without it."""

import os
from importlib.util import find_spec

import torch
from torch import Tensor

SWITCH = 'MMROBUST_TRITON'


def triton_wanted(x: Tensor) -> bool:
    """True for a CUDA tensor where Triton is installed and the environment variable ``MMROBUST_TRITON`` is 1.

    The kernels agree with the plain formulas in Triton's interpreter and compile for sm_80 and sm_90, but they have not
    run on a GPU yet; that is why they have to be asked for.
    """
    # torch.compile makes kernels of its own
    return (
        not torch.compiler.is_compiling()
        and x.is_cuda
        and x.dtype in (torch.float32, torch.bfloat16, torch.float16)
        and os.environ.get(SWITCH) == '1'
        and find_spec('triton') is not None
    )

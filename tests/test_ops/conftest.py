"""What the tests of the Triton kernels share: an interpreter, and a compiler for a GPU that need not be there."""

import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import pytest


@pytest.fixture(scope='module')
def interpreter():
    """Runs a function in a process in which Triton interprets, which it is to be told before it is imported."""
    with ProcessPoolExecutor(1, multiprocessing.get_context('spawn')) as pool:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv('TRITON_INTERPRET', '1')
            pool.submit(int).result()  # starts the process
        yield lambda function, *args: pool.submit(function, *args).result()


@pytest.fixture(params=[80, 90])
def compiled(request, monkeypatch, tmp_path):
    """The names and machine code of all kernels of a test, which are compiled for a GPU that need not be there."""
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.runtime import JITFunction, driver

    if not (Path(triton.__file__).parent / 'backends/nvidia/bin/ptxas').is_file():
        pytest.skip('needs ptxas, which this build of Triton comes without')
    kernels = []
    run = JITFunction.run

    def only_compile(kernel, *args, warmup, **options):
        kernels.append((kernel.__name__, run(kernel, *args, warmup=True, **options)))

    monkeypatch.setenv('TRITON_CACHE_DIR', str(tmp_path))
    monkeypatch.setattr(JITFunction, 'run', only_compile)
    target = GPUTarget('cuda', request.param, 32)
    pretended = SimpleNamespace(
        get_current_device=lambda: request.param, get_current_stream=lambda _: 0, get_current_target=lambda: target
    )
    monkeypatch.setattr(driver, '_active' if hasattr(driver, '_active') else 'active', pretended)  # the latter in 3.4
    return kernels

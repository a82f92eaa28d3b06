"""A model as an ONNX file that takes pictures of any size, compared with the model before it is handed out."""

import io
from collections.abc import Sequence

import torch
from torch import nn

__all__ = ['TOLERANCE', 'compare_onnx', 'export_onnx']

TOLERANCE = 1e-4  # largest absolute difference of a logit between ONNX Runtime and PyTorch
_MISSING = 'an ONNX file needs onnx, onnxscript and onnxruntime: run `pip install "mmrobust[export]"`'


def export_onnx(model: nn.Module, size: tuple[int, int], multiple: int = 16, opset: int | None = None) -> bytes:
    """The ONNX file of a segmentor or classifier: normalised ``images`` ``(1, 3, H, W)`` to its ``logits``.

    These are what the model's ``mode='tensor'`` gives: of a FAN segmentor ``(1, classes, H / 4, W / 4)``. Normalising
    before, and resizing to the picture and sliding a window after, are left to who runs it.

    Args:
        model: in evaluation mode, on the CPU.
        size: height and width of the picture to trace with; both stay free in the file.
        multiple: what sides must be multiples of, 16 for FAN.
        opset: version of ONNX's operators; None for the one that PyTorch's exporter prefers.

    Raises:
        ImportError: a package of the extra ``export`` is missing.
    """
    try:
        import onnxscript  # noqa: F401 - PyTorch's own message does not say where it comes from
    except ImportError:
        raise ImportError(_MISSING) from None
    sides = {2: multiple * torch.export.Dim('height', min=2), 3: multiple * torch.export.Dim('width', min=2)}
    with torch.no_grad():
        program = torch.onnx.export(
            model,
            (torch.zeros(1, 3, *size),),
            dynamo=True,
            dynamic_shapes=(sides,),
            input_names=['images'],
            output_names=['logits'],
            opset_version=opset,
            verbose=False,
        )
    content = io.BytesIO()
    program.save(content)
    return content.getvalue()


def compare_onnx(content: bytes, model: nn.Module, sizes: Sequence[tuple[int, int]], seed: int = 0) -> list[float]:
    """Largest absolute difference of the logits of an ONNX file and of its model, for noise of each size.

    Args:
        content: of the ONNX file.
        model: in evaluation mode, on the CPU.
        sizes: heights and widths.
        seed: of the noise, which is standard normal as normalised pictures are.

    Raises:
        ImportError: a package of the extra ``export`` is missing.
    """
    try:
        import onnxruntime
    except ImportError:
        raise ImportError(_MISSING) from None
    session = onnxruntime.InferenceSession(content, providers=['CPUExecutionProvider'])
    generator = torch.Generator().manual_seed(seed)
    differences = []
    for size in sizes:
        images = torch.randn(1, 3, *size, generator=generator)
        with torch.no_grad():
            expected = model(images)
        (logits,) = session.run(None, {'images': images.numpy()})
        differences.append((torch.from_numpy(logits) - expected).abs().max().item())
    return differences

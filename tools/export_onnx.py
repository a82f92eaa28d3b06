"""Write a model as an ONNX file for images of any size, after ONNX Runtime has agreed with PyTorch.

python tools/export_onnx.py configs/fan_tap_adl_cityscapes.py checkpoint.pth --out fan_tap_adl.onnx
python tools/export_onnx.py configs/fan_tap_adl_minicity.py --out try.onnx          # random weights, to try it out
python tools/export_onnx.py CONFIG CHECKPOINT --out model.onnx --opset 18

The file takes normalised images and gives logits. Nothing is written if the two differ by more than 1e-4.
It needs `pip install onnx onnxscript onnxruntime`.
"""

import argparse
import io
import sys
from collections.abc import Sequence

from mmrobust import cli  # first: it checks the OpenMMLab stack, and prepares it for Config.fromfile

# isort: split
import torch
from mmengine.runner import CheckpointLoader
from torch import nn

from mmrobust.checkpoint import fitting
from mmrobust.complexity import build
from mmrobust.files import write_whole

SIZES = [[128, 256], [192, 160]]
TOLERANCE = 1e-4  # largest absolute difference of a logit between ONNX Runtime and PyTorch
_MISSING = 'an ONNX file needs onnx, onnxscript and onnxruntime: run `pip install onnx onnxscript onnxruntime`'


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = cli.Parser(__doc__)
    parser.add_argument('config', help='config file')
    parser.add_argument('checkpoint', nargs='?', help='checkpoint file (default: random weights, to try it out)')
    parser.add_argument('--out', type=cli.output_file, required=True, help='file to write, such as model.onnx')
    parser.add_argument('--opset', type=int, help="version of ONNX's operators (default: what PyTorch prefers)")
    parser.add_argument(
        '--size',
        type=int,
        nargs=2,
        action='append',
        metavar=('HEIGHT', 'WIDTH'),
        help='image to compare with, may be given several times; the first is traced too '
        f'(default: {" and ".join(f"{height} x {width}" for height, width in SIZES)})',
    )
    parser.add_argument(
        '--multiple', type=int, default=16, help='what sides must be multiples of (default: %(default)s, as for FAN)'
    )
    cli.add_cfg_options(parser)
    args = parser.parse_args(argv)
    for side in (side for size in args.size or SIZES for side in size):
        if args.multiple < 1 or side < 2 * args.multiple or side % args.multiple:
            parser.error(f'--size takes multiples of {args.multiple}, from two times that on, but got {side}.')
    return args


def export_onnx(model: nn.Module, size: tuple[int, int], multiple: int = 16, opset: int | None = None) -> bytes:
    """The ONNX file of a segmentor or classifier: normalised ``images`` ``(1, 3, H, W)`` to its ``logits``.

    These are what the model's ``mode='tensor'`` gives: of a FAN segmentor ``(1, classes, H / 4, W / 4)``. Normalising
    before, and resizing to the image and sliding a window after, are left to who runs it.

    Args:
        model: in evaluation mode, on the CPU.
        size: height and width of the image to trace with; both stay free in the file.
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
        seed: of the noise, which is standard normal as normalised images are.

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


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    sizes = [tuple(size) for size in args.size or SIZES]
    with cli.one_sentence():
        model = build(cli.load_config(args.config, args.cfg_options)).eval()
        if args.checkpoint:
            cli.require_file(args.checkpoint, 'checkpoint')
            loaded = CheckpointLoader.load_checkpoint(args.checkpoint, map_location='cpu')
            model.load_state_dict(fitting(model, loaded, args.checkpoint))
        content = export_onnx(model, sizes[0], args.multiple, args.opset)
        differences = compare_onnx(content, model, sizes)
        for (height, width), difference in zip(sizes, differences, strict=True):
            print(f'{height} x {width}: largest difference {difference:.1e}')
        if not all(difference <= TOLERANCE for difference in differences):  # NaN is no agreement either
            raise ValueError(f'ONNX Runtime and PyTorch differ by more than {TOLERANCE}, so {args.out} is not written')
        write_whole(args.out, content)
    print(f'{args.out}: {len(content) / 1e6:.1f} MB')


if __name__ == '__main__':
    sys.exit(main())

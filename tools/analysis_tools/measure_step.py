"""Time and peak memory of one training step and one prediction of a segmentation config, on random pictures.

python tools/analysis_tools/measure_step.py configs/fan_tap_adl_cityscapes.py --picture 512 1024
"""

import argparse
import resource
import time

from mmrobust import cli  # first: it checks the OpenMMLab stack

# isort: split
import torch
from mmengine.device import get_device
from mmengine.registry import init_default_scope
from mmengine.structures import PixelData
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description='Measure one training step and one prediction.')
    parser.add_argument('config', nargs='?', default='configs/fan_tap_adl_cityscapes.py', help='default: %(default)s')
    parser.add_argument('--batch-size', type=int, default=1, help='crops of the training step (default: 1)')
    parser.add_argument(
        '--picture', type=int, nargs=2, default=(512, 1024), metavar=('H', 'W'), help='size of the predicted picture'
    )
    parser.add_argument(
        '--sharpen',
        type=float,
        default=6.0,
        help='factor on the initial query and key weights: a fresh network attends almost uniformly, where ADL is 0 '
        '(default: %(default)s)',
    )
    cli.add_cfg_options(parser)
    return parser.parse_args(argv)


def sample(num_classes: int, height: int, width: int) -> tuple[torch.Tensor, SegDataSample]:
    """A random picture ``(3, H, W)`` in 0 to 255, and its random label."""
    label = PixelData(data=torch.randint(0, num_classes, (1, height, width)))
    metainfo = dict(img_shape=(height, width), ori_shape=(height, width))
    return torch.randint(0, 256, (3, height, width), dtype=torch.uint8), SegDataSample(
        gt_sem_seg=label, metainfo=metainfo
    )


def peak_gib() -> float:
    """Largest memory of this process so far, in GiB: of the device if there is one, else resident memory."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 2**30
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    with cli.one_sentence():
        config = cli.load_config(args.config, args.cfg_options)
        init_default_scope(config.default_scope)
        torch.manual_seed(0)
        model = MODELS.build(config.model).to(get_device())
    with torch.no_grad():
        for block in model.backbone.blocks:
            block.attn.q.weight *= args.sharpen
            block.attn.kv.weight[: len(block.attn.q.weight)] *= args.sharpen
    num_classes = model.decode_head.num_classes
    size = config.model.data_preprocessor.size

    print(f'{args.config} on {get_device()}, {torch.get_num_threads()} threads')
    print(f'peak memory with the model built: {peak_gib():.2f} GiB')
    pictures, labels = zip(*(sample(num_classes, *size) for _ in range(args.batch_size)), strict=True)
    start = time.perf_counter()
    losses = model(**model.data_preprocessor(dict(inputs=list(pictures), data_samples=list(labels)), True), mode='loss')
    if 'loss_adl' in losses:
        weight = model.backbone.blocks[0].attn.q.weight
        (grad,) = torch.autograd.grad(losses['loss_adl'], weight, retain_graph=True)
        print(f'ADL {losses["loss_adl"].item():.4f}, norm of its gradient in the first block {grad.norm().item():.3e}')
    model.parse_losses(losses)[0].backward()
    seconds = time.perf_counter() - start
    without = [name for name, parameter in model.named_parameters() if parameter.grad is None]
    print(f'training step, {args.batch_size} x {size[0]} x {size[1]}: {seconds:.1f} s, peak {peak_gib():.2f} GiB')
    print(f'parameters without a gradient: {without or "none"}')

    picture, label = sample(num_classes, *args.picture)
    start = time.perf_counter()
    (result,) = model.eval().test_step(dict(inputs=[picture], data_samples=[label]))
    seconds = time.perf_counter() - start
    print(f'prediction of a {args.picture[0]} x {args.picture[1]} picture: {seconds:.1f} s, labels '
          f'{tuple(result.pred_sem_seg.data.shape)}')  # fmt: skip


if __name__ == '__main__':
    main()

"""What each form of ADL rewards: descent on the loss alone, over the free logits of one attention map.

python tools/analysis_tools/adl_forms.py --out work_dirs/adl_forms
python tools/analysis_tools/adl_forms.py --tau 1
python tools/analysis_tools/adl_forms.py --tokens 196 --steps 1000

No network and no data: N x N logits, softmax, one head, Adam. Starts are logits of standard deviation 1, the same with
a column that everyone attends to (a sink, +3), with a sink and a diagonal (+2), and with a diagonal alone. Prints what
became of each, and the two plateaus, where there is no gradient; draws the maps as PNG, SVG and CSV.
"""

import argparse
from pathlib import Path

from mmrobust import cli  # first: it checks the OpenMMLab stack

# isort: split
import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from figure_files import write_figure
from mmrobust.analysis import AttentionStatistics
from mmrobust.models.layers import AttentionView
from mmrobust.ops import ADL_MODES, Attention, attention_diversification
from mmrobust.visualization.attention_panels import CSV_HEADER, HeatMap, panel_grid, panel_rows

STARTS = {  # added to noise: to the first column, to the diagonal
    'noise': (0.0, 0.0),
    'sink': (3.0, 0.0),
    'sink + diagonal': (3.0, 2.0),
    'diagonal': (0.0, 2.0),
}
PLATEAUS = {  # standard deviation of the noise, sink
    'flat: all entries below the threshold': (0.1, 0.0),
    'complete sink: one kept entry in each row': (0.1, 8.0),
}
LEARNING_RATE = 0.05


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = cli.Parser(__doc__)
    parser.add_argument('--tokens', type=int, default=64, help='N (default: %(default)s)')
    parser.add_argument('--tau', type=float, default=2.0, help="ADL's threshold (default: %(default)s)")
    parser.add_argument('--steps', type=int, default=300, help='steps of Adam (default: %(default)s)')
    parser.add_argument('--seed', type=int, default=0, help='of the noise (default: %(default)s)')
    parser.add_argument(
        '--out', type=cli.output_folder, default='work_dirs/adl_forms', help='output folder (default: %(default)s)'
    )
    return parser.parse_args(argv)


def start(num_tokens: int, seed: int, noise: float = 1.0, sink: float = 0.0, diagonal: float = 0.0) -> Tensor:
    """Logits ``(N, N)``: noise of this standard deviation, and more on the first column and on the diagonal."""
    logits = noise * torch.randn(num_tokens, num_tokens, generator=torch.Generator().manual_seed(seed))
    logits[:, 0] += sink
    return logits + diagonal * torch.eye(num_tokens)


def attention_of(logits: Tensor) -> Attention:
    """Attention of one image and one head that has these logits."""
    return Attention(logits[None, None], torch.eye(len(logits), dtype=logits.dtype)[None, None])


def descend(logits: Tensor, mode: str, tau: float, steps: int) -> Tensor:
    """The logits after so many steps of Adam on one form of ADL."""
    logits = logits.clone().requires_grad_()
    optimizer = torch.optim.Adam([logits], LEARNING_RATE)
    for _ in range(steps):
        optimizer.zero_grad()
        attention_diversification(attention_of(logits), tau=tau, mode=mode).backward()
        optimizer.step()
    return logits.detach()


def describe(logits: Tensor, tau: float) -> list[float]:
    """Busiest column, effective tokens of a row, share on the diagonal, and share of rows that keep anything."""
    view = AttentionView(attention_of(logits), (1, len(logits)))
    found = AttentionStatistics()(view)
    active = (logits.softmax(-1) >= tau / len(logits)).any(-1).float().mean()
    names = ('sink_share', 'row_effective_tokens', 'self_share')
    return [*(found[name].item() for name in names), active.item()]


def value_and_gradient(logits: Tensor, mode: str, tau: float) -> tuple[float, float]:
    """The loss, and the largest entry of its gradient, in double precision."""
    logits = logits.double().requires_grad_()
    loss = attention_diversification(attention_of(logits), tau=tau, mode=mode)
    (gradient,) = torch.autograd.grad(loss, logits)
    return loss.item(), gradient.abs().max().item()


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    with cli.one_sentence():
        cli.require_at_least(2, tokens=args.tokens)
        cli.require_at_least(1, steps=args.steps)
        table = Table('start', 'form', title=f'{args.steps} steps, N = {args.tokens}, tau = {args.tau:g}')
        for column in ('busiest column', 'effective tokens of a row', 'on the diagonal', 'active rows', 'ADL'):
            table.add_column(column, justify='right')
        rows = []
        for name, (sink, diagonal) in STARTS.items():
            before = start(args.tokens, args.seed, sink=sink, diagonal=diagonal)
            maps = {'start': before} | {mode: descend(before, mode, args.tau, args.steps) for mode in ADL_MODES}
            for mode, logits in maps.items():
                loss = '' if mode == 'start' else f'{value_and_gradient(logits, mode, args.tau)[0]:.3f}'
                table.add_row(name, mode, *(f'{number:.2f}' for number in describe(logits, args.tau)), loss)
            table.add_section()
            rows.append([HeatMap(args.tokens * of.softmax(-1).numpy(), args.tokens) for of in maps.values()])

        plateaus = Table('plateau', title='value / largest entry of the gradient')
        for mode in ADL_MODES:
            plateaus.add_column(mode, justify='right')
        for name, (noise, sink) in PLATEAUS.items():
            logits = start(args.tokens, args.seed, noise, sink)
            found = [value_and_gradient(logits, mode, args.tau) for mode in ADL_MODES]
            plateaus.add_row(name, *(f'{value:.3f} / {gradient:.0e}' for value, gradient in found))

        panels = rows, [*STARTS], ['start', *ADL_MODES]
        caption = (
            f'One attention map of N = {args.tokens} tokens before, and after {args.steps} steps of Adam '
            f'({LEARNING_RATE:g}) on one form of ADL alone, tau = {args.tau:g}. Colours are multiples of 1 / N, on the '
            'scale of the square root.'
        )
        figure = write_figure(
            panel_grid(*panels), Path(args.out, 'adl_forms'), caption, CSV_HEADER, panel_rows(*panels)
        )
    console = Console(highlight=False)
    console.print(table)
    console.print(plateaus)
    print(f'{figure}, .svg and .csv')


if __name__ == '__main__':
    main()

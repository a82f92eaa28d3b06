"""Where the tokens of an attention map lie in the picture."""

import math

__all__ = ['token_grid']


def token_grid(num_tokens: int, picture_hw: tuple[int, int]) -> tuple[int, int]:
    """Rows and columns ``(Hp, Wp)`` of patch tokens with the picture's proportions.

    Args:
        num_tokens: Hp * Wp.
        picture_hw: height and width of the picture as the network sees it.

    Raises:
        ValueError: no grid of so many tokens has about these proportions.
    """
    wanted = math.log(picture_hw[0] / picture_hw[1])
    divisors = [rows for rows in range(1, num_tokens + 1) if num_tokens % rows == 0]
    off = {rows: abs(math.log(rows * rows / num_tokens) - wanted) for rows in divisors}
    rows = min(divisors, key=off.get)
    if off[rows] > math.log(1.5):
        raise ValueError(
            f'{num_tokens} tokens do not form a grid of the proportions {picture_hw[0]} x {picture_hw[1]}: '
            'are some of them no patches?'
        )
    return rows, num_tokens // rows

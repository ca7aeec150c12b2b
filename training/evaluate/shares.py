"""The interval of a share. Needs no torch, so that the promotion gate has it too."""

from __future__ import annotations

import math


def wilson(right: int, n: int) -> tuple[float, float]:
    """95 % interval of a share (E. B. Wilson, JASA 22, 1927). ValueError for a share of nothing."""
    if not 0 <= right <= n or n < 1:
        raise ValueError(f"{right} of {n} is no share")
    z = 1.959964
    share, width = right / n, z * math.sqrt(right * (n - right) / n + z**2 / 4) / (n + z**2)
    middle = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    # exact at the ends, where rounding would leave 0.999...
    return (0.0 if right == 0 else middle - width), (1.0 if right == n else middle + width)

"""Whether pictures carry a watermark of our key at all, whosever model made them, with a proven bound on false alarms.

`watermark.carries` asks for one payload and needs whole frames; here block spectra are enough, so that the key stays out
of the process that opened the file. A mark is a sum of coefficients under signs that only the key gives. Of pictures
made without the key the signs are independent coin throws, so the sum of any values a under them exceeds t |a| with a
chance of at most exp(-t^2/2), and the sum of 32 such squares obeys the bound of a chi-squared variable with 32 degrees
of freedom: no assumption about pictures enters. References: Hoeffding 1963, doi:10.1080/01621459.1963.10500830; Laurent
and Massart 2000, doi:10.1214/aos/1015957395 (the Chernoff bound of chi-squared).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from assets.marks.watermark import BITS, pattern, signs_of

SOFT_LIMIT = 10.0  # 8-bit units: a coefficient far above a mark's amplitude says no more about it than this one


@dataclass(frozen=True)
class Found:
    """`log10_p`: the chance, at most, that unmarked pictures look as much like a mark of the key, over all that was
    tried. `payload`: the 32 bits of the stretch that looks most like one."""

    log10_p: float
    payload: int


def find_mark(
    windows: Sequence[np.ndarray],
    grid: tuple[int, int],
    corner: tuple[int, int],
    extent: tuple[int, int],
    key: bytes,
    payloads: Iterable[int] = (),
) -> Found | None:
    """Look for a mark in mean block spectra, `float [blocks, coefficients]` a window, of `extent` blocks from `corner`
    of a picture of `grid` blocks (rows, columns each). Payloads that are known to be out there are found more surely.

    None where there is nothing to look at, or the picture is too small to carry a mark.
    """
    if not windows or grid[0] * grid[1] < BITS:
        return None
    rows, columns = (start + np.arange(size) for start, size in zip(corner, extent, strict=True))
    blocks = (rows[:, None] * grid[1] + columns[None, :]).reshape(-1)
    group, chips = (values.reshape(grid[0] * grid[1], -1)[blocks].reshape(-1) for values in pattern(key, *grid))
    known = np.array([signs_of(payload) for payload in payloads]).reshape(-1, BITS)
    best = min((_window(window, group, chips, known) for window in windows), key=lambda found: found.log10_p)
    return Found(round(min(0.0, best.log10_p + math.log10(2 * len(windows))), 3), best.payload)


def _window(spectra: np.ndarray, group: np.ndarray, chips: np.ndarray, known: np.ndarray) -> Found:
    values = spectra.reshape(-1) / (np.abs(spectra.reshape(-1)) + SOFT_LIMIT)
    sums = np.bincount(group, weights=values * chips, minlength=BITS)
    squares = np.bincount(group, weights=values**2, minlength=BITS)
    payload = int("".join("1" if total > 0 else "0" for total in sums), 2)
    logs = [_chi_squared_bound(float((sums**2 / np.maximum(squares, 1e-9)).sum()))]
    if len(known):
        t = max(0.0, float((known @ sums).max()) / math.sqrt(max(float(squares.sum()), 1e-9)))
        logs.append(-t * t / 2 + math.log(len(known)))
    return Found(min(logs) / math.log(10), payload)


def _chi_squared_bound(total: float) -> float:
    """Natural logarithm of a bound on the chance that a chi-squared variable of 32 degrees of freedom is so large."""
    return 0.0 if total <= BITS else BITS / 2 * math.log(total / BITS) - (total - BITS) / 2

"""What the full-resolution luma says that small frames cannot: how fine its detail really is, and its noise.

A picture that was enlarged has a full-size grid and nothing in the upper part of its spectrum. Tiles of the native
luma are transformed, and the spatial frequency from which on a hundredth of the expected power is missing is given as a share
of what the grid could carry: 1 uses every pixel, about 0.6 looks enlarged from half the size. Strong compression
and soft lenses lower it as well, so it raises a suspicion and proves nothing.
"""

from __future__ import annotations

import numpy as np

TILE = 256  # pixels; a 4K frame has 120 of them
TILES = 4  # those with the most detail are looked at: a wall says nothing about a lens
BANDS = 32
GONE = 1e-2  # of the power that natural pictures (1 over frequency squared) would have there


def detail_share(luma: np.ndarray) -> float | None:
    """Share of the grid's resolution that is used, 0 to 1, of uint8 `luma` [h, w]; None where nothing has detail."""
    powers = [power for tile in _busiest(luma) if (power := _power(tile)) is not None]
    if not powers:
        return None
    frequency = (np.arange(BANDS) + 0.5) / BANDS
    upright = np.mean(powers, axis=0) * frequency**2
    gone = upright < GONE * np.median(upright[BANDS // 16 : BANDS // 6])
    first = np.flatnonzero(gone[1:] & gone[:-1])  # two rings in a row: one may be a gap in a pattern
    return float(first[0] / BANDS) if len(first) else 1.0


def _busiest(luma: np.ndarray) -> list[np.ndarray]:
    side = min(TILE, *luma.shape)
    height, width = luma.shape
    tiles = [
        luma[top : top + side, left : left + side]
        for top in np.linspace(0, height - side, max(1, min(3, height // side)), dtype=int)
        for left in np.linspace(0, width - side, max(1, min(4, width // side)), dtype=int)
    ]
    return sorted(tiles, key=_spread, reverse=True)[:TILES]


def _spread(tile: np.ndarray) -> float:
    """Standard deviation of every sixteenth pixel."""
    import cv2

    return float(cv2.meanStdDev(np.ascontiguousarray(tile[::4, ::4]))[1][0, 0])


def _power(tile: np.ndarray) -> np.ndarray | None:
    """Mean power in `BANDS` rings up to the sampling limit; None for a flat tile."""
    import cv2

    if tile.shape != (TILE, TILE) or _spread(tile) < 2:
        return None
    values = (tile - np.float32(cv2.mean(tile)[0])) * _WINDOW
    spectrum = cv2.dft(values, flags=cv2.DFT_COMPLEX_OUTPUT)[: TILE // 2]
    power = spectrum[..., 0] ** 2 + spectrum[..., 1] ** 2
    return np.bincount(_RING, power.ravel(), BANDS + 1)[:BANDS] / _COUNTS


def noise_sigma(luma: np.ndarray) -> float:
    """Standard deviation of the noise in 8-bit units, from the median response to a kernel that ignores edges.

    Kernel of Immerkaer, "Fast noise variance estimation", 1996; the median keeps texture out better than his mean.
    Takes the middle of the native picture: scaling would average the noise away.
    """
    import cv2

    top, left = (max(0, (side - TILE) // 2) for side in luma.shape)
    middle = np.ascontiguousarray(luma[top : top + TILE, left : left + TILE])
    kernel = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], np.float32)
    response = np.abs(cv2.filter2D(middle, cv2.CV_16S, kernel)[1:-1, 1:-1])
    below = np.cumsum(
        np.bincount(response.ravel())
    )  # whole numbers: counting them is a median at a fraction of its cost
    return float(np.searchsorted(below, below[-1] / 2)) * 1.4826 / 6


_WINDOW = np.outer(np.hanning(TILE), np.hanning(TILE)).astype(np.float32)
_radius = np.hypot(*np.meshgrid(np.fft.fftfreq(TILE), np.fft.fftfreq(TILE)[: TILE // 2])) * 2
_RING = np.minimum(_radius.ravel() * BANDS, BANDS).astype(int)  # the last, beyond the sampling limit, is left out
_COUNTS = np.bincount(_RING)[:BANDS]

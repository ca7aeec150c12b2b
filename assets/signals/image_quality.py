"""How good a picture is: light, colour, detail, borders and noise of single frames, and the technical score of a clip.

Small frames come at one fixed size (long side 256), which is what makes their figures comparable between files. Luma is
8-bit here; what table `signals` gives as 0 to 1 is scaled where the clip's values are put together.

Two figures need the full resolution. A picture that was enlarged has a full-size grid and nothing in the upper part of
its spectrum: tiles of the native luma are transformed, and the spatial frequency from which on a hundredth of the
expected power is missing is given as a share of what the grid could carry: 1 uses every pixel, about 0.6 looks enlarged
from half the size. Strong compression and soft lenses lower it as well, so it raises a suspicion and proves nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

BLACK_LUMA = 20  # a pixel at or below is black; limited-range video decodes black to 0 with some noise
BLACK_SHARE = 0.98  # of pixels, for a black frame
FROZEN_LEVELS, FROZEN_SHARE = 4, 2e-4  # a frame is frozen when fewer pixels than this share changed by more than that
BAR_LUMA, BAR_SPREAD = 24, 8  # a line of a black border: dark, and flat from end to end
SHADOW_SHARE = 0.4  # of pixels, the darkest
CLIPPED_LOW, CLIPPED_HIGH = 5, 250
QUALITY_VERSION = "parts-1"
LOWEST = 0.05  # of a part: even the worst leaves the others readable
# signal: (value that is worth nothing, value that is worth all)
PARTS: dict[str, tuple[float, float]] = {
    "sharpness": (3.0, 150.0),  # variance of the Laplacian at 256 pixels, on a logarithmic scale
    "contrast": (0.02, 0.15),
    "clipped_fraction": (0.5, 0.02),
    "noise": (12.0, 2.0),
    "flicker": (0.05, 0.005),
    "freeze_fraction": (0.8, 0.05),
    "black_fraction": (0.5, 0.0),
    "letterbox_fraction": (0.4, 0.02),
}
LOGARITHMIC = {"sharpness"}


@dataclass(frozen=True)
class PictureScores:
    """One sampled frame, in 8-bit units."""

    luma_p05: float
    luma_p50: float
    luma_p95: float
    clipped: float  # share of pixels
    contrast: float
    colourfulness: float
    shadow_saturation: float
    sharpness: float


def score_picture(rgb: np.ndarray, gray: np.ndarray) -> PictureScores:
    """All single-frame scores of uint8 `rgb` [h, w, 3] with its luma `gray` [h, w]."""
    import cv2

    shares = cv2.calcHist([gray], [0], None, [256], [0, 256]).ravel() / gray.size
    below = np.cumsum(shares)
    laplacian = cv2.Laplacian(gray, cv2.CV_32F)
    return PictureScores(
        luma_p05=float(np.searchsorted(below, 0.05)),
        luma_p50=float(np.searchsorted(below, 0.5)),
        luma_p95=float(np.searchsorted(below, 0.95)),
        clipped=float(shares[:CLIPPED_LOW].sum() + shares[CLIPPED_HIGH + 1 :].sum()),
        contrast=float(cv2.meanStdDev(gray)[1][0, 0]),
        colourfulness=colourfulness(rgb),
        shadow_saturation=shadow_saturation(rgb, gray, int(np.searchsorted(below, SHADOW_SHARE))),
        sharpness=float(cv2.meanStdDev(laplacian)[1][0, 0] ** 2),
    )


def colourfulness(rgb: np.ndarray) -> float:
    """Hasler & Suesstrunk, "Measuring colourfulness in natural images", 2003; 0 is grey, 100 and more is vivid."""
    import cv2

    red, green, blue = (plane.astype(np.float32) for plane in cv2.split(rgb))
    (a_mean, a_std), (b_mean, b_std) = (
        (float(v[0][0, 0]), float(v[1][0, 0]))
        for v in (cv2.meanStdDev(red - green), cv2.meanStdDev(0.5 * (red + green) - blue))
    )
    return float(np.hypot(a_std, b_std) + 0.3 * np.hypot(a_mean, b_mean))


def shadow_saturation(rgb: np.ndarray, gray: np.ndarray, below: int) -> float:
    """Mean HSV saturation, 0 to 1, of the pixels whose luma is at most `below`.

    Open sky fills daylight's shadows with nearly neutral light; at night they keep the colour of the lamps or the sky.
    """
    import cv2

    dark = gray[::2, ::2] <= below
    red, green, blue = cv2.split(rgb[::2, ::2])
    brightest = cv2.max(cv2.max(red, green), blue)[dark].astype(np.float32)
    darkest = cv2.min(cv2.min(red, green), blue)[dark]
    return float(np.mean((brightest - darkest) / np.maximum(brightest, 1))) if len(brightest) else 0.0


def is_black(gray: np.ndarray) -> bool:
    return bool(np.count_nonzero(gray <= BLACK_LUMA) >= BLACK_SHARE * gray.size)


def is_frozen(gray: np.ndarray, before: np.ndarray) -> bool:
    """Whether nothing but coding noise changed since the frame before."""
    import cv2

    return bool(np.count_nonzero(cv2.absdiff(gray, before) > FROZEN_LEVELS) < FROZEN_SHARE * gray.size)


def bars(gray: np.ndarray) -> tuple[int, int, int, int]:
    """Lines of flat black at (top, bottom, left, right); all of them in a black frame."""
    return (
        *_flat_run(gray.min(axis=1), gray.max(axis=1)),
        *_flat_run(gray.min(axis=0), gray.max(axis=0)),
    )


def _flat_run(low: np.ndarray, high: np.ndarray) -> tuple[int, int]:
    flat = (high <= BAR_LUMA) & (high.astype(int) - low <= BAR_SPREAD)
    if flat.all():
        return len(flat), len(flat)
    return int(np.argmin(flat)), int(np.argmin(flat[::-1]))


def letterbox_box(
    top: int, bottom: int, left: int, right: int, height: int, width: int
) -> tuple[float, float, float, float]:
    """(left, top, width, height) of the picture inside its borders, as shares.

    A border comes in pairs of like thickness; a dark sky or floor on one side alone is part of the picture.
    """
    top, bottom = _paired(top, bottom, height)
    left, right = _paired(left, right, width)
    return left / width, top / height, 1 - (left + right) / width, 1 - (top + bottom) / height


def _paired(first: int, second: int, length: int) -> tuple[int, int]:
    both = first + second
    if both >= length or min(first, second) < 2 or abs(first - second) > max(3, 0.25 * max(first, second)):
        return 0, 0
    return first, second


def technical_quality(signals: Mapping[str, Any]) -> tuple[float, dict[str, float]]:
    """(score, parts): how usable a clip's pictures are, 0 to 1, whatever they show.

    Each part maps one signal to 0 to 1 by the two values between which it matters; the score is their geometric mean, so
    that no part makes up for another that is missing. A part whose signal is unknown is left out. The score orders clips
    for people; every part has its own check.
    """
    parts = {name: _worth(name, signals[name]) for name in PARTS if signals[name] is not None}
    return float(np.exp(np.mean(np.log(np.maximum(list(parts.values()), LOWEST))))), parts


def _worth(name: str, value: float) -> float:
    worst, best = PARTS[name]
    if name in LOGARITHMIC:
        worst, best, value = (float(np.log(max(1e-6, level))) for level in (worst, best, value))
    return round(float(np.clip((value - worst) / (best - worst), 0, 1)), 4)


# -- detail and noise, at full resolution ----------------------------------------------------------------------------


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

"""Scores of a single small frame (light, colour, detail, blank borders), and the technical score of a clip.

Frames come at one fixed size (long side 256), which is what makes the figures comparable between files. Luma is 8-bit
here; what table `signals` gives as 0 to 1 is scaled where the clip's values are put together.
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

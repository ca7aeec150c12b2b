"""One technical score of a clip, 0 to 1, from its measured parts: how usable the pictures are, whatever they show.

Each part maps one signal to 0 to 1 by the two values between which it matters; the score is their geometric mean, so
that no part makes up for another that is missing. It orders clips for people; every part has its own check.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

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


def technical_quality(signals: Mapping[str, Any]) -> tuple[float, dict[str, float]]:
    """(score, parts); a part whose signal is unknown is left out."""
    parts = {name: _worth(name, signals[name]) for name in PARTS if signals[name] is not None}
    return float(np.exp(np.mean(np.log(np.maximum(list(parts.values()), LOWEST))))), parts


def _worth(name: str, value: float) -> float:
    nothing, all_of_it = PARTS[name]
    if name in LOGARITHMIC:
        nothing, all_of_it, value = (float(np.log(max(1e-6, one))) for one in (nothing, all_of_it, value))
    return round(float(np.clip((value - nothing) / (all_of_it - nothing), 0, 1)), 4)

"""Pictures with known facts."""

from __future__ import annotations

import numpy as np


def texture(seed: int, height: int = 144, width: int = 256) -> np.ndarray:
    """A picture with detail at several scales: uint8 [height, width, 3]."""
    import cv2

    rng = np.random.default_rng(seed)
    picture = np.zeros((height, width, 3), np.float32)
    for cells, strength in ((5, 60.0), (16, 45.0), (48, 35.0)):
        noise = rng.normal(0, strength, (cells * height // width + 2, cells, 3)).astype(np.float32)
        picture += cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC)
    tint = rng.uniform(90, 165, 3)
    return np.clip(picture + tint, 0, 255).astype(np.uint8)


def still(seed: int, frames: int, **size: int) -> np.ndarray:
    return np.repeat(texture(seed, **size)[None], frames, axis=0)

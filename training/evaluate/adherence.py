"""Does a video show what its prompt asked for? On simulated scenes the answer is measured by colour segmentation.

A scene's shapes have one of five colours, which no landscape has. The colour of a video is the one that its pixels come
nearest to; a video without enough of any has none, which is wrong. Rendered scenes themselves are the check of the
method, and the codec's reconstruction of them is what the model can reach.
"""

from __future__ import annotations

import torch
from torch import Tensor

from training.simulate.scene import COLOURS

SPREAD = 25.0  # RGB levels within which a pixel counts for a colour
LEAST = 0.002  # share of all pixels that must


def colour_of(frames_THWC: Tensor) -> str | None:
    """Name of the colour that most of the coloured pixels show, or None."""
    names = sorted(COLOURS)
    palette_KC = torch.tensor([COLOURS[name] for name in names], dtype=torch.float32)
    pixels_NC = frames_THWC.flatten(0, 2).float()
    distance_NK = torch.cdist(pixels_NC, palette_KC)
    weight_K = torch.exp(-(distance_NK**2) / (2 * SPREAD**2)).mean(0)
    best = int(weight_K.argmax())
    return names[best] if weight_K[best] >= LEAST else None

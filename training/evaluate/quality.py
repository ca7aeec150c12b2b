"""How the pictures of a video look, frame by frame and from one to the next.

Flicker is VBench's (arXiv 2311.17982). Its consistency of subject and background is the cosine of each frame's features with
those of the first frame and of the frame before; here the features are an ImageNet network's and a copy descriptor's, where
VBench has DINO's and CLIP's. Its imaging quality is MUSIQ's; here it is BRISQUE's. Seams are what a model that works in cells
leaves at their borders.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from training.evaluate.rows import Metric
from training.networks.brisque import Brisque

FLICKER = Metric("temporal_flicker", "1", "none", "VBench temporal flickering, RGB; 1 is still, v1")
SUBJECT = Metric(
    "subject_consistency", "cosine", "higher", "VBench's rule, EfficientNet-Lite0 (ImageNet) instead of DINO, v1"
)
BACKGROUND = Metric("background_consistency", "cosine", "higher", "VBench's rule, SSCD (distilled) instead of CLIP, v1")
IMAGING = Metric("imaging_quality", "0 to 100", "lower", "BRISQUE of three frames instead of VBench's MUSIQ, v1")
SEAMS = Metric(
    "seam_energy", "1", "lower", "squared steps at token borders over elsewhere; over the real clips' own, v1"
)
LOOKED_AT = 9  # frames of a video that feature networks see, evenly over its length


def some_frames(frames_THWC: Tensor, count: int = LOOKED_AT) -> Tensor:
    """At most `count` of the frames, evenly over the video, first and last among them."""
    if len(frames_THWC) <= count:
        return frames_THWC
    return frames_THWC[torch.linspace(0, len(frames_THWC) - 1, count).round().long()]


def flicker(frames_THWC: Tensor) -> float | None:
    """(255 - mean |change to the next frame|) / 255: 1 is perfectly still."""
    if len(frames_THWC) < 2:
        return None
    x = frames_THWC.float()
    return float((255 - (x[1:] - x[:-1]).abs().mean()) / 255)


def consistency(features_TD: Tensor) -> float | None:
    """Mean over the frames after the first of the cosines with the first frame and with the frame before; None for one."""
    if len(features_TD) < 2:
        return None
    x_TD = F.normalize(features_TD.float(), dim=-1)
    return float(((x_TD[1:] @ x_TD[0]) + (x_TD[1:] * x_TD[:-1]).sum(-1)).mean() / 2)


def imaging(brisque: Brisque, frames_THWC: Tensor) -> float | None:
    """Mean BRISQUE of the first, middle and last frame; None where none of them can be judged."""
    scores = [score for frame in some_frames(frames_THWC, 3) if (score := brisque(frame)) is not None]
    return sum(scores) / len(scores) if scores else None

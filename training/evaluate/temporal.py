"""How a video changes over time, from its pixels alone: flicker, smoothness, and whether it moves at all.

Each takes uint8 [T, H, W, 3] and gives one number a video, or None where the video is too short. Flicker follows
VBench (arXiv 2311.17982); its smoothness and dynamic degree need networks, so the two here have methods of their own.
"""

from __future__ import annotations

from torch import Tensor

MOVING_LEVELS = 40.0  # grey levels a second that the fastest 5 % of pixels must change to count as moving


def flicker(frames_THWC: Tensor) -> float | None:
    """(255 - mean |change to the next frame|) / 255: 1 is perfectly still."""
    if len(frames_THWC) < 2:
        return None
    x = frames_THWC.float()
    return float((255 - (x[1:] - x[:-1]).abs().mean()) / 255)


def smoothness(frames_THWC: Tensor) -> float | None:
    """(255 - mean |frame - mean of its neighbours|) / 255: 1 is motion without jerks, or none."""
    if len(frames_THWC) < 3:
        return None
    x = frames_THWC.float()
    return float((255 - (x[1:-1] - (x[:-2] + x[2:]) / 2).abs().mean()) / 255)


def dynamic(frames_THWC: Tensor, fps: float) -> float | None:
    """1.0 if in at least a quarter of the frame pairs the top 5 % of pixels change by MOVING_LEVELS a second, else 0."""
    if len(frames_THWC) < 2:
        return None
    grey_TN = frames_THWC.float().mean(-1).flatten(1)
    change_TN = (grey_TN[1:] - grey_TN[:-1]).abs() * fps
    top = max(1, change_TN.shape[1] // 20)
    moving_T = change_TN.topk(top, dim=1).values.mean(1) > MOVING_LEVELS
    return float(moving_T.float().mean() >= 0.25)

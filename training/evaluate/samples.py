"""What the pixels of a model's samples say: how they change over time, and whether they repeat training clips.

Frames are uint8 [T, H, W, 3]. Measures over time give one number a video, or None where the video is too short. Flicker
follows VBench (arXiv 2311.17982); its smoothness and dynamic degree need networks, so the two here have methods of their
own. Copies are found by distances between whole videos at a few points in time and space, after Somepalli et al. (arXiv
2212.03860) and Carlini et al. (arXiv 2301.13188):

  copy ratio  distance to the nearest training clip over the distance to the nearest held-out clip, with as many training
              clips as held-out ones. A model that has learned and not memorised is no nearer to the one than the other.
  copies      samples nearer to a training clip than half of what held-out clips ever come. A codec's reconstruction of
              a training clip counts as a copy; that is tested.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from training.model.flow import keyed

MOVING_LEVELS = 40.0  # grey levels a second that the fastest 5 % of pixels must change to count as moving
TIMES, SIDE = 5, 8  # of a descriptor
SHARE = 0.5  # of the 1st percentile of held-out distances
DRAWS = 64


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


def descriptor(frames_THWC: Tensor) -> Tensor:
    """f32 [TIMES * SIDE * SIDE * 3] in 0 to 1: five moments, averaged down to 8 x 8, whatever the aspect."""
    moment_T = torch.linspace(0, len(frames_THWC) - 1, TIMES).round().long()
    x_TCHW = frames_THWC[moment_T].permute(0, 3, 1, 2).float() / 255
    return F.adaptive_avg_pool2d(x_TCHW, SIDE).flatten()


def distances(a_ND: Tensor, b_MD: Tensor) -> Tensor:
    """Root mean square differences, [N, M]."""
    return torch.cdist(a_ND, b_MD) / a_ND.shape[1] ** 0.5


def copy_ratios(made_ND: Tensor, train_MD: Tensor, heldout_KD: Tensor) -> list[float]:
    """For each sample: nearest training distance over nearest held-out distance, mean over equal-sized draws."""
    count = min(len(train_MD), len(heldout_KD))
    to_train_NM, to_held_NK = distances(made_ND, train_MD), distances(made_ND, heldout_KD)
    ratios = []
    for draw in range(DRAWS):
        generator = keyed("copies", draw)
        some_train = torch.randperm(len(train_MD), generator=generator)[:count]
        some_held = torch.randperm(len(heldout_KD), generator=generator)[:count]
        nearest_train = to_train_NM[:, some_train].amin(1)
        ratios.append(nearest_train / to_held_NK[:, some_held].amin(1).clamp_min(1e-6))
    return torch.stack(ratios).mean(0).tolist()


def copied(made: Sequence[Tensor], train_MD: Tensor, heldout_KD: Tensor) -> list[bool]:
    """Whether each descriptor repeats a training clip."""
    floor = distances(heldout_KD, train_MD).amin(1).quantile(0.01)
    nearest = distances(torch.stack(list(made)), train_MD).amin(1)
    return (nearest < SHARE * floor).tolist()

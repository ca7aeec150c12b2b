"""Whether a model's samples repeat training clips, after Somepalli et al. (arXiv 2212.03860) and Carlini et al. (arXiv
2301.13188).

  copy ratio  distance to the nearest training clip over the distance to the nearest held-out clip, with as many training
              clips as held-out ones. A model that has learned and not memorised is no nearer to the one than the other.
  copies      samples nearer to a training clip than half of what held-out clips ever come. A codec's reconstruction of
              a training clip counts as a copy; that is tested.

Two descriptors tell how near. Colours at five moments and 8 x 8 places see a clip that is repeated as it was. SSCD sees one
that was cropped, moved or recoloured as well; where rendered scenes look alike to it, held-out clips do too, and the rule
follows.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from training.evaluate.rows import Metric, Row
from training.model.flow import keyed

RATIO = Metric("copy_ratio", "1", "none", "nearest training over nearest held-out clip, 5x8x8 RGB, v1")
COPIES = Metric("memorised_clips", "samples", "lower", "nearer than half of 1st percentile of held-out, 5x8x8 RGB, v1")
SSCD_RATIO = Metric("copy_ratio_sscd", "1", "none", "nearest training over nearest held-out clip, SSCD of 3 frames, v1")
SSCD_COPIES = Metric(
    "copies_sscd", "samples", "lower", "nearer than half of 1st percentile of held-out, SSCD of 3 frames, v1"
)
TIMES, SIDE = 5, 8  # of a descriptor
SHARE = 0.5  # of the 1st percentile of held-out distances
DRAWS = 64


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


def copy_rows(ratio: Metric, copies: Metric, made_ND: Tensor, train_MD: Tensor, heldout_KD: Tensor) -> list[Row]:
    """The ratio and the number of copies, by one descriptor."""
    count = sum(copied(list(made_ND), train_MD, heldout_KD))
    ratios = copy_ratios(made_ND, train_MD, heldout_KD)
    return [ratio.row("all", ratios), copies.exact("all", float(count), len(made_ND))]

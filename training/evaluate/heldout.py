"""What training itself measures on held-out clips, and chooses the best weights by: flow loss and reconstruction.

Flow loss is the training objective on clips that were not trained on, at fixed times and fixed noise. The same clip meets
the same noise at the same eight times in every run, so two models differ by the models alone. It tracks quality (Open-Sora
report 3) where the training loss, at random times, is mostly noise. The times are quantiles of the logit-normal that
training draws from, at a mean between those of small clips and of large ones. Evenly spaced ones would ask mostly about
noise so faint that nobody sees it, where a predicted clip's error counts 1/t^2.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import chain
from statistics import NormalDist

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from training.data.packing import Sample, collate
from training.model import flow
from training.model.codec import to_bytes, to_unit
from training.model.patches import VideoCodec

MEAN_LOGIT = 1.0
TIMES = tuple(1 / (1 + math.exp(-NormalDist(MEAN_LOGIT).inv_cdf((i + 0.5) / 8))) for i in range(8))


@torch.no_grad()
def flow_loss(model: nn.Module, samples: Sequence[Sample], token_budget: int = 2560) -> Tensor:
    """Loss by clip and time, f32 [clips, 8], all tokens noisy, captions and numbers given. Untrained: about 2.

    `model` is a transformer, or anything else that is called like one (flow_losses.py).
    """
    device = next(chain(model.parameters(), model.buffers())).device
    rows = []
    for group in _groups(samples, token_budget):
        batch = collate(group).to(device)
        given_N = torch.zeros(len(batch.x_NP), dtype=torch.bool, device=device)
        columns = []
        for index, time in enumerate(TIMES):
            noise = [torch.randn(s.x_NP.shape, generator=flow.keyed("heldout", s.clip_id, index)) for s in group]
            e_NP = torch.cat(noise).to(device)
            t_F = torch.full((len(batch.segment_F),), time, device=device)
            v_NP = model(flow.interpolate(batch.x_NP, e_NP, t_F[batch.frame_N]), t_F, given_N, batch)
            columns.append(flow.loss_per_sample(v_NP, flow.velocity(batch.x_NP, e_NP), given_N, batch.segments))
        rows.append(torch.stack(columns, dim=1).cpu())
    return torch.cat(rows)


def _groups(samples: Sequence[Sample], budget: int) -> list[list[Sample]]:
    """Neighbours together, up to the budget, in the given order."""
    groups: list[list[Sample]] = []
    for sample in samples:
        if not groups or sum(len(s.x_NP) for s in groups[-1]) + len(sample.x_NP) > budget:
            groups.append([])
        groups[-1].append(sample)
    return groups


@torch.no_grad()
def reconstruct(codec: VideoCodec, frames_THWC: Tensor) -> Tensor:
    """uint8 frames through the codec and back to uint8 frames."""
    return to_bytes(codec.decode(codec.encode(to_unit(frames_THWC)[None]))[0])


def psnr(a_THWC: Tensor, b_THWC: Tensor) -> float:
    """Peak signal-to-noise ratio in dB of two uint8 videos, over all pixels of the clip; 100 where they are equal."""
    error = (a_THWC.float() - b_THWC.float()).square().mean()
    return float((10 * torch.log10(255**2 / error.clamp_min(255**2 * 1e-10))).item())


def ssim(a_THWC: Tensor, b_THWC: Tensor) -> float:
    """Structural similarity of two uint8 videos: grey, 7x7 uniform window, mean over frames (Wang et al. 2004)."""
    a, b = (x.float().mean(-1)[:, None] for x in (a_THWC, b_THWC))

    def local(x: Tensor) -> Tensor:
        return F.avg_pool2d(x, 7, stride=1)

    mean_a, mean_b = local(a), local(b)
    var_a, var_b = local(a * a) - mean_a**2, local(b * b) - mean_b**2
    covariance = local(a * b) - mean_a * mean_b
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    score = (2 * mean_a * mean_b + c1) * (2 * covariance + c2)
    return float((score / ((mean_a**2 + mean_b**2 + c1) * (var_a + var_b + c2))).mean())

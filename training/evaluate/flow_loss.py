"""Held-out flow loss: the training objective on clips that were not trained on, at fixed times and fixed noise.

The same clip meets the same noise at the same eight times in every run, so two models differ by the models alone. It
tracks quality (Open-Sora report 3) where the training loss, at random times, is mostly noise. The times are quantiles of
the logit-normal that training draws from, at a mean between those of small clips and of large ones. Evenly spaced ones
would ask mostly about noise so faint that nobody sees it, where a predicted clip's error counts 1/t^2.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import chain
from statistics import NormalDist

import torch
from torch import Tensor, nn

from training.data.packing import Sample, collate
from training.model import flow

MEAN_LOGIT = 1.0
TIMES = tuple(1 / (1 + math.exp(-NormalDist(MEAN_LOGIT).inv_cdf((i + 0.5) / 8))) for i in range(8))


@torch.no_grad()
def flow_loss(model: nn.Module, samples: Sequence[Sample], token_budget: int = 2560) -> Tensor:
    """Loss by clip and time, f32 [clips, 8], all tokens noisy, captions and numbers given. Untrained: about 2.

    `model` is a transformer, or anything else that is called like one (references.py).
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

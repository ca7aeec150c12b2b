"""From noise to latents: the model's velocity, followed from t = 1 to t = 0.

Euler or Heun steps, classifier-free guidance with an optional negative prompt, and given tokens by the same mask as in
training. A request's noise is keyed by its seed alone, so its result does not depend on what is sampled beside it
(up to the rounding of other matrix shapes).

References: Liu et al., arXiv 2209.03003 (Euler on rectified flow); Karras et al., arXiv 2206.00364 (Heun); Ho & Salimans,
arXiv 2207.12598 (guidance); Esser et al., arXiv 2403.03206 (shift).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from training import flow
from training.conditioning import Grid
from training.packing import Batch, Sample, collate
from training.transformer import Transformer, from_tokens, positions


@dataclass(frozen=True)
class Request:
    """One video to make. `grid` is in tokens; numbers that are nan are left to the model."""

    text_MT: Tensor
    grid: Grid
    seed: int
    seconds_per_frame: float  # of a latent frame
    numeric: tuple[float, ...]
    negative_MT: Tensor | None = None  # None: the learned null caption
    given_N: Tensor | None = None  # bool; tokens that are known already
    x_NP: Tensor | None = None  # their values, where given


@dataclass(frozen=True)
class Sampler:
    """How to integrate: number of steps, guidance (1: none), euler or heun."""

    steps: int = 24
    guidance: float = 3.0
    method: str = "euler"

    def __post_init__(self) -> None:
        if self.steps < 1 or self.method not in ("euler", "heun"):
            raise ValueError(f"at least one step of euler or heun, not {self.steps} of {self.method!r}")


def times(steps: int, tokens: int) -> Tensor:
    """Decreasing times from 1 to 0, [steps + 1], shifted towards noise as in training: t -> s t / (1 + (s - 1) t)."""
    t = torch.linspace(1, 0, steps + 1)
    shift = math.exp(flow.timestep_mean(tokens))
    return shift * t / (1 + (shift - 1) * t)


@torch.no_grad()
def sample(model: Transformer, requests: Sequence[Request], sampler: Sampler) -> list[Tensor]:
    """Normalised latents [C, t, h, w], one a request, in their order."""
    if not requests:
        return []
    device = next(model.parameters()).device
    patch, values = model.config.patch, model.config.token_values
    batch, null = (b.to(device) for b in _conditions(requests, values))
    noise = [
        torch.randn(math.prod(r.grid), values, generator=flow.keyed("sample", r.seed)).to(device) for r in requests
    ]
    given_N = torch.cat([_given(r) for r in requests]).to(device)
    x_NP = torch.where(given_N[:, None], batch.x_NP, torch.cat(noise))
    schedule_FJ = torch.stack([times(sampler.steps, math.prod(r.grid)) for r in requests]).to(device)[batch.segment_F]

    def slope(x_NP: Tensor, t_F: Tensor) -> Tensor:
        v_NP = model(x_NP, t_F, given_N, batch)
        if sampler.guidance != 1:
            without_NP = model(x_NP, t_F, given_N, null)
            v_NP = without_NP + sampler.guidance * (v_NP - without_NP)
        return v_NP.masked_fill(given_N[:, None], 0)

    for now_F, next_F in zip(schedule_FJ.T[:-1], schedule_FJ.T[1:], strict=True):
        dt_N1 = (next_F - now_F)[batch.frame_N][:, None]
        v_NP = slope(x_NP, now_F)
        if sampler.method == "heun" and bool((next_F > 0).all()):
            v_NP = (v_NP + slope(x_NP + dt_N1 * v_NP, next_F)) / 2
        x_NP = x_NP + dt_N1 * v_NP

    parts = x_NP.cpu().split(batch.segments.lengths)
    return [from_tokens(part, request.grid, patch) for part, request in zip(parts, requests, strict=True)]


def _given(request: Request) -> Tensor:
    if request.given_N is None:
        return torch.zeros(math.prod(request.grid), dtype=torch.bool)
    return request.given_N


def _conditions(requests: Sequence[Request], values: int) -> tuple[Batch, Batch]:
    """The packed conditions, and the same with the negative prompt or the null caption in the caption's place."""

    def packed(texts: Sequence[Tensor]) -> Batch:
        samples = []
        for request, text_MT in zip(requests, texts, strict=True):
            x_NP = torch.zeros(math.prod(request.grid), values) if request.x_NP is None else request.x_NP
            place_N3 = positions(request.grid, request.seconds_per_frame)
            samples.append(Sample(str(request.seed), x_NP, request.grid, place_N3, text_MT, request.numeric))
        return collate(samples)

    negative = packed([r.text_MT[:1] if r.negative_MT is None else r.negative_MT for r in requests])
    kept_S = torch.tensor([r.negative_MT is not None for r in requests])
    return packed([r.text_MT for r in requests]), replace(negative, text_kept_S=kept_S)

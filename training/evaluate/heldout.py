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
from dataclasses import dataclass
from statistics import NormalDist

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from training import device
from training.data.packing import Sample, collate
from training.model import flow
from training.model.codec import to_bytes, to_unit
from training.model.patches import VideoCodec
from training.networks.lpips import Lpips

MEAN_LOGIT = 1.0
TIMES = tuple(1 / (1 + math.exp(-NormalDist(MEAN_LOGIT).inv_cdf((i + 0.5) / 8))) for i in range(8))


@torch.no_grad()
def flow_loss(model: nn.Module, samples: Sequence[Sample], token_budget: int = 2560) -> Tensor:
    """Loss by clip and time, f32 [clips, 8], all tokens noisy, captions and numbers given. Untrained: about 2.

    `model` is a transformer, or anything else that is called like one (flow_losses.py).
    """
    place = device.of(model)
    rows = []
    for group in _groups(samples, token_budget):
        batch = collate(group).to(place)
        given_N = torch.zeros(len(batch.x_NP), dtype=torch.bool, device=place)
        columns = []
        for index, time in enumerate(TIMES):
            noise = [torch.randn(s.x_NP.shape, generator=flow.keyed("heldout", s.clip_id, index)) for s in group]
            e_NP = torch.cat(noise).to(place)
            t_F = torch.full((len(batch.segment_F),), time, device=place)
            with device.autocast(place):
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
    x_CTHW = codec.decode(codec.encode(to_unit(frames_THWC.to(device.of(codec)))[None]))[0]
    return to_bytes(x_CTHW).cpu()


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


@dataclass(frozen=True)
class CodecGoal:
    """What a codec is trained for: squared error, with weights of steps across cells' borders and of LPIPS beside it."""

    cell: int  # pixels
    borders: float = 0.0
    perceptual: float = 0.0
    lpips: Lpips | None = None

    def __call__(self, x_BCTHW: Tensor, remade_BCTHW: Tensor, frames: Sequence[Tensor] | None = None) -> Tensor:
        """Loss of each clip, [B], for pixels in [-1, 1]. LPIPS sees these `frames` of each clip, or all."""
        error_BCTHW = remade_BCTHW - x_BCTHW
        loss_B = error_BCTHW.square().mean(dim=(1, 2, 3, 4))
        if self.borders:
            loss_B = loss_B + self.borders * border_steps(error_BCTHW, self.cell)
        if self.lpips is not None:
            b, _, t, _, _ = x_BCTHW.shape
            frames = frames or [torch.arange(t)] * b
            distance_N = self.lpips(*(chosen_frames(x, frames) for x in (remade_BCTHW, x_BCTHW)))
            loss_B = loss_B + self.perceptual * distance_N.unflatten(0, (b, -1)).mean(1)
        return loss_B


def chosen_frames(x_BCTHW: Tensor, frames: Sequence[Tensor]) -> Tensor:
    """These frames of each clip, as pictures [N, C, H, W]."""
    return torch.cat([clip_CTHW[:, t].movedim(1, 0) for clip_CTHW, t in zip(x_BCTHW, frames, strict=True)])


def border_energy(frames_THWC: Tensor, cell: int) -> float | None:
    """Mean squared step from pixel to pixel across borders of cells of `cell` pixels, over that inside cells.

    About 1 where nothing is cut into cells. None where a picture has no border, or no step at all inside cells.
    """
    x = frames_THWC.float()
    at_borders, inside = [], []
    for axis in (1, 2):
        step_N = (x.diff(dim=axis) ** 2).movedim(axis, 0).flatten(1).mean(1)
        border_N = torch.arange(1, len(step_N) + 1) % cell == 0
        at_borders.append(step_N[border_N])
        inside.append(step_N[~border_N])
    borders, rest = torch.cat(at_borders), torch.cat(inside)
    if not len(borders) or not len(rest) or not float(rest.mean()):
        return None
    return float(borders.mean() / rest.mean())


def seam_step(frames_THWC: Tensor, cell: int) -> float | None:
    """By how many grey levels the median step across borders of cells is beyond that of the lines beside them.

    Steps are averaged over the clip first: what moves past a border cancels out, a seam stays. A few strong edges, which
    decide a mean of squares, do not move a median. About 0 where there are no seams; None where no border has a line on
    each side.
    """
    beyond = []
    for axis in (1, 2):
        step_NM = frames_THWC.float().diff(dim=axis).movedim(axis, 0).mean((1, 3)).abs()
        line_K = torch.arange(1, len(step_NM) - 1)
        border_K = line_K[(line_K + 1) % cell == 0]
        beyond.append((step_NM[border_K] - (step_NM[border_K - 1] + step_NM[border_K + 1]) / 2).flatten())
    every = torch.cat(beyond)
    return float(every.median()) if len(every) else None


def border_steps(x_BCTHW: Tensor, cell: int) -> Tensor:
    """Mean squared step across the borders of cells of `cell` pixels, [B]; of an error, what the cells add to it."""
    steps = [x_BCTHW.diff(dim=axis)[(slice(None),) * axis + (slice(cell - 1, None, cell),)] for axis in (3, 4)]
    step_BN = torch.cat([x.flatten(1) for x in steps], dim=1)
    return step_BN.square().mean(1) if step_BN.shape[1] else step_BN.new_zeros(len(step_BN))


def seams(frames_THWC: Tensor, remade_THWC: Tensor, cell: int) -> float:
    """How much more of the remade video's steps lie at the borders of cells than of the source's: 1 is no more, nan
    where either has none to compare."""
    source, remade = border_energy(frames_THWC, cell), border_energy(remade_THWC, cell)
    return math.nan if not source or remade is None else remade / source


@torch.no_grad()
def codec_measures(codec: VideoCodec, clips: Sequence[Tensor], goal: CodecGoal) -> dict[str, float]:
    """Means over uint8 clips: the goal's loss, which decides between weights, and the measures that papers report."""
    measured: dict[str, list[float]] = {}
    for frames_THWC in clips:
        remade_THWC = reconstruct(codec, frames_THWC)
        values = {
            "codec_loss": float(goal(to_unit(frames_THWC)[None], to_unit(remade_THWC)[None])),
            "psnr_db": psnr(frames_THWC, remade_THWC),
            "ssim": ssim(frames_THWC, remade_THWC),
            "seams": seams(frames_THWC, remade_THWC, codec.config.patch),
        }
        if goal.lpips is not None:
            values["lpips"] = perceptual(goal.lpips, frames_THWC, remade_THWC)
        for name, value in values.items():
            measured.setdefault(f"heldout/{name}", []).append(value)
    # a clip of one cell, or of one colour, has no borders to compare: its nan is no part of the mean
    compared = {name: [value for value in values if not math.isnan(value)] for name, values in measured.items()}
    return {name: sum(values) / len(values) for name, values in compared.items() if values}


def perceptual(lpips: Lpips, frames_THWC: Tensor, remade_THWC: Tensor) -> float:
    """LPIPS of two uint8 videos, mean over frames."""
    a, b = (to_unit(x).movedim(1, 0) for x in (frames_THWC, remade_THWC))
    return float(lpips(a, b).mean())

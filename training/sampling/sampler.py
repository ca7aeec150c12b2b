"""From prompts to videos: the model's velocity, followed from t = 1 to t = 0, and what turns it into pixels.

`Pipeline` encodes captions and references, samples latents and decodes them; `sample` is the sampler itself.

Euler or Heun steps, classifier-free guidance with an optional negative prompt, and given tokens by the same mask as in
training. Video-to-video begins at a time below 1, between a source and noise. A request's noise is keyed by its seed
alone, so its result does not depend on what is sampled beside it (up to the rounding of other matrix shapes).

References: Liu et al., arXiv 2209.03003 (Euler on rectified flow); Karras et al., arXiv 2206.00364 (Heun); Ho & Salimans,
arXiv 2207.12598 (guidance); Kynkäänniemi et al., arXiv 2404.07724 (its interval); Lin et al., arXiv 2305.08891, section
3.4 (its rescaling); Esser et al., arXiv 2403.03206 (shift); Meng et al., SDEdit, arXiv 2108.01073 (strength).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from training import device
from training.data.packing import Batch, Sample, collate
from training.model import flow
from training.model.codec import load_codec, to_bytes
from training.model.conditioning import Grid, numbers
from training.model.config import SamplingConfig
from training.model.layers import Segments
from training.model.patches import VideoCodec, deblock
from training.model.text import TextEncoder
from training.model.transformer import Transformer, from_tokens, grid_of, load_transformer, positions, to_tokens
from training.sampling.references import Reference, lay


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
    x_NP: Tensor | None = None  # their values, where given; below strength 1 a source for all
    strength: float = 1.0  # the time at which tokens that are not given begin; 1: noise, towards 0: the source

    def __post_init__(self) -> None:
        if not 0 < self.strength <= 1:
            raise ValueError(f"strength must be above 0 and at most 1, got {self.strength}")
        if self.x_NP is None and (self.strength < 1 or self.given_N is not None):
            raise ValueError("given tokens, and a strength below 1, need the values to start from")


@dataclass(frozen=True)
class Sampler:
    """How to integrate: number of steps, euler or heun, and guidance (1: none).

    Guidance acts at times inside `interval` alone. `rescale` is the share by which a guided velocity is brought back to
    the deviation that it has without guidance (0: not at all), against colours that burn out.
    """

    steps: int = 24
    guidance: float = 3.0
    method: str = "euler"
    interval: tuple[float, float] = (0.0, 1.0)
    rescale: float = 0.0
    noise_shift: float = 0.0  # that of training

    @classmethod
    def of(cls, own: SamplingConfig, steps: int | None = None, guidance: float | None = None, **more: Any) -> Sampler:
        """A model's own sampler, with what the caller changes; None: the model's. The noise shift is always the model's."""
        steps = own.steps if steps is None else steps
        return cls(steps, own.guidance if guidance is None else guidance, noise_shift=own.noise_shift, **more)

    def __post_init__(self) -> None:
        if self.steps < 1 or self.method not in ("euler", "heun"):
            raise ValueError(f"at least one step of euler or heun, not {self.steps} of {self.method!r}")
        low, high = self.interval
        if not 0 <= low < high <= 1:
            raise ValueError(f"guidance acts between two times from 0 to 1, the lower first, not {low:g} and {high:g}")
        if not 0 <= self.rescale <= 1:
            raise ValueError(f"guidance is rescaled by a share from 0 to 1, not {self.rescale:g}")


def times(steps: int, tokens: int, start: float = 1.0, noise_shift: float = 0.0) -> Tensor:
    """Decreasing times from `start` to 0, [steps + 1]: evenly spaced, then shifted towards noise as in training,
    u -> s u / (1 + (s - 1) u)."""
    shift = math.exp(flow.timestep_mean(tokens) + noise_shift)
    u = torch.linspace(start / (shift - (shift - 1) * start), 0, steps + 1)
    return shift * u / (1 + (shift - 1) * u)


@torch.no_grad()
def sample(model: Transformer, requests: Sequence[Request], sampler: Sampler) -> list[Tensor]:
    """Normalised latents [C, t, h, w], one a request, in their order."""
    if not requests:
        return []
    place = device.of(model)
    values = model.config.token_values
    batch, null = (b.to(place) for b in _conditions(requests, values))
    noise = [torch.randn(math.prod(r.grid), values, generator=flow.keyed("sample", r.seed)) for r in requests]
    none = (torch.zeros(math.prod(r.grid), dtype=torch.bool) for r in requests)
    given_N = torch.cat([n if r.given_N is None else r.given_N for r, n in zip(requests, none, strict=True)]).to(place)
    start_N = torch.tensor([r.strength for r in requests], device=place)[batch.segments.index(place)]
    x_NP = flow.interpolate(batch.x_NP, torch.cat(noise).to(place), start_N.masked_fill(given_N, 0))
    schedule_SJ = torch.stack(
        [times(sampler.steps, math.prod(r.grid), r.strength, sampler.noise_shift) for r in requests]
    )
    schedule_FJ = schedule_SJ.to(place)[batch.segment_F]

    def velocity(x_NP: Tensor, t_F: Tensor, conditions: Batch) -> Tensor:
        with device.autocast(place):
            return model(x_NP, t_F, given_N, conditions).float()

    def slope(x_NP: Tensor, t_F: Tensor) -> Tensor:
        v_NP = velocity(x_NP, t_F, batch)
        guided_F = (t_F >= sampler.interval[0]) & (t_F <= sampler.interval[1])
        if sampler.guidance != 1 and bool(guided_F.any()):
            without_NP = velocity(x_NP, t_F, null)
            with_NP = without_NP + sampler.guidance * (v_NP - without_NP)
            with_NP = _rescaled(with_NP, v_NP, ~given_N, batch.segments, sampler.rescale)
            v_NP = torch.where(guided_F[batch.frame_N][:, None], with_NP, v_NP)
        return v_NP.masked_fill(given_N[:, None], 0)

    for now_F, next_F in zip(schedule_FJ.T[:-1], schedule_FJ.T[1:], strict=True):
        dt_N1 = (next_F - now_F)[batch.frame_N][:, None]
        v_NP = slope(x_NP, now_F)
        if sampler.method == "heun" and bool((next_F > 0).all()):
            v_NP = (v_NP + slope(x_NP + dt_N1 * v_NP, next_F)) / 2
        x_NP = x_NP + dt_N1 * v_NP

    parts = x_NP.cpu().split(batch.segments.lengths)
    return [from_tokens(part, request.grid, model.config.patch) for part, request in zip(parts, requests, strict=True)]


def _rescaled(guided_NP: Tensor, plain_NP: Tensor, free_N: Tensor, segments: Segments, share: float) -> Tensor:
    """The guided velocity, each sample's brought to the plain one's deviation over its free tokens by this share."""
    if not share:
        return guided_NP
    parts = zip(*(x.split(segments.lengths) for x in (guided_NP, plain_NP, free_N)), strict=True)
    factors = [plain[free].std() / guided[free].std().clamp_min(1e-6) for guided, plain, free in parts]
    factor_S = share * torch.stack(factors) + (1 - share)
    return guided_NP * factor_S[segments.index(guided_NP.device)][:, None]


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


BATCH_TOKENS = 2560  # tokens that are sampled at a time


@dataclass(frozen=True)
class Options:
    """What a caller asks for; None: the model's own, see SamplingConfig."""

    sampler: Sampler | None = None
    frames: int | None = None
    size: tuple[int, int] | None = None  # width and height
    negative_prompt: str = ""
    numbers: Mapping[str, float] = field(default_factory=dict)  # by conditioning.NUMERIC, the frame rate among them
    references: Sequence[Reference] = ()
    strength: float = 0.7  # counts where a reference is a source


@dataclass(frozen=True)
class Pipeline:
    """A model with all that it takes to turn prompts into videos."""

    codec: VideoCodec
    model: Transformer
    encoder: TextEncoder

    @classmethod
    def open(cls, model_dir: str | Path, text_encoder: str | Path, place: torch.device) -> Pipeline:
        """Load a finished model onto a device. Raises TextEncoderError where the encoder is missing."""
        encoder = TextEncoder(text_encoder)
        return cls(load_codec(model_dir).to(place), load_transformer(model_dir).to(place), encoder)

    def __call__(
        self,
        prompts: Sequence[str],
        seeds: Sequence[int],
        options: Options = Options(),
        progress: Callable[[int], None] = lambda done: None,
    ) -> list[Tensor]:
        """Videos uint8 [T, H, W, 3], one a prompt. ValueError for what does not fit the model or each other."""
        requests = self._requests(prompts, seeds, options)
        sampler = options.sampler or Sampler.of(self.model.sampling)
        if options.negative_prompt and sampler.guidance == 1:
            raise ValueError("a negative prompt acts through guidance, which is 1: off")
        videos: list[Tensor] = []
        at_once = max(1, BATCH_TOKENS // math.prod(requests[0].grid)) if requests else 1
        for first in range(0, len(requests), at_once):
            latents = sample(self.model, requests[first : first + at_once], sampler)
            videos += [self._decode(z_Cthw) for z_Cthw in latents]
            progress(len(latents))
        return videos

    def fps(self, options: Options) -> float:
        """Frames a second of the videos: what the caller asks for, or the model's own."""
        fps = float(options.numbers.get("fps", self.model.sampling.fps))
        if not 1 <= fps <= 120:
            raise ValueError(f"a video has 1 to 120 frames a second, not {fps:g}")
        return fps

    def shape(self, options: Options) -> tuple[int, tuple[int, int]]:
        """Number of frames, and width and height."""
        own = self.model.sampling
        return own.frames if options.frames is None else options.frames, options.size or own.size

    def _requests(self, prompts: Sequence[str], seeds: Sequence[int], options: Options) -> list[Request]:
        (frames, size), fps, patch = self.shape(options), self.fps(options), self.model.config.patch
        grid = grid_of(frames, size, self.codec.config.stride, self.codec.config.patch * patch)
        negative = self.encoder.tokens([options.negative_prompt])[0] if options.negative_prompt else None
        same: dict[str, Any] = {
            "seconds_per_frame": self.codec.config.stride / fps,
            "numeric": numbers({**options.numbers, "fps": fps}),
            "negative_MT": None if negative is None else torch.from_numpy(negative),
        }
        if options.references:
            latents = lay(self.codec, options.references, frames, size, fps)
            x_NP, (_, h, w) = to_tokens(latents.z_Cthw, patch)
            strength = options.strength if latents.sourced else 1.0
            same |= {"x_NP": x_NP, "given_N": latents.given_t.repeat_interleave(h * w), "strength": strength}
        tokens = self.encoder.tokens(prompts)
        return [Request(torch.from_numpy(t), grid, seed, **same) for t, seed in zip(tokens, seeds, strict=True)]

    @torch.no_grad()
    def _decode(self, z_Cthw: Tensor) -> Tensor:
        x_CTHW = self.codec.decode(z_Cthw[None].to(device.of(self.codec)))[0].cpu()
        if self.model.sampling.deblock:
            x_CTHW = deblock(x_CTHW, self.codec.config.patch * self.model.config.patch)
        return to_bytes(x_CTHW)

"""Videos of prompts: captions and references encoded, latents sampled, pixels decoded."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from training.model.codec import load_codec, to_bytes
from training.model.conditioning import numbers
from training.model.patches import VideoCodec, deblock
from training.model.text import TextEncoder
from training.model.transformer import Transformer, grid_of, load_transformer, to_tokens
from training.sampling.references import Reference, lay
from training.sampling.sampler import Request, Sampler, sample

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
    def open(cls, model_dir: str | Path, text_encoder: str | Path) -> Pipeline:
        """Load a finished model. Raises TextEncoderError where the encoder is missing."""
        return cls(load_codec(model_dir), load_transformer(model_dir), TextEncoder(text_encoder))

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

    @torch.inference_mode()
    def _decode(self, z_Cthw: Tensor) -> Tensor:
        x_CTHW = self.codec.decode(z_Cthw[None])[0]
        if self.model.sampling.deblock:
            x_CTHW = deblock(x_CTHW, self.codec.config.patch * self.model.config.patch)
        return to_bytes(x_CTHW)

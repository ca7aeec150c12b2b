"""Videos from a model that was tuned from a pretrained base: by diffusers' own pipeline and the base's own scheduler.

It answers as `Pipeline` does, from text alone. The base's folder must be there: its text encoder and scheduler, and under an
adapter its transformer, are not copied into a model.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from training.model import flow
from training.model.codec import load_codec, to_bytes
from training.model.diffusers_base import BaseTextEncoder, Tuned, is_tuned, library, load_tuned
from training.model.pretrained import PretrainedCodec
from training.model.transformer import from_tokens, grid_of
from training.sampling.sampler import Options, Pipeline, Sampler

THE_MODELS_OWN = Options()


def open_pipeline(model_dir: str | Path, text_encoder: str | Path, place: torch.device) -> Pipeline:
    """A finished model with what it takes to answer. `text_encoder` is the base's folder where it was tuned from one."""
    if not is_tuned(model_dir):
        return Pipeline.open(model_dir, text_encoder, place)
    model, codec = load_tuned(model_dir, text_encoder), load_codec(model_dir)
    return BasePipeline(codec.to(place), model.to(place), BaseTextEncoder(text_encoder, place))  # type: ignore[arg-type]


@dataclass(frozen=True)
class BasePipeline(Pipeline):
    """As Pipeline; `options` may say frames, size, steps, guidance, a negative prompt and the frame rate."""

    codec: PretrainedCodec
    model: Tuned  # type: ignore[assignment]
    encoder: BaseTextEncoder  # type: ignore[assignment]

    @torch.no_grad()
    def __call__(
        self,
        prompts: Sequence[str],
        seeds: Sequence[int],
        options: Options = THE_MODELS_OWN,
        progress: Callable[[int], None] = lambda done: None,
    ) -> list[Tensor]:
        sampler = options.sampler or Sampler.of(self.model.sampling)
        if options.references:
            raise ValueError(f"a {self.model.base.family.name} base makes videos from text alone, not from references")
        if sampler.method != "euler" or sampler.interval != (0.0, 1.0):
            raise ValueError("the base's own scheduler decides how it is sampled: leave method and guidance interval")
        videos = []
        for text, seed in zip(prompts, seeds, strict=True):
            z_Cthw = self.latent(text, seed, options, sampler)
            videos.append(to_bytes(self.codec.decode(z_Cthw[None].float())[0]).cpu())
            progress(1)
        return videos

    def latent(self, text: str, seed: int, options: Options, sampler: Sampler) -> Tensor:
        """One normalised latent [C, t, h, w], from noise that the seed alone decides."""
        (frames, (width, height)), patch, channels = (
            self.shape(options),
            self.model.config.patch,
            self.model.config.channels,
        )
        grid = grid_of(frames, (width, height), self.codec.config.stride, self.codec.config.patch * patch)
        noise_NP = torch.randn(math.prod(grid), channels * patch**2, generator=flow.keyed("sample", seed))
        asked = self._conditions(text, options.negative_prompt, sampler.guidance) | {
            "height": height,
            "width": width,
            "num_frames": frames,
            "num_inference_steps": sampler.steps,
            "guidance_scale": sampler.guidance,
            "output_type": "latent",
        }
        if self.model.base.family.masked:
            asked |= {"frame_rate": self.fps(options), "guidance_rescale": sampler.rescale}
            made_BNP = self._library(latents=noise_NP[None], **asked).frames
            return from_tokens(made_BNP[0], grid, patch)
        if sampler.rescale:
            raise ValueError(f"a {self.model.base.family.name} base has no guidance rescale")
        return self._library(latents=from_tokens(noise_NP, grid, patch)[None], **asked).frames[0]

    def _conditions(self, text: str, negative: str, guidance: float) -> dict[str, Any]:
        """The encoded prompt, and where guidance acts the negative one, padded to one length."""
        named = {"prompt": text} | ({"negative_prompt": negative} if guidance > 1 else {})
        encoded = [
            torch.from_numpy(tokens).to(self.encoder.model.device)
            for tokens in self.encoder.tokens(list(named.values()))
        ]
        text_BMT, mask_BM = self.model.padded(encoded)
        asked: dict[str, Any] = {f"{name}_embeds": text_BMT[i : i + 1] for i, name in enumerate(named)}
        if self.model.base.family.masked:
            masks = {"prompt": "prompt_attention_mask", "negative_prompt": "negative_prompt_attention_mask"}
            asked |= {masks[name]: mask_BM[i : i + 1] for i, name in enumerate(named)}
        return asked

    @cached_property
    def _library(self) -> Any:
        base = self.model.base
        diffusers = library()
        scheduler = getattr(diffusers, base.index["scheduler"][1]).from_pretrained(str(base.path / "scheduler"))
        parts = {"vae": self.codec.autoencoder, "transformer": self.model.transformer, "scheduler": scheduler}
        more = {"expand_timesteps": True} if base.index.get("expand_timesteps") else {}
        pipe = getattr(diffusers, base.family.pipeline)(**parts, **more, text_encoder=None, tokenizer=None)
        pipe.set_progress_bar_config(disable=True)
        return pipe

"""`python -m training.sample --config sample.json`: prompts to videos.

`generate` is what everything that serves the model calls. What it writes is bare: prompt policy, watermark and
provenance belong to the release stage, through which alone a video leaves.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor

from training import process
from training.config import ConfigError, GenerateConfig, SamplingConfig, build, read_config
from training.data.video import write_mp4
from training.model.codec import load_codec, to_bytes
from training.model.conditioning import numbers
from training.model.patches import VideoCodec, deblock
from training.model.text import TextEncoder, TextEncoderError
from training.model.transformer import Transformer, grid_of, load_transformer, to_tokens
from training.reporting import bar, write_json
from training.sampling.references import Reference, Start, lay, read_reference
from training.sampling.sampler import Request, Sampler, sample

BATCH_TOKENS = 2560  # tokens that are sampled at a time


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m training.sample", description="Generate videos from prompts.")
    parser.add_argument("--config", required=True, help="JSON file, see training/config.py: GenerateConfig")
    try:
        config = read_config(GenerateConfig, parser.parse_args(arguments).config)
        with bar("samples", len(config.prompts)) as progress:
            rows = write_videos(config, progress)
    except (ConfigError, TextEncoderError, ValueError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    write_json(Path(config.out) / "samples.json", rows)
    return 0


def generate(
    model_dir: str | Path,
    text_encoder: str | Path,
    prompts: Sequence[str],
    out: str | Path,
    seeds: Sequence[int] | None = None,
    **options: Any,
) -> list[dict[str, Any]]:
    """Write one mp4 a prompt into `out` and return a row for each, in order: path, prompt, seed, fps, frames, size.

    `options` are further fields of GenerateConfig. Raises ValueError for what does not fit the model or each other.
    """
    given = {"model_dir": str(model_dir), "text_encoder": str(text_encoder), "out": str(out), "prompts": list(prompts)}
    if options.get("size") is not None:
        options["size"] = list(options["size"])
    return write_videos(build(GenerateConfig, given | {"seeds": None if seeds is None else list(seeds)} | options))


def write_videos(c: GenerateConfig, progress: Callable[[int], None] = lambda done: None) -> list[dict[str, Any]]:
    """What `generate` does, from a configuration; `progress` hears how many more videos are there."""
    seeds = list(range(len(c.prompts))) if c.seeds is None else c.seeds
    if len(seeds) != len(c.prompts):
        raise ValueError(f"{len(c.prompts)} prompts need as many seeds, got {len(seeds)}")
    codec, model, encoder = load_codec(c.model_dir), load_transformer(c.model_dir), TextEncoder(c.text_encoder)
    own, (low, high) = model.sampling, c.guidance_interval
    more: dict[str, Any] = {"method": c.method, "interval": (low, high), "rescale": c.guidance_rescale}
    sampler = Sampler.of(own, c.steps, c.guidance, **more)
    frames = own.frames if c.frames is None else c.frames
    width, height = c.size or own.size
    videos = make(
        codec,
        model,
        encoder,
        c.prompts,
        seeds,
        sampler,
        frames,
        (width, height),
        c.negative_prompt,
        c.numbers,
        [read_reference(entry) for entry in c.references],
        c.strength,
        progress,
    )
    rows = []
    fps = _fps(c.numbers, own)
    for index, (prompt, seed, video) in enumerate(zip(c.prompts, seeds, videos, strict=True)):
        path = write_mp4(Path(c.out) / f"{index:03d}-{seed}.mp4", video.numpy(), fps)
        row = {"path": str(path), "prompt": prompt, "seed": seed, "fps": fps, "frames": frames}
        rows.append(row | {"width": width, "height": height})
    return rows


def make(
    codec: VideoCodec,
    model: Transformer,
    encoder: TextEncoder,
    prompts: Sequence[str],
    seeds: Sequence[int],
    sampler: Sampler,
    frames: int,
    size: tuple[int, int],
    negative_prompt: str = "",
    known: Mapping[str, float] = MappingProxyType({}),
    references: Sequence[Reference] = (),
    strength: float = 0.7,
    progress: Callable[[int], None] = lambda done: None,
) -> list[Tensor]:
    """Videos uint8 [T, H, W, 3], one a prompt, at `known["fps"]` or else the model's own frame rate."""
    if negative_prompt and sampler.guidance == 1:
        raise ValueError("a negative prompt acts through guidance, which is 1: off")
    grid, fps = token_grid(codec, model, frames, size), _fps(known, model.sampling)
    negative_MT = torch.from_numpy(encoder.tokens([negative_prompt])[0]) if negative_prompt else None
    seconds, told = codec.config.stride / fps, numbers({**known, "fps": fps})
    requests = [
        Request(torch.from_numpy(text_MT), grid, seed, seconds, told, negative_MT)
        for text_MT, seed in zip(encoder.tokens(prompts), seeds, strict=True)
    ]
    if references:
        start = lay(codec, references, frames, size, fps)
        requests = [begun(request, start, model.config.patch, strength) for request in requests]
    at_once = max(1, BATCH_TOKENS // (grid[0] * grid[1] * grid[2]))
    videos = []
    for first in range(0, len(requests), at_once):
        latents = sample(model, requests[first : first + at_once], sampler)
        with torch.inference_mode():
            for z_Cthw in latents:
                x_CTHW = codec.decode(z_Cthw[None])[0]
                if model.sampling.deblock:
                    x_CTHW = deblock(x_CTHW, codec.config.patch * model.config.patch)
                videos.append(to_bytes(x_CTHW))
        progress(len(latents))
    return videos


def begun(request: Request, start: Start, patch: int, strength: float) -> Request:
    """The request with what is given to it; `strength` counts where the rest has a source."""
    x_NP, (_, h, w) = to_tokens(start.z_Cthw, patch)
    given_N = start.given_t.repeat_interleave(h * w)
    return replace(request, x_NP=x_NP, given_N=given_N, strength=strength if start.sourced else 1.0)


def _fps(known: Mapping[str, float], own: SamplingConfig) -> float:
    fps = float(known.get("fps", own.fps))
    if not 1 <= fps <= 120:
        raise ValueError(f"a video has 1 to 120 frames a second, not {fps:g}")
    return fps


def token_grid(codec: VideoCodec, model: Transformer, frames: int, size: tuple[int, int]) -> tuple[int, int, int]:
    """Tokens in time, down and across for a video of so many frames and pixels. Raises ValueError where none fit."""
    return grid_of(frames, size, codec.config.stride, codec.config.patch * model.config.patch)


if __name__ == "__main__":
    process.hold_on()
    sys.exit(main())

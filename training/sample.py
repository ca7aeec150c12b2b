"""`python -m training.sample --config sample.json`: prompts to videos.

`generate` is what everything that serves the model calls. What it writes is bare: prompt policy, watermark and
provenance belong to the release stage, through which alone a video leaves.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from training.codec import Codec, load_codec, to_bytes
from training.config import ConfigError, GenerateConfig, read_config
from training.sampling import Request, Sampler, sample
from training.text import TextEncoder, TextEncoderError
from training.transformer import REFERENCE_FPS, Transformer, load_transformer
from training.video import write_mp4

BATCH_TOKENS = 2560  # tokens that are sampled at a time


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m training.sample", description="Generate videos from prompts.")
    parser.add_argument("--config", required=True, help="JSON file, see training/config.py: GenerateConfig")
    try:
        c = read_config(GenerateConfig, parser.parse_args(arguments).config)
        out = Path(c.out)
        rows = generate(
            Path(c.model_dir),
            Path(c.text_encoder),
            c.prompts,
            out,
            seeds=c.seeds,
            steps=c.steps,
            guidance=c.guidance,
            frames=c.frames,
            size=c.size,
            negative_prompt=c.negative_prompt,
        )
    except (ConfigError, TextEncoderError, ValueError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    (out / "samples.json").write_text(json.dumps(rows, indent=1) + "\n")
    return 0


def generate(
    model_dir: str | Path,
    text_encoder: str | Path,
    prompts: Sequence[str],
    out: str | Path,
    seeds: Sequence[int] | None = None,
    steps: int = 24,
    guidance: float = 3.0,
    frames: int = 17,
    size: Sequence[int] | None = None,
    negative_prompt: str = "",
) -> list[dict[str, Any]]:
    """Write one mp4 a prompt into `out` and return a row for each, in order: path, prompt, seed, fps, frames, size.

    `size` is (width, height) in pixels. Raises ValueError where frames or size do not fit the codec, or the seeds'
    number is not the prompts'.
    """
    codec, model, encoder = load_codec(model_dir), load_transformer(model_dir), TextEncoder(text_encoder)
    width, height = size or (64, 64)
    seeds = list(range(len(prompts))) if seeds is None else list(seeds)
    if len(seeds) != len(prompts):
        raise ValueError(f"{len(prompts)} prompts need as many seeds, got {len(seeds)}")
    videos = make(
        codec, model, encoder, prompts, seeds, Sampler(steps, guidance), frames, (width, height), negative_prompt
    )
    rows = []
    for index, (prompt, seed, video) in enumerate(zip(prompts, seeds, videos, strict=True)):
        path = write_mp4(Path(out) / f"{index:03d}-{seed}.mp4", video.numpy(), REFERENCE_FPS)
        row = {"path": str(path), "prompt": prompt, "seed": seed, "fps": REFERENCE_FPS, "frames": frames}
        rows.append(row | {"width": width, "height": height})
    return rows


def make(
    codec: Codec,
    model: Transformer,
    encoder: TextEncoder,
    prompts: Sequence[str],
    seeds: Sequence[int],
    sampler: Sampler,
    frames: int,
    size: tuple[int, int],
    negative_prompt: str = "",
) -> list[Tensor]:
    """Videos uint8 [T, H, W, 3] at 8 frames a second, one a prompt."""
    grid = token_grid(codec, model, frames, size)
    seconds = codec.config.stride / REFERENCE_FPS
    negative_MT = torch.from_numpy(encoder.tokens([negative_prompt])[0]) if negative_prompt else None
    requests = [
        Request(torch.from_numpy(text_MT), grid, seed, seconds, (REFERENCE_FPS, float("nan")), negative_MT)
        for text_MT, seed in zip(encoder.tokens(prompts), seeds, strict=True)
    ]
    at_once = max(1, BATCH_TOKENS // (grid[0] * grid[1] * grid[2]))
    videos = []
    for first in range(0, len(requests), at_once):
        latents = sample(model, requests[first : first + at_once], sampler)
        with torch.inference_mode():
            videos += [to_bytes(codec.decode(z_Cthw[None])[0]) for z_Cthw in latents]
    return videos


def token_grid(codec: Codec, model: Transformer, frames: int, size: tuple[int, int]) -> tuple[int, int, int]:
    """Tokens in time, down and across for a video of so many frames and pixels. Raises ValueError where none fit."""
    stride, cell = codec.config.stride, codec.config.patch * model.config.patch
    width, height = size
    if frames < 1 or (frames - 1) % stride or width < cell or height < cell or width % cell or height % cell:
        raise ValueError(
            f"a video has {stride}k + 1 frames and sides that are multiples of {cell}, got {frames} x {width}x{height}"
        )
    return (frames - 1) // stride + 1, height // cell, width // cell


if __name__ == "__main__":
    sys.exit(main())

"""`python -m training.sample --config sample.json`: prompts to videos.

`generate` is what everything that serves the model calls. What it writes is bare: prompt policy, watermark and
provenance belong to the release stage, through which alone a video leaves.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from training import device, process
from training.config import GenerateConfig, read_config
from training.data.video import write_mp4
from training.model.config import ConfigError, build
from training.model.text import TextEncoderError
from training.process import bar, write_json
from training.sampling.base_pipeline import open_pipeline
from training.sampling.references import read_reference
from training.sampling.sampler import Options, Sampler


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
    values = {"model_dir": str(model_dir), "text_encoder": str(text_encoder), "out": str(out), "prompts": list(prompts)}
    if options.get("size") is not None:
        options["size"] = list(options["size"])
    return write_videos(build(GenerateConfig, values | {"seeds": None if seeds is None else list(seeds)} | options))


def write_videos(c: GenerateConfig, progress: Callable[[int], None] = lambda done: None) -> list[dict[str, Any]]:
    """What `generate` does, from a configuration; `progress` is called with how many more videos are done."""
    seeds = list(range(len(c.prompts))) if c.seeds is None else c.seeds
    if len(seeds) != len(c.prompts):
        raise ValueError(f"{len(c.prompts)} prompts need as many seeds, got {len(seeds)}")
    pipeline = open_pipeline(c.model_dir, c.text_encoder, device.chosen(c.device))
    low, high = c.guidance_interval
    more: dict[str, Any] = {"method": c.method, "interval": (low, high), "rescale": c.guidance_rescale}
    options = Options(
        sampler=Sampler.of(pipeline.model.sampling, c.steps, c.guidance, **more),
        frames=c.frames,
        size=(c.size[0], c.size[1]) if c.size else None,
        negative_prompt=c.negative_prompt,
        numbers=c.numbers,
        references=[read_reference(entry) for entry in c.references],
        strength=c.strength,
    )
    videos = pipeline(c.prompts, seeds, options, progress)
    (frames, (width, height)), fps = pipeline.shape(options), pipeline.fps(options)
    rows = []
    for index, (prompt, seed, video) in enumerate(zip(c.prompts, seeds, videos, strict=True)):
        path = write_mp4(Path(c.out) / f"{index:03d}-{seed}.mp4", video.numpy(), fps)
        row = {"path": str(path), "prompt": prompt, "seed": seed, "fps": fps, "frames": frames}
        rows.append(row | {"width": width, "height": height})
    return rows


if __name__ == "__main__":
    process.hold_on()
    sys.exit(main())

"""The scorecard of a model: all measurements on one snapshot's held-out clips and on the model's own samples, as rows.

What belongs here: which clips and slices each measurement sees. How a number comes about is its own module's.
"""

from __future__ import annotations

import math
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from training.codec import load_codec
from training.config import EvaluateConfig
from training.data import FrameClips, LatentClips, read_measured, read_members
from training.evaluate import copies, temporal
from training.evaluate.adherence import colour_of
from training.evaluate.flow_loss import flow_loss
from training.evaluate.reconstruction import psnr, reconstruct, ssim
from training.evaluate.rows import Metric, Row
from training.evaluate.trials import METRICS as TRIAL_METRICS
from training.evaluate.trials import trial_rows
from training.packing import Sample
from training.patches import VideoCodec
from training.sample import make
from training.sampling import Sampler
from training.simulate import random_scene, render
from training.simulate.supply import FPS, HELDOUT, pictures
from training.simulate.trial import random_trial
from training.text import TextEncoder
from training.transformer import Transformer, load_transformer
from training.video import read_frames

FLOW = Metric("heldout_flow_loss", "squared error", "lower", "rectified flow, 8 fixed times, keyed noise, v1")
PSNR = Metric("reconstruction_psnr", "dB", "higher", "uint8 pixels, mean over clips, v1")
SSIM = Metric("reconstruction_ssim", "1", "higher", "grey, 7x7 uniform window, v1")
FLICKER = Metric("temporal_flicker", "1", "none", "VBench temporal flickering, RGB; 1 is still, v1")
SMOOTH = Metric("motion_smoothness", "1", "none", "frame against the mean of its neighbours, v1")
DYNAMIC = Metric("dynamic_degree", "share", "none", "top 5 % of grey change over 40 levels/s, v1")
RATIO = Metric("copy_ratio", "1", "none", "nearest training over nearest held-out clip, 5x8x8 RGB, v1")
COPIES = Metric("memorised_clips", "samples", "lower", "nearer than half of 1st percentile of held-out, 5x8x8 RGB, v1")
COLOUR = Metric("prompt_colour", "share", "higher", "simulated scenes, segmentation by palette, v1")
SPEED = Metric("sampling_speed", "s/clip", "none", "the model's own steps, guidance and size, this machine, v2")
STEP = Metric("forward_speed", "tokens/s", "none", "one forward pass over the held-out clips, this machine, v1")
ABSENT = (
    (
        Metric("distribution_distance", "1", "lower", "Frechet distance of video features"),
        "no feature network is installed",
    ),
    (Metric("subject_consistency", "1", "higher", "cosine of frame features"), "no feature network is installed"),
)
SCENE_SEEDS = 1_000_000  # seeds of simulated prompts start here, far from those of the sample world
REFERENCE = "reference=heldout"  # the same measurement on real held-out clips: what the model's numbers compare with


@dataclass
class Bench:
    """The model, the clips and the encoder that the measurements share."""

    config: EvaluateConfig
    codec: VideoCodec
    model: Transformer
    encoder: TextEncoder
    heldout: list[dict[str, Any]]
    train: list[dict[str, Any]]

    @classmethod
    def open(cls, config: EvaluateConfig) -> Bench:
        """Load everything; raises DataError or TextEncoderError where something is missing."""
        return cls(
            config,
            load_codec(config.model_dir),
            load_transformer(config.model_dir),
            TextEncoder(config.text_encoder),
            read_members(config.manifest, "heldout"),
            read_members(config.manifest, "train"),
        )


PARTS = 5  # of a scorecard, as `progress` hears of them


def scorecard(config: EvaluateConfig, progress: Callable[[int], None] = lambda done: None) -> list[Row]:
    """Every row, measured or not."""
    bench = Bench.open(config)
    frames = FrameClips(config.frames_dir, [*bench.heldout, *bench.train])
    heldout = {m["clip_id"]: frames.read(m["clip_id"]) for m in bench.heldout}
    clips = LatentClips(
        config.latents_dir,
        config.text_dir,
        bench.heldout,
        bench.model.config.patch,
        bench.codec.config.stride,
        measured=read_measured(config.numbers),
    )
    samples = [clips.read(clip_id) for clip_id in heldout]
    parts = slices(samples)
    made = [(item["path"], *_video(item["path"])) for item in config.samples or ()]
    rows: list[Row] = []
    for measure in (
        lambda: flow_rows(bench, samples, parts),
        lambda: reconstruction_rows(bench, heldout, parts),
        lambda: scene_rows(bench) + known_truth_rows(bench),
        lambda: sample_rows(made, heldout),
        lambda: copy_rows([video for _, video, _ in made], frames, bench),
    ):
        rows += measure()
        progress(1)
    return rows + [metric.missing(why) for metric, why in ABSENT]


def slices(samples: Sequence[Sample]) -> dict[str, list[str]]:
    """Clip ids by slice: all, by aspect, and by motion below or above the median."""
    parts: dict[str, list[str]] = defaultdict(list)
    motions = sorted(s.numeric[1] for s in samples)
    for sample in samples:
        _, down, across = sample.grid
        aspect = "square" if down == across else "landscape" if across > down else "portrait"
        parts["all"].append(sample.clip_id)
        parts[f"aspect={aspect}"].append(sample.clip_id)
        motion = sample.numeric[1]
        if not math.isnan(motion):
            parts[f"motion={'high' if motion > motions[len(motions) // 2] else 'low'}"].append(sample.clip_id)
    return dict(parts)


def flow_rows(bench: Bench, samples: Sequence[Sample], parts: dict[str, list[str]]) -> list[Row]:
    started = time.perf_counter()
    losses = flow_loss(bench.model, samples)
    seconds = time.perf_counter() - started
    tokens = sum(len(s.x_NP) for s in samples) * losses.shape[1]
    by_clip = {s.clip_id: value for s, value in zip(samples, losses.mean(1).tolist(), strict=True)}
    return [*FLOW.slices(by_clip, parts), STEP.exact("all", tokens / seconds, len(samples))]


def reconstruction_rows(
    bench: Bench, heldout: dict[str, tuple[Tensor, float]], parts: dict[str, list[str]]
) -> list[Row]:
    pairs = {clip_id: (frames, reconstruct(bench.codec, frames)) for clip_id, (frames, _) in heldout.items()}
    rows = PSNR.slices({clip_id: psnr(*pair) for clip_id, pair in pairs.items()}, parts)
    return rows + SSIM.slices({clip_id: ssim(*pair) for clip_id, pair in pairs.items()}, parts)


def scene_rows(bench: Bench) -> list[Row]:
    """Colour of generated scenes, of rendered ones (the method's own check) and of their reconstructions (the ceiling)."""
    count = bench.config.scenes
    if count == 0:
        return [COLOUR.missing("no simulated prompts were asked for"), SPEED.missing("nothing was generated")]
    scenes, own = [random_scene(SCENE_SEEDS + i) for i in range(count)], bench.model.sampling
    started = time.perf_counter()
    videos = make(
        bench.codec,
        bench.model,
        bench.encoder,
        [scene.caption() for scene in scenes],
        [bench.config.seed + i for i in range(count)],
        Sampler.of(own),
        own.frames,
        own.size,
    )
    seconds = time.perf_counter() - started
    rendered = [torch.from_numpy(render(scene, *own.size, own.frames, own.fps)) for scene in scenes]
    kinds = {
        "all": videos,
        "reference=rendered": rendered,
        "reference=codec": [reconstruct(bench.codec, frames) for frames in rendered],
    }
    rows = [
        COLOUR.row(part, [float(colour_of(v) == s.colour) for v, s in zip(shown, scenes, strict=True)])
        for part, shown in kinds.items()
    ]
    return [*rows, SPEED.exact("all", seconds / count, count)]


def known_truth_rows(bench: Bench) -> list[Row]:
    """Adherence and physics of generated trials, of rendered ones (the method's check) and of what the codec keeps."""
    count, own = bench.config.trials, bench.model.sampling
    frames, size = own.frames, own.size
    if count == 0:
        return [metric.missing("no simulated trials were asked for") for metric in TRIAL_METRICS]
    trials = [random_trial(HELDOUT + i, seconds=(frames - 1) / FPS) for i in range(count)]
    captions, seeds = [trial.caption() for trial in trials], [bench.config.seed + i for i in range(count)]
    made = make(
        bench.codec, bench.model, bench.encoder, captions, seeds, Sampler.of(own), frames, size, known={"fps": FPS}
    )
    rendered = [pictures(trial, size, frames) for trial in trials]
    coded = [reconstruct(bench.codec, video) for video in rendered]
    kinds = {"all": made, "reference=rendered": rendered, "reference=codec": coded}
    return [row for part, shown in kinds.items() for row in trial_rows(part, shown, trials, FPS)]


def sample_rows(made: Sequence[tuple[str, Tensor, float]], heldout: dict[str, tuple[Tensor, float]]) -> list[Row]:
    """Flicker, smoothness and dynamics of the samples, beside those of held-out clips."""
    kinds = {"all": [(frames, fps) for _, frames, fps in made], REFERENCE: list(heldout.values())}
    rows = []
    for part, videos in kinds.items():
        for metric, measure in ((FLICKER, temporal.flicker), (SMOOTH, temporal.smoothness)):
            rows.append(_row(metric, part, (measure(frames) for frames, _ in videos)))
        rows.append(_row(DYNAMIC, part, (temporal.dynamic(frames, fps) for frames, fps in videos)))
    return rows


def copy_rows(made: Sequence[Tensor], frames: FrameClips, bench: Bench) -> list[Row]:
    if not made:
        return [metric.missing("no samples were given") for metric in (RATIO, COPIES)]

    def described(members: Iterable[dict[str, Any]]) -> Tensor:
        return torch.stack([copies.descriptor(frames.read(m["clip_id"])[0]) for m in members])

    train_MD, heldout_KD = described(bench.train), described(bench.heldout)
    made_ND = torch.stack([copies.descriptor(video) for video in made])
    count = sum(copies.copied(list(made_ND), train_MD, heldout_KD))
    return [
        RATIO.row("all", copies.copy_ratios(made_ND, train_MD, heldout_KD)),
        COPIES.exact("all", float(count), len(made)),
    ]


def _row(metric: Metric, part: str, values: Iterable[float | None]) -> Row:
    known = [value for value in values if value is not None]
    return metric.row(part, known) if known else metric.missing("no samples were given", part)


def _video(path: str) -> tuple[Tensor, float]:
    frames, fps = read_frames(Path(path))
    return torch.from_numpy(frames), fps

"""The scorecard of a model: all measurements on one snapshot's held-out clips and on the model's own samples, as rows and
as the values by clip, trial or scene behind them.

What belongs here: which clips and slices each measurement sees. How a number comes about is its own module's.
"""

from __future__ import annotations

import math
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from training.config import EvaluateConfig
from training.data.clips import FrameClips, LatentClips, read_measured, read_members
from training.data.packing import Sample
from training.data.video import read_frames
from training.evaluate import base_scores, copies, references, temporal
from training.evaluate.adherence import colour_of
from training.evaluate.flow_loss import TIMES, flow_loss
from training.evaluate.measured import Measured, by_part, key
from training.evaluate.reconstruction import psnr, reconstruct, ssim
from training.evaluate.rows import Metric, Row
from training.evaluate.trials import METRICS as TRIAL_METRICS
from training.evaluate.trials import heldout_trials, judged
from training.model.codec import load_codec
from training.model.patches import VideoCodec
from training.model.text import TextEncoder
from training.model.transformer import Transformer, load_transformer
from training.sample import make
from training.sampling.sampler import Sampler
from training.simulate import random_scene, render
from training.simulate.supply import FPS, pictures
from training.simulate.trial import Trial

FLOW = Metric("heldout_flow_loss", "squared error", "lower", "rectified flow, 8 fixed times, keyed noise, v2")
BY_TIME = f"{FLOW.name}_by_time"  # values of it by time instead of by clip
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


def scorecard(config: EvaluateConfig, progress: Callable[[int], None] = lambda done: None) -> Measured:
    """Every row, measured or not, and the values behind them."""
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
    found = Measured([])
    for measure in (
        lambda: flow_losses(bench, samples, parts) + reference_losses(bench, samples),
        lambda: reconstructions(bench, heldout, parts),
        lambda: scene_colours(bench) + known_truth(bench),
        lambda: Measured(sample_rows(made, heldout)),
        lambda: Measured(copy_rows([video for _, video, _ in made], frames, bench)),
    ):
        found += measure()
        progress(1)
    return found + Measured([metric.missing(why) for metric, why in ABSENT])


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


def flow_losses(bench: Bench, samples: Sequence[Sample], parts: dict[str, list[str]]) -> Measured:
    """The loss by clip, as the mean over the eight times, and how fast the model is."""
    started = time.perf_counter()
    by_clip, by_time = _losses(bench.model, samples)
    seconds = time.perf_counter() - started
    tokens = sum(len(s.x_NP) for s in samples) * len(TIMES)
    rows = [*FLOW.slices(by_clip, parts), STEP.exact("all", tokens / seconds, len(samples))]
    return Measured(rows, by_part(FLOW.name, by_clip, parts) | {BY_TIME: by_time})


def reference_losses(bench: Bench, samples: Sequence[Sample]) -> Measured:
    """The loss of each reference (references.py) on the same clips, times and noise."""
    config, shape = bench.config, bench.model.config
    train = references.spread([member["clip_id"] for member in bench.train])
    clips = LatentClips(
        config.latents_dir,
        config.text_dir,
        [member for member in bench.train if member["clip_id"] in set(train)],
        shape.patch,
        bench.codec.config.stride,
    )
    closed_form = references.ClosedForm((clips.read(clip_id).x_NP for clip_id in train), shape.token_values)
    found = _reference("closed_form", closed_form, samples)
    found += _reference("untrained", references.untrained(shape), samples)
    if not config.base_dir:
        return found + Measured([FLOW.missing("this size has no base model", "reference=base")])
    base = load_transformer(config.base_dir)
    if why := references.apart(config.model_dir, config.base_dir, shape, base.config):
        return found + Measured([FLOW.missing(why, "reference=base")])
    return found + _reference("base", base, samples)


def _reference(name: str, model: nn.Module, samples: Sequence[Sample]) -> Measured:
    part, (by_clip, by_time) = f"reference={name}", _losses(model, samples)
    values = {key(FLOW.name, part): by_clip, key(BY_TIME, part): by_time}
    return Measured([FLOW.row(part, list(by_clip.values()))], values)


def _losses(model: nn.Module, samples: Sequence[Sample]) -> tuple[dict[str, float], dict[str, float]]:
    """By clip, as the mean over times; and by time, as the mean over clips."""
    losses = flow_loss(model, samples)
    by_clip = {s.clip_id: value for s, value in zip(samples, losses.mean(1).tolist(), strict=True)}
    by_time = {f"t={t:.3f}": value for t, value in zip(TIMES, losses.mean(0).tolist(), strict=True)}
    return by_clip, by_time


def reconstructions(bench: Bench, heldout: dict[str, tuple[Tensor, float]], parts: dict[str, list[str]]) -> Measured:
    """PSNR and SSIM of the codec by clip."""
    pairs = {clip_id: (frames, reconstruct(bench.codec, frames)) for clip_id, (frames, _) in heldout.items()}
    found = Measured([])
    for metric, measure in ((PSNR, psnr), (SSIM, ssim)):
        by_clip = {clip_id: measure(*pair) for clip_id, pair in pairs.items()}
        found += Measured(metric.slices(by_clip, parts), {metric.name: by_clip})
    return found


def scene_colours(bench: Bench) -> Measured:
    """Colour of generated scenes, of rendered ones (the method's own check) and of their reconstructions (the ceiling)."""
    count = bench.config.scenes
    if count == 0:
        return Measured([COLOUR.missing("no simulated prompts were asked for"), SPEED.missing("nothing was generated")])
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
    found = Measured([SPEED.exact("all", seconds / count, count)])
    for part, shown in kinds.items():
        right = [float(colour_of(v) == s.colour) for v, s in zip(shown, scenes, strict=True)]
        by_scene = {f"scene-{SCENE_SEEDS + i}": value for i, value in enumerate(right)}
        found += Measured([COLOUR.row(part, right)], {key(COLOUR.name, part): by_scene})
    return found


def known_truth(bench: Bench) -> Measured:
    """Adherence and physics of generated trials, of the base model's, of rendered ones (the method's check) and of what
    the codec keeps of these."""
    config, frames, size = bench.config, bench.model.sampling.frames, bench.model.sampling.size
    if config.trials == 0:
        return Measured([metric.missing("no simulated trials were asked for") for metric in TRIAL_METRICS])
    trials = heldout_trials(config.trials, (frames - 1) / FPS)
    made = asked(bench.codec, bench.model, bench, trials, frames, size)
    rendered = [pictures(trial, size, frames) for trial in trials.values()]
    coded = [reconstruct(bench.codec, video) for video in rendered]
    kinds = {"all": made, "reference=rendered": rendered, "reference=codec": coded}
    found = Measured([])
    for part, shown in kinds.items():
        found += judged(part, shown, trials, FPS)
    return found + base_truth(bench, trials, frames, size) if config.base_dir else found


def base_truth(bench: Bench, trials: Mapping[str, Trial], frames: int, size: tuple[int, int]) -> Measured:
    """The base model's answers on the same trials, from the file that keeps them if they are there."""
    config = bench.config

    def measure() -> Measured:
        codec, model = load_codec(config.base_dir), load_transformer(config.base_dir)
        return judged("reference=base", asked(codec, model, bench, trials, frames, size), trials, FPS)

    told = base_scores.digest(config.base_dir, config.model_dir, config.trials, config.seed)
    return base_scores.kept(config.base_scores, told, measure)


def asked(
    codec: VideoCodec,
    model: Transformer,
    bench: Bench,
    trials: Mapping[str, Trial],
    frames: int,
    size: tuple[int, int],
) -> list[Tensor]:
    """Videos that a model makes of the trials' captions, each under the seed of its place in the list."""
    captions = [trial.caption() for trial in trials.values()]
    seeds = [bench.config.seed + i for i in range(len(captions))]
    sampler = Sampler.of(model.sampling)
    return make(codec, model, bench.encoder, captions, seeds, sampler, frames, size, known={"fps": FPS})


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

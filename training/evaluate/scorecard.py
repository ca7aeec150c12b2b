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
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from training.config import EvaluateConfig
from training.data.clips import Encoded, FrameClips, LatentClips, read_measured, read_members
from training.data.packing import Sample
from training.data.video import read_frames
from training.evaluate import base_model, samples
from training.evaluate.adherence import METRICS as TRIAL_METRICS
from training.evaluate.adherence import colour_of, heldout_trials, judged
from training.evaluate.flow_losses import flow_losses, reference_losses
from training.evaluate.heldout import psnr, reconstruct, ssim
from training.evaluate.rows import Measured, Metric, Row, key
from training.model.codec import load_codec
from training.model.transformer import load_transformer
from training.sampling.videos import Options, Pipeline
from training.simulate import random_scene, render
from training.simulate.supply import FPS, pictures
from training.simulate.trial import Trial

PSNR = Metric("reconstruction_psnr", "dB", "higher", "uint8 pixels, mean over clips, v1")
SSIM = Metric("reconstruction_ssim", "1", "higher", "grey, 7x7 uniform window, v1")
FLICKER = Metric("temporal_flicker", "1", "none", "VBench temporal flickering, RGB; 1 is still, v1")
SMOOTH = Metric("motion_smoothness", "1", "none", "frame against the mean of its neighbours, v1")
DYNAMIC = Metric("dynamic_degree", "share", "none", "top 5 % of grey change over 40 levels/s, v1")
RATIO = Metric("copy_ratio", "1", "none", "nearest training over nearest held-out clip, 5x8x8 RGB, v1")
COPIES = Metric("memorised_clips", "samples", "lower", "nearer than half of 1st percentile of held-out, 5x8x8 RGB, v1")
COLOUR = Metric("prompt_colour", "share", "higher", "simulated scenes, segmentation by palette, v1")
SPEED = Metric("sampling_speed", "s/clip", "none", "the model's own steps, guidance and size, this machine, v2")
ABSENT = (
    Metric("distribution_distance", "1", "lower", "Frechet distance of video features"),
    Metric("subject_consistency", "1", "higher", "cosine of frame features"),
)
SCENE_SEEDS = 1_000_000  # seeds of simulated prompts start here, far from those of the sample world
REFERENCE = "reference=heldout"  # the same measurement on real held-out clips: what the model's numbers compare with
PARTS = 5  # of a scorecard, as `progress` counts them

Video = tuple[Tensor, float]  # frames uint8 [T, H, W, 3], and frames per second


@dataclass
class Bench:
    """The model and the clips that the measurements share. What is missing is a DataError or a TextEncoderError."""

    config: EvaluateConfig
    pipeline: Pipeline

    @cached_property
    def heldout(self) -> list[dict[str, Any]]:
        return read_members(self.config.manifest, "heldout")

    @cached_property
    def train(self) -> list[dict[str, Any]]:
        return read_members(self.config.manifest, "train")

    @cached_property
    def frames(self) -> FrameClips:
        return FrameClips(self.config.frames_dir, [*self.heldout, *self.train])

    @cached_property
    def heldout_videos(self) -> dict[str, Video]:
        return {m["clip_id"]: self.frames.read(m["clip_id"]) for m in self.heldout}

    @cached_property
    def samples(self) -> list[Sample]:
        """The held-out clips as the transformer reads them."""
        c, patch, stride = self.config, self.pipeline.model.config.patch, self.pipeline.codec.config.stride
        encoded = Encoded(c.latents_dir, c.text_dir, patch, stride)
        clips = LatentClips(encoded, self.heldout, measured=read_measured(c.numbers))
        return [clips.read(clip_id) for clip_id in clips.captions]

    @cached_property
    def parts(self) -> dict[str, list[str]]:
        return slices(self.samples)

    @cached_property
    def made(self) -> list[Video]:
        """The model's own samples that were named."""
        videos = (read_frames(Path(item["path"])) for item in self.config.samples or ())
        return [(torch.from_numpy(frames), fps) for frames, fps in videos]


def scorecard(config: EvaluateConfig, progress: Callable[[int], None] = lambda done: None) -> Measured:
    """Every row, measured or not, and the values behind them."""
    bench = Bench(config, Pipeline.open(config.model_dir, config.text_encoder))
    _ = bench.frames, bench.samples, bench.made  # what is missing is named before anything is measured
    measured = Measured([])
    for measure in (losses, reconstructions, known_truth, sample_rows, copy_rows):
        measured += measure(bench)
        progress(1)
    return measured + Measured([metric.missing("no feature network is installed") for metric in ABSENT])


def slices(clips: Sequence[Sample]) -> dict[str, list[str]]:
    """Clip ids by slice: all, by aspect, and by motion below or above the median."""
    parts: dict[str, list[str]] = defaultdict(list)
    motions = sorted(s.numeric[1] for s in clips)
    for sample in clips:
        _, down, across = sample.grid
        aspect = "square" if down == across else "landscape" if across > down else "portrait"
        parts["all"].append(sample.clip_id)
        parts[f"aspect={aspect}"].append(sample.clip_id)
        motion = sample.numeric[1]
        if not math.isnan(motion):
            parts[f"motion={'high' if motion > motions[len(motions) // 2] else 'low'}"].append(sample.clip_id)
    return dict(parts)


def losses(bench: Bench) -> Measured:
    """The flow loss of the model and of what it is compared with."""
    model, stride = bench.pipeline.model, bench.pipeline.codec.config.stride
    return flow_losses(model, bench.samples, bench.parts) + reference_losses(
        bench.config, model, stride, bench.train, bench.samples
    )


def reconstructions(bench: Bench) -> Measured:
    """PSNR and SSIM of the codec by clip."""
    codec, videos = bench.pipeline.codec, bench.heldout_videos
    pairs = {clip_id: (frames, reconstruct(codec, frames)) for clip_id, (frames, _) in videos.items()}
    measured = Measured([])
    for metric, measure in ((PSNR, psnr), (SSIM, ssim)):
        by_clip = {clip_id: measure(*pair) for clip_id, pair in pairs.items()}
        measured += Measured(metric.slices(by_clip, bench.parts), {metric.name: by_clip})
    return measured


def known_truth(bench: Bench) -> Measured:
    """What simulated prompts ask for and pixels decide: colours of scenes, adherence and physics of trials."""
    return scene_colours(bench) + trial_verdicts(bench)


def scene_colours(bench: Bench) -> Measured:
    """Colour of generated scenes, of rendered ones (the method's own check) and of their reconstructions (the ceiling)."""
    count, seed = bench.config.scenes, bench.config.seed
    if count == 0:
        return Measured([COLOUR.missing("no simulated prompts were asked for"), SPEED.missing("nothing was generated")])
    scenes, own = [random_scene(SCENE_SEEDS + i) for i in range(count)], bench.pipeline.model.sampling
    started = time.perf_counter()
    videos = bench.pipeline([scene.caption() for scene in scenes], range(seed, seed + count))
    seconds = time.perf_counter() - started
    rendered = [torch.from_numpy(render(scene, *own.size, own.frames, own.fps)) for scene in scenes]
    measured = Measured([SPEED.exact("all", seconds / count, count)])
    for part, shown in _beside(bench, videos, rendered).items():
        right = [float(colour_of(v) == s.colour) for v, s in zip(shown, scenes, strict=True)]
        by_scene = {f"scene-{SCENE_SEEDS + i}": value for i, value in enumerate(right)}
        measured += Measured([COLOUR.row(part, right)], {key(COLOUR.name, part): by_scene})
    return measured


def trial_verdicts(bench: Bench) -> Measured:
    """Adherence and physics of generated trials, of the base model's, of rendered ones (the method's check) and of what
    the codec keeps of these."""
    config, own = bench.config, bench.pipeline.model.sampling
    if config.trials == 0:
        return Measured([metric.missing("no simulated trials were asked for") for metric in TRIAL_METRICS])
    trials = heldout_trials(config.trials, (own.frames - 1) / FPS)
    options = Options(frames=own.frames, size=own.size, numbers={"fps": FPS})
    rendered = [pictures(trial, own.size, own.frames) for trial in trials.values()]
    measured = Measured([])
    for part, shown in _beside(bench, _asked(bench.pipeline, trials, config.seed, options), rendered).items():
        measured += judged(part, shown, trials, FPS)
    if not config.base_dir:
        return measured

    def measure_base() -> Measured:
        base = Pipeline(load_codec(config.base_dir), load_transformer(config.base_dir), bench.pipeline.encoder)
        return judged("reference=base", _asked(base, trials, config.seed, options), trials, FPS)

    digest = base_model.digest(config.base_dir, config.model_dir, config.trials, config.seed)
    return measured + base_model.cached(config.base_scores, digest, measure_base)


def _asked(pipeline: Pipeline, trials: Mapping[str, Trial], seed: int, options: Options) -> list[Tensor]:
    """Videos that a model makes of the trials' captions, each under the seed of its place in the list."""
    captions = [trial.caption() for trial in trials.values()]
    return pipeline(captions, range(seed, seed + len(captions)), options)


def _beside(bench: Bench, made: list[Tensor], rendered: list[Tensor]) -> dict[str, list[Tensor]]:
    """Videos by slice: the model's, the truth, and what the codec keeps of it."""
    coded = [reconstruct(bench.pipeline.codec, video) for video in rendered]
    return {"all": made, "reference=rendered": rendered, "reference=codec": coded}


def sample_rows(bench: Bench) -> Measured:
    """Flicker, smoothness and dynamics of the samples, beside those of held-out clips."""
    rows = []
    for part, videos in {"all": bench.made, REFERENCE: list(bench.heldout_videos.values())}.items():
        for metric, measure in ((FLICKER, samples.flicker), (SMOOTH, samples.smoothness)):
            rows.append(_row(metric, part, (measure(frames) for frames, _ in videos)))
        rows.append(_row(DYNAMIC, part, (samples.dynamic(frames, fps) for frames, fps in videos)))
    return Measured(rows)


def copy_rows(bench: Bench) -> Measured:
    """Whether the samples repeat training clips."""
    if not bench.made:
        return Measured([metric.missing("no samples were given") for metric in (RATIO, COPIES)])

    def described(members: Iterable[dict[str, Any]]) -> Tensor:
        return torch.stack([samples.descriptor(bench.frames.read(m["clip_id"])[0]) for m in members])

    train_MD, heldout_KD = described(bench.train), described(bench.heldout)
    made_ND = torch.stack([samples.descriptor(video) for video, _ in bench.made])
    count = sum(samples.copied(list(made_ND), train_MD, heldout_KD))
    ratios = samples.copy_ratios(made_ND, train_MD, heldout_KD)
    return Measured([RATIO.row("all", ratios), COPIES.exact("all", float(count), len(bench.made))])


def _row(metric: Metric, part: str, values: Iterable[float | None]) -> Row:
    present = [value for value in values if value is not None]
    return metric.row(part, present) if present else metric.missing("no samples were given", part)

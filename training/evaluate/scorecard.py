"""The scorecard of a model: all measurements on one snapshot's held-out clips and on the model's own samples, as rows and
as the values by clip, trial or scene behind them.

`bench` holds what the measurements share; here are those of the codec and of simulated prompts, other ones have modules of
their own. Each part's processor time is a row too, so that what a night's measuring costs can be seen and bounded.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from training import device
from training.config import EvaluateConfig
from training.evaluate import described, perceived, twins
from training.evaluate.adherence import METRICS as TRIAL_METRICS
from training.evaluate.adherence import camera_trials, colour_of, heldout_trials, judged
from training.evaluate.bench import Bench
from training.evaluate.flow_losses import flow_losses, reference_losses
from training.evaluate.heldout import psnr, reconstruct, ssim
from training.evaluate.physics import camera_move, look
from training.evaluate.rows import Measured, Metric, base_digest, cached, key
from training.model.codec import load_codec
from training.model.transformer import load_transformer
from training.sampling.base_pipeline import open_pipeline
from training.sampling.sampler import Options, Pipeline
from training.simulate import random_scene, render
from training.simulate.supply import FPS, pictures
from training.simulate.trial import Trial

PSNR = Metric("reconstruction_psnr", "dB", "higher", "uint8 pixels, mean over clips, v1")
SSIM = Metric("reconstruction_ssim", "1", "higher", "grey, 7x7 uniform window, v1")
COLOUR = Metric("prompt_colour", "share", "higher", "simulated scenes, segmentation by palette, v1")
SPEED = Metric("sampling_speed", "s/clip", "none", "the model's own steps, guidance and size, this machine, v2")
CAMERA = Metric("camera_obedience", "share", "higher", "camera trials: pans, tilts, zooms by pixels alone, v1")
ASKED = Metric("caption_video_speed", "s/clip", "none", "as large and long as the caption's clip, this machine, v1")
COST = Metric("evaluation_cpu", "s", "none", "processor time of this scorecard, all threads, this machine, v1")
SCENE_SEEDS = 1_000_000  # seeds of simulated prompts start here, far from those of the sample world


def scorecard(config: EvaluateConfig, progress: Callable[[int], None] = lambda done: None) -> Measured:
    """Every row, measured or not, and the values behind them."""
    bench = Bench(config, open_pipeline(config.model_dir, config.text_encoder, device.chosen(config.device)))
    _ = bench.frames, bench.samples, bench.made, bench.parts  # what is missing is named before anything is measured
    measured, began = Measured([]), time.process_time()
    for name, measure in MEASURES.items():
        started = time.process_time()
        measured += measure(bench)
        measured += Measured([COST.exact(f"part={name}", time.process_time() - started, 1)])
        progress(1)
    return measured + Measured([COST.exact("all", time.process_time() - began, len(MEASURES))])


def losses(bench: Bench) -> Measured:
    """The flow loss of the model and of what it is compared with."""
    model, stride = bench.pipeline.model, bench.pipeline.codec.config.stride
    return flow_losses(model, bench.samples, bench.parts) + reference_losses(
        bench.config, model, stride, bench.train, bench.samples
    )


def reconstructions(bench: Bench) -> Measured:
    """PSNR and SSIM of the codec by clip."""
    pairs = {clip_id: (frames, bench.coded[clip_id]) for clip_id, (frames, _) in bench.heldout_videos.items()}
    measured = Measured([])
    for metric, measure in ((PSNR, psnr), (SSIM, ssim)):
        by_clip = {clip_id: measure(*pair) for clip_id, pair in pairs.items()}
        measured += Measured(metric.slices(by_clip, bench.parts), {metric.name: by_clip})
    return measured


def known_truth(bench: Bench) -> Measured:
    """What simulated prompts ask for and pixels decide: colours of scenes, adherence and physics of trials."""
    return scene_colours(bench) + trial_verdicts(bench) + camera_verdicts(bench)


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
        absent = (*TRIAL_METRICS, described.SIMILARITY)
        return Measured([metric.missing("no simulated trials were asked for") for metric in absent])
    trials = heldout_trials(config.trials, (own.frames - 1) / FPS)
    options = Options(frames=own.frames, size=own.size, numbers={"fps": FPS})
    rendered = [pictures(trial, own.size, own.frames) for trial in trials.values()]
    measured = Measured([])
    for part, shown in _beside(bench, _asked(bench.pipeline, trials, config.seed, options), rendered).items():
        measured += judged(part, shown, trials, FPS)
        measured += described.similarity(part, shown, trials, bench.pipeline.encoder)
    if not config.base_dir:
        return measured

    def measure_base() -> Measured:
        place, encoder = device.of(bench.pipeline.model), bench.pipeline.encoder
        base = Pipeline(load_codec(config.base_dir).to(place), load_transformer(config.base_dir).to(place), encoder)
        return judged("reference=base", _asked(base, trials, config.seed, options), trials, FPS)

    digest = base_digest(config.base_dir, config.model_dir, config.trials, config.seed)
    return measured + cached(config.base_scores, digest, measure_base)


def camera_verdicts(bench: Bench) -> Measured:
    """Whether the camera moves as a prompt says: of generated trials, of rendered ones, of what the codec keeps of these."""
    config, own = bench.config, bench.pipeline.model.sampling
    if config.camera_trials == 0:
        return Measured([CAMERA.missing("no camera trials were asked for")])
    trials = camera_trials(config.camera_trials, (own.frames - 1) / FPS)
    options = Options(frames=own.frames, size=own.size, numbers={"fps": FPS})
    rendered = [pictures(trial, own.size, own.frames) for trial in trials.values()]
    measured = Measured([])
    for part, shown in _beside(bench, _asked(bench.pipeline, trials, config.seed, options), rendered).items():
        right = [camera_move(look(video)) == trial.camera for video, trial in zip(shown, trials.values(), strict=True)]
        by_trial = dict(zip(trials, map(float, right), strict=True))
        measured += Measured([CAMERA.share(part, right)], {key(CAMERA.name, part): by_trial})
    return measured


def _asked(pipeline: Pipeline, trials: Mapping[str, Trial], seed: int, options: Options) -> list[Tensor]:
    """Videos that a model makes of the trials' captions, each under the seed of its place in the list."""
    captions = [trial.caption() for trial in trials.values()]
    return pipeline(captions, range(seed, seed + len(captions)), options)


def _beside(bench: Bench, made: list[Tensor], rendered: list[Tensor]) -> dict[str, list[Tensor]]:
    """Videos by slice: the model's, the truth, and what the codec keeps of it."""
    coded = [reconstruct(bench.pipeline.codec, video) for video in rendered]
    return {"all": made, "reference=rendered": rendered, "reference=codec": coded}


def videos_of_captions(bench: Bench) -> Measured:
    """The time that the model takes for them; what looks at them comes next."""
    if not bench.config.clips:
        return Measured([ASKED.missing(perceived.NOT_ASKED)])
    started = time.perf_counter()
    count = len(bench.asked)
    return Measured([ASKED.exact("all", (time.perf_counter() - started) / count, count)])


# in this order; each gives rows and the values behind them
MEASURES: Mapping[str, Callable[[Bench], Measured]] = {
    "flow loss": losses,
    "reconstruction": reconstructions,
    "simulated prompts": known_truth,
    "videos of captions": videos_of_captions,
    "distribution": perceived.distribution_rows,
    "lpips of the codec": perceived.reconstruction_lpips,
    "beside the clip": perceived.beside_the_clip,
    "look": perceived.look_rows,
    "motion": perceived.motion_rows,
    "copies": perceived.copy_rows,
    "violated twins": twins.twin_rows,
}
PARTS = len(MEASURES)  # as `progress` counts them

"""`python -m training.fit --config run.json`: one training run, from a sealed snapshot to published weights.

What is published are the averaged weights of the step that measured best on held-out clips, which may be the run's start.
The same command runs under `torchrun`, each process with the whole model or, as the configuration's `strategy` says, with
a shard of it. The run holds itself to consent: before its first step it recomputes the root of every snapshot that its
weights ever saw and asks the ledger about every clip, and again at each checkpoint. Killed at any moment, the same command
resumes from the last whole checkpoint, bit for bit on the CPU. A run that consent stops leaves no weights to use: its
folder is marked `tainted`.

Exit codes: 0 done, 1 the configuration or the data do not fit, 3 consent does not hold, 4 diverged. `result.json`
says why. In `run_dir`: metrics.jsonl, result.json, checkpoints/, and the weights with their description.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
import warnings
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from lightning import Trainer
from lightning.pytorch.strategies import ModelParallelStrategy, Strategy

from training import process
from training.config import TrainConfig, read_config
from training.consent.guard import ConsentGuard, ConsentViolation, Guard, RenderedOnly
from training.data import repeats
from training.data.clips import (
    CaptionedClips,
    DataError,
    FrameClips,
    LatentClips,
    Pictures,
    read_measured,
    read_members,
)
from training.data.packing import Cursor, Item, PackingError, Sample, plan
from training.data.packing import report as packed
from training.data.repeats import RepetitionError
from training.data.steps import ahead, codec_steps, flow_steps
from training.model import exposure
from training.model.codec import load_codec
from training.model.config import CodecConfig, ConfigError, TransformerConfig
from training.model.patches import VideoCodec
from training.model.text import TextEncoder
from training.model.transformer import grid_of
from training.process import keep_freed_memory
from training.reporting import Reporter, reporter
from training.simulate.supply import HELDOUT, RenderedClips, RenderedFrames
from training.trainer.callback import Course, shown
from training.trainer.learner import CodecLearner, Divergence, Learner, TransformerLearner
from training.trainer.resume import Start, find_start

DONE, UNFIT, REFUSED, DIVERGED = 0, 1, 3, 4
HELDOUT_CLIPS = 32  # measured while training; the scorecard measures all
RENDERED_HELDOUT = 48


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m training.fit", description="Train the codec or the transformer.")
    parser.add_argument("--config", required=True, help="JSON file, see training/config.py: TrainConfig")
    path = parser.parse_args(arguments).config
    try:
        config = read_config(TrainConfig, path)
    except ConfigError as error:
        print(f"configuration: {error}", file=sys.stderr)
        return UNFIT
    keep_freed_memory()
    with reporter(Path(config.run_dir), int(os.environ.get("RANK", 0))) as report:
        return fit(config, report)


def fit(config: TrainConfig, report: Reporter, until: int | None = None) -> int:
    """Run or resume, and return the exit code. `until` ends the process early, after a checkpoint at that step."""
    result: dict[str, Any] = {"task": config.task, "snapshot_root": config.snapshot_root, "stopped": None}
    result["warm_start"] = bool(config.parent_dir)
    try:
        start = find_start(config)
        guard = _guard(config, start)
        result |= exposure.fields(guard.exposure) | {"manifest_sha256": guard.manifest_sha256}
        _held(Course(config, report, guard, start, result, until))
    except ConsentViolation as error:
        result |= {"stopped": f"consent: {error}", "reasons": {clip: list(why) for clip, why in error.reasons.items()}}
        code = REFUSED
    except Divergence as error:
        result |= {"stopped": f"diverged: {error}", "step": error.step, "clip_ids": error.clip_ids}
        code = DIVERGED
    except (DataError, PackingError, RepetitionError) as error:
        result |= {"stopped": f"data: {error}"}
        code = UNFIT
    else:
        code = DONE
    result["seconds"] = round(report.seconds, 2)
    report.result(result)
    if result["stopped"]:
        report.say(f"{config.task}: stopped, {result['stopped']}")
    return code


def _guard(config: TrainConfig, start: Start) -> Guard:
    """Holds this run's snapshot to the ledger, and every snapshot that the weights it starts from ever saw."""
    if config.rendered_only:
        return RenderedOnly(start.exposure)
    manifests = {ancestor["root"]: ancestor["manifest"] for ancestor in config.ancestors}
    return ConsentGuard(
        config.manifest, config.snapshot_root, config.database_url, seen=start.exposure, ancestors=manifests
    )


def _held(course: Course) -> None:
    """The run as long as consent holds; what it leaves behind is marked when consent is gone."""
    try:
        course.guard.check()
        _run(course)
    except ConsentViolation as violation:
        if violation.names_clips and course.report.rank == 0:
            exposure.mark_tainted(Path(course.config.run_dir), violation, course.guard.exposure)
        raise


def _run(course: Course) -> None:
    config, report, result = course.config, course.report, course.result
    weights = _weights(config)
    learner, train, items = _codec(config, weights) if config.task == "codec" else _transformer(config, weights)
    result["packing"] = packed(plan(items, config.batch_tokens, config.seed, 0, **config.packing))
    if alone := result["packing"]["over_budget"]:
        report.say(
            f"{config.task}: {len(alone)} clips exceed a step's budget and have steps of their own, as {alone[0]}"
        )
    course.begin(learner)
    rank, world = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
    if not course.finished:
        with closing(ahead(train(course.cursor, course.done + 1, rank, world))) as steps:
            _trainer(config, course, world).fit(learner, train_dataloaders=steps)
    if course.interrupted:
        result["stopped"] = f"interrupted after step {course.until}"
        return
    if course.last["step"] != course.done:  # fewer steps are asked for than a checkpoint has, where none was due
        course.measure(learner, course.done)
    course.guard.check()
    best = course.best
    result |= {"end": best.measured, "best_step": best.step, "last": course.last["measured"]}
    result |= {"steps": course.done, "early_stop": course.done < config.steps}
    result["clips_seen"] = _seen(config, learner.last.cursor if learner.last else course.cursor, items)
    learner.average.gather()
    if rank == 0:
        learner.average.load(best.weights, learner.average.updates)
        _publish(learner, Path(config.run_dir), course.guard)
    result["weights"] = str(Path(config.run_dir) / f"{config.task}.safetensors")
    report.say(f"{config.task}: {_ended(result)} in {report.seconds:.0f} s", {"end": result["end"]})


def _ended(result: Mapping[str, Any]) -> str:
    """How a run ended, in words: also where it stopped early, and where an earlier step was better than its last."""
    steps, best = result["steps"], result["best_step"]
    early = f" after step {steps}, as nothing improved any more" if result["early_stop"] else ""
    said = f"done{early}, {shown(result['start'])} -> {shown(result['end'])}"
    return said if best == steps else f"{said} at step {best}, the best (step {steps}: {shown(result['last'])}),"


def _publish(learner: Learner, run_dir: Path, guard: Guard) -> None:
    """The averaged weights and their description, each whole or not there."""
    partial = run_dir / f".weights.{os.getpid()}.partial"
    learner.save(partial, guard.exposure)
    for path in sorted(partial.iterdir()):
        os.replace(path, run_dir / path.name)
    partial.rmdir()


def _weights(config: TrainConfig) -> Mapping[str, int]:
    """How often each training clip is seen, by clip id; empty where all are seen the same."""
    if not config.repetition or config.rendered_only:
        return {}
    members = read_members(config.manifest, "train")
    return repeats.read(
        config.repetition, config.repetition_sha256, config.snapshot_root, (m["clip_id"] for m in members)
    )


def _seen(config: TrainConfig, cursor: Cursor, items: Sequence[Item]) -> dict[str, Any]:
    """How often the training clips came by: a clip that the run never reached is said, not hidden.

    A run that went on from another snapshot's checkpoint counts that one's epochs too.
    """
    counts = cursor.seen(items, config.batch_tokens, config.seed, **config.packing)
    return {
        "repetition_sha256": config.repetition_sha256,
        "epochs": cursor.epoch,
        "fewest": min(counts.values()),
        "most": max(counts.values()),
        "never": sum(count == 0 for count in counts.values()),
    }


def _codec(config: TrainConfig, weights: Mapping[str, int]) -> tuple[Learner, Any, Sequence[Item]]:
    rendered, rendered_heldout = _rendered_frames(config, config.codec)
    clips: Pictures = rendered
    heldout: Pictures = rendered_heldout
    if not config.rendered_only:
        clips = FrameClips(config.frames_dir, read_members(config.manifest, "train"), weights)
        heldout = FrameClips(config.frames_dir, spread(read_members(config.manifest, "heldout"), HELDOUT_CLIPS))
    beside = rendered if config.rendered_share and not config.rendered_only else None

    def steps(cursor: Cursor, first: int, rank: int, world: int) -> Iterable[Any]:
        return codec_steps(config, clips, cursor, first, rank, world, beside)

    return CodecLearner(config, clips, heldout), steps, clips.items(config.codec)


def _transformer(config: TrainConfig, weights: Mapping[str, int]) -> tuple[Learner, Any, Sequence[Item]]:
    codec = load_codec(config.codec_dir)
    shape, own = replace(config.transformer, channels=codec.config.channels), config.sampling
    try:
        grid_of(own.frames, own.size, codec.config.stride, codec.config.patch * shape.patch)
    except ValueError as error:  # before hours are spent on a model whose own size it could not make
        raise DataError(f"the sampling of this model does not fit its codec, see sampling_shape: {error}") from error
    train, heldout, beside = (
        _rendered_clips(config, codec, shape) if config.rendered_only else _latents(config, codec, shape, weights)
    )

    def steps(cursor: Cursor, first: int, rank: int, world: int) -> Iterable[Any]:
        return flow_steps(config, train, cursor, first, rank, world, beside)

    return TransformerLearner(config, shape, heldout, train), steps, train.items()


Read = tuple[CaptionedClips, list[Sample], CaptionedClips | None]  # to train on, held out, rendered clips beside them


def _latents(config: TrainConfig, codec: VideoCodec, shape: TransformerConfig, weights: Mapping[str, int]) -> Read:
    measured = read_measured(config.numbers)

    def clips(members: list[dict[str, Any]]) -> LatentClips:
        stride = codec.config.stride
        return LatentClips(config.latents_dir, config.text_dir, members, shape.patch, stride, weights, measured)

    def of(split: str) -> list[dict[str, Any]]:
        """Those of a split that have a latent."""
        chosen = [m for m in read_members(config.manifest, split) if m["clip_id"] not in config.left_out]
        if not chosen:
            raise DataError(f"{config.manifest}: no clip in split {split!r} has a latent")
        return chosen

    members = spread(of("heldout"), HELDOUT_CLIPS)
    heldout = clips(members)
    beside = _rendered_clips(config, codec, shape)[0] if config.rendered_share else None
    return clips(of("train")), [heldout.read(m["clip_id"]) for m in members], beside


def _rendered_clips(config: TrainConfig, codec: VideoCodec, shape: TransformerConfig) -> Read:
    encoder = TextEncoder(config.text_encoder)
    train, heldout = (
        RenderedClips(frames, codec, encoder, shape.patch) for frames in _rendered_frames(config, codec.config)
    )
    return train, [heldout.read(clip_id) for clip_id in heldout.captions], None


def _rendered_frames(config: TrainConfig, codec: CodecConfig) -> tuple[RenderedFrames, RenderedFrames]:
    """The rendered clips that the run may train on, and those that are held out."""
    return (
        RenderedFrames(config.sampling, codec, config.rendered_clips),
        RenderedFrames(config.sampling, codec, RENDERED_HELDOUT, HELDOUT),
    )


def _trainer(config: TrainConfig, course: Course, world: int) -> Trainer:
    """Lightning's loop with our own checkpoints, progress and sampling."""
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", module="lightning", message=r".*(does not have many workers|GPU available).*")
    warnings.filterwarnings("ignore", module="lightning", message=r".*LeafSpec.*")
    local = int(os.environ.get("LOCAL_WORLD_SIZE", 1))
    return Trainer(
        accelerator="auto",
        devices=local,
        num_nodes=max(1, world // local),
        strategy=_strategy(config, world),
        precision="bf16-mixed" if torch.cuda.is_available() else "32-true",
        max_epochs=1,  # the steps decide: an epoch of the data is not an epoch of this iterable
        callbacks=[course],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
        default_root_dir=config.run_dir,
    )


def _strategy(config: TrainConfig, world: int) -> str | Strategy:
    """How processes share the work, where `torchrun` started several; one alone has nothing to share."""
    if world == 1:
        return "auto"
    if config.strategy == "fsdp":
        return ModelParallelStrategy(data_parallel_size=world, tensor_parallel_size=1)
    return "ddp"


def spread(members: list[dict[str, Any]], most: int) -> list[dict[str, Any]]:
    """At most so many of the members, evenly over the list."""
    return members[:: -(-len(members) // most)]


if __name__ == "__main__":
    process.hold_on()
    sys.exit(main())

"""What each task of a run learns from: its learner, its training clips, what is held out, and its steps."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch

from training.config import TrainConfig
from training.data import repeats
from training.data.clips import (
    CaptionedClips,
    CaptionMix,
    DataError,
    Encoded,
    FrameClips,
    LatentClips,
    Pictures,
    read_measured,
    read_members,
)
from training.data.packing import Cursor, Item
from training.data.steps import Share, codec_steps, flow_steps
from training.model.codec import load_codec
from training.model.config import CodecConfig
from training.model.diffusers_base import Tuned
from training.model.pretrained import load_pretrained
from training.model.text import TextEncoder
from training.model.transformer import grid_of
from training.networks import NetworkError
from training.networks.lpips import Lpips
from training.simulate.supply import HELDOUT, RenderedClips, RenderedFrames
from training.trainer.codec_learner import CodecLearner
from training.trainer.finetune import AdoptedCodec, TuningLearner, opened
from training.trainer.learner import Learner, TransformerLearner, seeded

HELDOUT_CLIPS = 32  # measured while training; the scorecard measures all
RENDERED_HELDOUT = 48


@dataclass(frozen=True)
class Task:
    """`items` are what the planner packs; `steps` makes a process's share of them from a cursor and a step on."""

    learner: Learner
    items: Sequence[Item]
    steps: Callable[[Cursor, int, Share], Iterable[Any]]


def open_task(config: TrainConfig, device: torch.device) -> Task:
    """The task of a configuration, on the device. Raises DataError or RepetitionError where the data do not fit."""
    task = _codec(config) if config.task == "codec" else _transformer(config, device)
    task.learner.to(device)
    return task


def _codec(config: TrainConfig) -> Task:
    if config.base:
        return _adopted(config)
    clips: Pictures
    heldout: Pictures
    beside: RenderedFrames | None
    if config.rendered_only:
        (clips, heldout), beside = _rendered_frames(config, config.codec), None
    else:
        clips = FrameClips(config.frames_dir, read_members(config.manifest, "train"), _weights(config))
        heldout = FrameClips(config.frames_dir, _spread(read_members(config.manifest, "heldout")))
        beside = _rendered_frames(config, config.codec)[0] if config.rendered_share else None
    steps = partial(codec_steps, config, clips, rendered=beside)
    try:
        lpips = Lpips.load(config.networks) if config.perceptual else None
    except NetworkError as error:
        raise DataError(f"{error}; or set perceptual to 0") from error
    return Task(CodecLearner(config, clips, heldout, lpips), clips.items(config.codec), steps)


def _adopted(config: TrainConfig) -> Task:
    """The autoencoder of a base, taken as it is."""
    base = opened(config)
    codec = load_pretrained(base.path / "vae")
    clips = FrameClips(config.frames_dir, read_members(config.manifest, "train"), _weights(config))
    heldout = FrameClips(config.frames_dir, _spread(read_members(config.manifest, "heldout")))
    return Task(AdoptedCodec(config, codec, base, heldout), clips.items(codec.config), lambda *_: ())


def _tuned(config: TrainConfig) -> Task:
    """The transformer of a base."""
    codec = load_codec(config.codec_dir)
    model = seeded(lambda: Tuned(opened(config), config.tuning, config.lora, codec.config.patch), config.seed)
    if codec.config.channels != model.config.channels:
        raise DataError(
            f"latents have {codec.config.channels} channels, the base's transformer takes {model.config.channels}"
        )
    _check_sampling(config, codec.config, model.config.patch)
    encoded = Encoded(config.latents_dir, config.text_dir, model.config.patch, codec.config.stride)
    clips = LatentClips(encoded, _with_latent(config, "train"), _weights(config), mix=_mix(config))
    heldout = LatentClips(encoded, _spread(_with_latent(config, "heldout")))
    model.null_MT = clips.text("")
    learner = TuningLearner(config, model, [heldout.read(clip_id) for clip_id in heldout.captions])
    timed = replace(config, time_mean=model.time_mean()) if config.time_mean is None else config
    return Task(learner, clips.items(), partial(flow_steps, timed, clips))


def _check_sampling(config: TrainConfig, codec: CodecConfig, patch: int) -> None:
    """Raise DataError, before hours are spent, for a model whose own size it could not make."""
    own = config.sampling
    try:
        grid_of(own.frames, own.size, codec.stride, codec.patch * patch)
    except ValueError as error:
        raise DataError(f"the sampling of this model does not fit its codec, see sampling_shape: {error}") from error


def _transformer(config: TrainConfig, device: torch.device) -> Task:
    if config.base:
        return _tuned(config)
    codec = load_codec(config.codec_dir).to(device)
    shape = replace(config.transformer, channels=codec.config.channels)
    _check_sampling(config, codec.config, shape.patch)
    rendered: list[RenderedClips] = []  # to train on, and held out
    if config.rendered_share:
        encoder = TextEncoder(config.text_encoder)
        frames = _rendered_frames(config, codec.config)
        rendered = [RenderedClips(part, codec, encoder, shape.patch) for part in frames]
    clips: CaptionedClips
    heldout: CaptionedClips
    if config.rendered_only:
        (clips, heldout), beside = rendered, None
    else:
        encoded = Encoded(config.latents_dir, config.text_dir, shape.patch, codec.config.stride)
        measured = read_measured(config.numbers)
        of = partial(LatentClips, encoded, weights=_weights(config), measured=measured, mix=_mix(config))
        clips, heldout = of(_with_latent(config, "train")), of(_spread(_with_latent(config, "heldout")))
        beside = rendered[0] if rendered else None
    learner = TransformerLearner(config, shape, [heldout.read(clip_id) for clip_id in heldout.captions], clips)
    return Task(learner, clips.items(), partial(flow_steps, config, clips, rendered=beside))


def _mix(config: TrainConfig) -> CaptionMix:
    return CaptionMix(config.structured_caption, config.long_captions, config.short_captions)


def _weights(config: TrainConfig) -> Mapping[str, int]:
    """How often each training clip is seen, by clip id; empty where all are seen the same."""
    if not config.repetition:
        return {}
    clip_ids = [m["clip_id"] for m in read_members(config.manifest, "train")]
    return repeats.read(config.repetition, config.repetition_sha256, config.snapshot_root, clip_ids)


def _with_latent(config: TrainConfig, split: str) -> list[dict[str, Any]]:
    members = [m for m in read_members(config.manifest, split) if m["clip_id"] not in config.left_out]
    if not members:
        raise DataError(f"{config.manifest}: no clip in split {split!r} has a latent")
    return members


def _rendered_frames(config: TrainConfig, codec: CodecConfig) -> tuple[RenderedFrames, RenderedFrames]:
    """The rendered clips that the run may train on, and those that are held out."""
    return (
        RenderedFrames(config.sampling, codec, config.rendered_clips),
        RenderedFrames(config.sampling, codec, RENDERED_HELDOUT, HELDOUT),
    )


def _spread(members: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """At most HELDOUT_CLIPS of the members, evenly over the list."""
    return members[:: -(-len(members) // HELDOUT_CLIPS)]

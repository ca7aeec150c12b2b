"""What each task of a run learns from: its learner, its training clips, what is held out, and its steps."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from training.config import TrainConfig
from training.data import repeats
from training.data.clips import (
    CaptionedClips,
    DataError,
    Encoded,
    FrameClips,
    LatentClips,
    Pictures,
    read_measured,
    read_members,
)
from training.data.packing import Cursor, Item, Sample
from training.data.steps import Share, codec_steps, flow_steps
from training.model.codec import load_codec
from training.model.config import CodecConfig, TransformerConfig
from training.model.patches import VideoCodec
from training.model.text import TextEncoder
from training.model.transformer import grid_of
from training.simulate.supply import HELDOUT, RenderedClips, RenderedFrames
from training.trainer.learner import CodecLearner, Learner, TransformerLearner

HELDOUT_CLIPS = 32  # measured while training; the scorecard measures all
RENDERED_HELDOUT = 48


@dataclass(frozen=True)
class Task:
    """`items` are what the planner packs; `steps` makes a process's share of them from a cursor and a step on."""

    learner: Learner
    items: Sequence[Item]
    steps: Callable[[Cursor, int, Share], Iterable[Any]]


def open_task(config: TrainConfig) -> Task:
    """The task of a configuration. Raises DataError or RepetitionError where the data do not fit."""
    weights = _weights(config)
    return _codec(config, weights) if config.task == "codec" else _transformer(config, weights)


def _weights(config: TrainConfig) -> Mapping[str, int]:
    """How often each training clip is seen, by clip id; empty where all are seen the same."""
    if not config.repetition or config.rendered_only:
        return {}
    clip_ids = [m["clip_id"] for m in read_members(config.manifest, "train")]
    return repeats.read(config.repetition, config.repetition_sha256, config.snapshot_root, clip_ids)


def _codec(config: TrainConfig, weights: Mapping[str, int]) -> Task:
    clips: Pictures
    heldout: Pictures
    if config.rendered_only:
        clips, heldout = _rendered_frames(config, config.codec)
        beside = None
    else:
        clips = FrameClips(config.frames_dir, read_members(config.manifest, "train"), weights)
        heldout = FrameClips(config.frames_dir, spread(read_members(config.manifest, "heldout"), HELDOUT_CLIPS))
        beside = _rendered_frames(config, config.codec)[0] if config.rendered_share else None

    def steps(cursor: Cursor, first: int, share: Share) -> Iterable[Any]:
        return codec_steps(config, clips, cursor, first, share, beside)

    return Task(CodecLearner(config, clips, heldout), clips.items(config.codec), steps)


def _transformer(config: TrainConfig, weights: Mapping[str, int]) -> Task:
    codec = load_codec(config.codec_dir)
    shape, own = replace(config.transformer, channels=codec.config.channels), config.sampling
    try:
        grid_of(own.frames, own.size, codec.config.stride, codec.config.patch * shape.patch)
    except ValueError as error:  # before hours are spent on a model whose own size it could not make
        raise DataError(f"the sampling of this model does not fit its codec, see sampling_shape: {error}") from error
    read = _rendered_clips if config.rendered_only else _latents
    clips, heldout, beside = read(config, codec, shape, weights)

    def steps(cursor: Cursor, first: int, share: Share) -> Iterable[Any]:
        return flow_steps(config, clips, cursor, first, share, beside)

    return Task(TransformerLearner(config, shape, heldout, clips), clips.items(), steps)


Read = tuple[CaptionedClips, list[Sample], CaptionedClips | None]  # to train on, held out, rendered clips beside them


def _latents(config: TrainConfig, codec: VideoCodec, shape: TransformerConfig, weights: Mapping[str, int]) -> Read:
    encoded = Encoded(config.latents_dir, config.text_dir, shape.patch, codec.config.stride)
    measured = read_measured(config.numbers)

    def members(split: str) -> list[dict[str, Any]]:
        """Those of a split that have a latent."""
        chosen = [m for m in read_members(config.manifest, split) if m["clip_id"] not in config.left_out]
        if not chosen:
            raise DataError(f"{config.manifest}: no clip in split {split!r} has a latent")
        return chosen

    def clips(members: list[dict[str, Any]]) -> LatentClips:
        return LatentClips(encoded, members, weights, measured)

    heldout = clips(spread(members("heldout"), HELDOUT_CLIPS))
    beside = _rendered_clips(config, codec, shape, weights)[0] if config.rendered_share else None
    return clips(members("train")), [heldout.read(clip_id) for clip_id in heldout.captions], beside


def _rendered_clips(config: TrainConfig, codec: VideoCodec, shape: TransformerConfig, _: Mapping[str, int]) -> Read:
    encoder = TextEncoder(config.text_encoder)
    frames = _rendered_frames(config, codec.config)
    clips, heldout = (RenderedClips(part, codec, encoder, shape.patch) for part in frames)
    return clips, [heldout.read(clip_id) for clip_id in heldout.captions], None


def _rendered_frames(config: TrainConfig, codec: CodecConfig) -> tuple[RenderedFrames, RenderedFrames]:
    """The rendered clips that the run may train on, and those that are held out."""
    return (
        RenderedFrames(config.sampling, codec, config.rendered_clips),
        RenderedFrames(config.sampling, codec, RENDERED_HELDOUT, HELDOUT),
    )


def spread(members: list[dict[str, Any]], most: int) -> list[dict[str, Any]]:
    """At most `most` of the members, evenly over the list."""
    return members[:: -(-len(members) // most)]

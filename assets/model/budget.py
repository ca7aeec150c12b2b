"""What a size of model will cost on these clips, before anything starts: GPU hours, bytes and shards.

Hours are operations (`training.model.cost`) over a GPU's peak times the share of it that is assumed to be reached; nothing is
measured here, and the report says what was assumed. Clips of one shape are counted together, so ten thousand take no longer
than ten.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Any

from assets.dataset import renditions
from assets.dataset.sealed import current
from assets.home import Home
from assets.model.config import PRESETS, TASKS, choices
from training.config import TrainConfig
from training.data.policy import DataPolicy, choose_moment
from training.data.shards import SHARD_BYTES
from training.model import cost
from training.model.config import LADDER

PEAK = 989e12  # operations a second: an H100's or H200's dense bf16
# Assumed shares of it: what small transformers are published to reach for S, and what larger ones should
MFU: Mapping[str, float] = {"nano": 0.05, "micro": 0.10, "S": 0.23, "B": 0.33, "L": 0.40, "XL": 0.40, "2B": 0.40}
ENCODING_MFU = 0.20  # of convolutions in few channels
DECODED_PER_S = 150e6  # source pixels that one core decodes and scales in a second; 720p of phones
CAPTION_TOKENS = 32


@dataclass(frozen=True)
class Film:
    """A clip as it was delivered."""

    width: int
    height: int
    frames: int
    fps: float


@dataclass(frozen=True)
class Budget:
    """Hours are of one GPU, and of one core for decoding."""

    size: str
    policy: str
    clips: int
    unusable: int  # too short to be seen at all, or of unknown size
    tokens: int  # of one epoch
    epochs: float
    encode_gpu_h: float
    codec_gpu_h: float
    train_gpu_h: float
    decode_core_h: float
    picture_bytes: int
    latent_bytes: int
    shards: int
    mfu: float

    @property
    def gpu_h(self) -> float:
        return self.encode_gpu_h + self.codec_gpu_h + self.train_gpu_h

    def report(self) -> dict[str, str]:
        """For people."""
        kept = f"{self.shards:,} shards" if self.shards else "a file each"
        return {
            "size": f"{self.size}: clips as {self.policy}",
            "clips": f"{self.clips:,}" + (f", {self.unusable:,} more cannot be used" if self.unusable else ""),
            "GPU hours": f"{self.gpu_h:,.1f}",
            "  encoding": f"{self.encode_gpu_h:,.2f}",
            "  autoencoder": f"{self.codec_gpu_h:,.1f}",
            "  transformer": f"{self.train_gpu_h:,.1f}, {self.epochs:,.1f} epochs of {self.tokens:,} tokens",
            "core hours of decoding": f"{self.decode_core_h:,.1f}",
            "latents": f"{self.latent_bytes / 1e9:,.2f} GB in {kept}",
            "pictures on disk": f"{self.picture_bytes / 1e9:,.2f} GB",
            "assumed": f"a GPU of {PEAK / 1e12:,.0f} TFLOP/s (bf16), of which {self.mfu:.0%} are reached in training and "
            f"{ENCODING_MFU:.0%} in encoding; {DECODED_PER_S / 1e6:,.0f} million pixels decoded a core second. Not measured.",
        }


def of_snapshot(home: Home) -> list[Film]:
    """The members of the current snapshot. Raises SnapshotError before the first."""
    media = {row["item_id"]: row for row in home.lake.rows("media")}
    rows = ((m["end_frame"] - m["start_frame"], media.get(m["item_id"], {})) for m in current(home).members)
    return [Film(m.get("width") or 0, m.get("height") or 0, frames, m.get("fps") or 0.0) for frames, m in rows]


def plan(home: Home, size: str, films: Iterable[Film], mfu: float | None = None, epochs: float | None = None) -> Budget:
    """What it takes to encode the films and to train both models at this size: for so many epochs, or else as the home's
    settings or the size's preset say."""
    settings = home.training
    if renditions.size_of(home) != size:  # the budget of another size says nothing about this one
        settings = {"preset": size} if size in PRESETS else {"size": size}
    codec, transformer = (_chosen(choices(settings, task)) for task in TASKS)
    rung, share = LADDER[size], MFU[size] if mfu is None else mfu
    tokens = cells = encode = epoch = pictures = latents = clips = 0
    decode, unusable = 0.0, 0
    for film, count in Counter(films).items():
        if min(film.width, film.height, film.frames) < 1 or not film.fps > 0:
            unusable += count
            continue
        t, h, w = _grid(film, rung.data, rung.codec.stride, rung.codec.patch)
        n = t * (h // rung.transformer.patch) * (w // rung.transformer.patch)
        clips += count
        tokens += count * n
        cells += count * t * h * w
        encode += count * cost.encoding_flops(rung.codec, t * h * w)
        epoch += count * cost.training_flops(rung.transformer, cost.Load([n], [CAPTION_TOKENS], t))
        decode += (
            count * film.width * film.height * choose_moment(0, film.frames, film.fps, rung.data).end / DECODED_PER_S
        )
        pictures += count * _picture_bytes(film, rung.pictures)
    latents = cells * rung.codec.channels * (2 if rung.crops else 4)
    if epochs is None:
        epochs = transformer["steps"] * transformer["batch_tokens"] / max(1, tokens)
    return Budget(
        size=size,
        policy=rung.data.name,
        clips=clips,
        unusable=unusable,
        tokens=tokens,
        epochs=epochs,
        encode_gpu_h=encode / (PEAK * ENCODING_MFU) / 3600,
        codec_gpu_h=cost.codec_training_flops(rung.codec, codec["steps"] * codec["batch_tokens"])
        / (PEAK * share)
        / 3600,
        train_gpu_h=epochs * epoch / (PEAK * share) / 3600,
        decode_core_h=decode / 3600,
        picture_bytes=pictures,
        latent_bytes=latents,
        shards=math.ceil(latents / SHARD_BYTES) if rung.crops else 0,
        mfu=share,
    )


def _chosen(own: Mapping[str, Any]) -> dict[str, Any]:
    return {item.name: own.get(item.name, item.default) for item in fields(TrainConfig)}


def _grid(film: Film, policy: DataPolicy, stride: int, patch: int) -> tuple[int, int, int]:
    """Latent frames, rows and columns."""
    width, height = policy.size(film.width, film.height)
    frames = len(choose_moment(0, film.frames, film.fps, policy).indices)
    return (frames - 1) // stride + 1, height // patch, width // patch


def _picture_bytes(film: Film, policy: DataPolicy) -> int:
    width, height = policy.shape(film.width, film.height)
    return 3 * width * height * len(choose_moment(0, film.frames, film.fps, policy).indices)

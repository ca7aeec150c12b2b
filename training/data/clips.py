"""The clips of a sealed manifest as training reads them: frames, latents, caption tokens and numbers.

Files are named by clip or by text and are checked before the first step: what is missing or does not fit is a DataError
that names the clips. Nothing is skipped. Making these files belongs to the dataset stage and `encode`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from training.data.packing import Item, Sample
from training.data.repeats import EVEN
from training.data.shards import read_index
from training.model.conditioning import numbers, read_numbers
from training.model.config import CodecConfig
from training.model.text import text_key
from training.model.transformer import positions, to_tokens


class DataError(ValueError):
    """Files that training needs are missing or do not fit. Says which clips."""


def read_members(manifest: str | Path, split: str) -> list[dict[str, Any]]:
    """The manifest's members of a split ("train" or "heldout"), by clip id."""
    try:
        members = json.loads(Path(manifest).read_text())["members"]
    except (OSError, ValueError, KeyError) as error:
        raise DataError(f"{manifest}: cannot be read as a manifest: {error}") from error
    chosen = sorted((m for m in members if m["split"] == split), key=lambda m: m["clip_id"])
    if not chosen:
        raise DataError(f"{manifest}: no clip in split {split!r}")
    return chosen


def texts_of(member: Mapping[str, Any]) -> tuple[str, ...]:
    """All captions of a member; evaluation uses the first."""
    return tuple(member.get("captions") or (member["caption"],))


@dataclass(frozen=True)
class CaptionMix:
    """How often a clip is seen with which of its captions, as relative frequencies.

    `structured` is the caption that evaluation uses, which facts alone have worded; `long` and `short` are shared among all
    phrasings of that length. Where a clip has none of a kind, its share falls to the others.
    """

    structured: float = 0.0
    long: float = 0.0
    short: float = 0.0

    def shares(self, member: Mapping[str, Any]) -> tuple[float, ...]:
        """The share of each of `texts_of(member)`; empty where all are seen the same."""
        texts = texts_of(member)
        if not (self.structured or self.long or self.short):
            return ()
        brief = texts.index(member["caption_short"]) if member.get("caption_short") in texts[1:] else len(texts)
        parts = [self.long / brief] * brief + [self.short / max(1, len(texts) - brief)] * (len(texts) - brief)
        parts[0] += self.structured
        whole = sum(parts)
        return tuple(part / whole for part in parts) if whole else ()


def _read(path: Path, name: str) -> tuple[Tensor, dict[str, str]]:
    """One tensor of a safetensors file, and its metadata."""
    with _opened(path) as file:
        return file.get_tensor(name), file.metadata() or {}


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """A safetensors file, to read from. DataError where it cannot be read."""
    try:
        with safe_open(path, framework="pt") as file:
            yield file
    except (OSError, SafetensorError) as error:
        raise DataError(f"{path}: {error}") from error


def require_files(folder: Path, names: Iterable[str], what: str) -> None:
    """Raise DataError, with the first few names, if <name>.safetensors is missing for any."""
    missing = [name for name in names if not (folder / f"{name}.safetensors").is_file()]
    if missing:
        shown = ", ".join(missing[:5]) + (f" and {len(missing) - 5} more" if len(missing) > 5 else "")
        raise DataError(f"{what} missing in {folder}: {shown}")


def read_measured(path: str) -> dict[str, dict[str, float]]:
    """What was measured of clips by number, see conditioning.read_numbers; nothing where no file is named."""
    try:
        return read_numbers(path) if path else {}
    except ValueError as error:
        raise DataError(str(error)) from error


EVERY_CAPTION = CaptionMix()
_EVENLY: Mapping[str, int] = MappingProxyType({})
_UNMEASURED: Mapping[str, Mapping[str, float]] = MappingProxyType({})


class FrameClips:
    """Pictures by clip id: uint8 [T, H, W, 3] and frames per second. `weights`: how often each is seen, if not evenly."""

    def __init__(
        self, folder: str | Path, members: Sequence[Mapping[str, Any]], weights: Mapping[str, int] = _EVENLY
    ) -> None:
        self.folder, self.clip_ids, self.weights = Path(folder), [m["clip_id"] for m in members], weights
        require_files(self.folder, self.clip_ids, "frames")

    def read(self, clip_id: str) -> tuple[Tensor, float]:
        frames_THWC, metadata = _read(self.folder / f"{clip_id}.safetensors", "frames")
        return _pictures(clip_id, frames_THWC), float(metadata.get("fps", "nan"))

    def read_chunks(self, clip_id: str, frames: int) -> Iterator[Tensor]:
        """The pictures in parts of `frames`, the first of one more, the last of what is left."""
        with _opened(self.folder / f"{clip_id}.safetensors") as file:
            whole = file.get_slice("frames")
            length = whole.get_shape()[0]
            for start, end in pairwise((0, *range(frames + 1, length, frames), length)):
                yield _pictures(clip_id, whole[start:end])

    def fps(self, clip_id: str) -> float:
        """Frames per second; nan where the file does not say."""
        with _opened(self.folder / f"{clip_id}.safetensors") as file:
            return float((file.metadata() or {}).get("fps", "nan"))

    def shape(self, clip_id: str) -> tuple[int, int, int]:
        """Frames, height and width, from the file's header alone."""
        with safe_open(self.folder / f"{clip_id}.safetensors", framework="pt") as file:
            t, h, w, _ = file.get_slice("frames").get_shape()
        return t, h, w

    def items(self, codec: CodecConfig) -> list[Item]:
        """What the planner needs: a clip's tokens are its latent cells. Raises DataError for shapes that do not fit."""
        items = []
        for clip_id in self.clip_ids:
            t, h, w = self.shape(clip_id)
            if (t - 1) % codec.stride or h % codec.patch or w % codec.patch:
                raise DataError(
                    f"frames of {clip_id}: {t} x {w}x{h} are not {codec.stride}k + 1 with sides of {codec.patch}n"
                )
            cells = ((t - 1) // codec.stride + 1) * (h // codec.patch) * (w // codec.patch)
            items.append(Item(clip_id, cells, (t, h, w), self.weights.get(clip_id, EVEN)))
        return items


def _pictures(clip_id: str, frames_THWC: Tensor) -> Tensor:
    """The pictures, checked. Raises DataError for any other tensor."""
    if frames_THWC.dtype != torch.uint8 or frames_THWC.ndim != 4 or frames_THWC.shape[3] != 3:
        raise DataError(f"frames of {clip_id} must be uint8 [T, H, W, 3], got {list(frames_THWC.shape)}")
    return frames_THWC


@dataclass(frozen=True)
class Encoded:
    """The folders of latents and of caption tokens, the transformer's patch and the codec's stride."""

    latents: str | Path
    texts: str | Path
    patch: int
    stride: int


class LatentClips:
    """Samples by clip id: latent tokens, caption tokens, numbers, and where each token stands.

    `weights`: how often each is seen, if not evenly. `measured`: what is known of clips by number (conditioning.NUMERIC)
    beyond the frame rate and motion that a latent's file says. `mix`: which caption is seen how often.
    """

    def __init__(
        self,
        encoded: Encoded,
        members: Sequence[Mapping[str, Any]],
        weights: Mapping[str, int] = _EVENLY,
        measured: Mapping[str, Mapping[str, float]] = _UNMEASURED,
        mix: CaptionMix = EVERY_CAPTION,
    ) -> None:
        self.weights, self.measured = weights, measured
        self.shares: Mapping[str, Sequence[float]] = {
            m["clip_id"]: shares for m in members if (shares := mix.shares(m))
        }
        self.latents, self.texts = Path(encoded.latents), Path(encoded.texts)
        self.patch, self.stride = encoded.patch, encoded.stride
        self.captions: Mapping[str, tuple[str, ...]] = {m["clip_id"]: texts_of(m) for m in members}
        self.shards = read_index(self.latents)
        require_files(self.latents, (clip_id for clip_id in self.captions if clip_id not in self.shards), "latents")
        require_files(
            self.texts, sorted({text_key(text) for texts in self.captions.values() for text in texts}), "caption tokens"
        )

    def read(self, clip_id: str, text: str | None = None) -> Sample:
        """The clip with one of its captions, its first unless another is named."""
        z_Cthw, metadata = self._latent(clip_id)
        text_MT = self.text(text or self.captions[clip_id][0])
        x_NP, grid = to_tokens(z_Cthw, self.patch)
        fps = float(metadata.get("fps", "nan"))
        seconds = self.stride / fps if fps > 0 else self.stride / 8.0
        values = {"motion": float(metadata.get("motion", "nan")), **self.measured.get(clip_id, {}), "fps": fps}
        return Sample(clip_id, x_NP, grid, positions(grid, seconds), text_MT, numbers(values))

    def text(self, text: str) -> Tensor:
        """The tokens of a caption, [M, T]."""
        return _read(self.texts / f"{text_key(text)}.safetensors", "tokens")[0]

    def _latent(self, clip_id: str) -> tuple[Tensor, Mapping[str, Any]]:
        """The latent f32 [C, t, h, w], and what its file says of the clip: `fps` and `motion`."""
        if clip_id not in self.shards:
            return _read(self.latents / f"{clip_id}.safetensors", "latent")
        entry = self.shards[clip_id]
        z_Cthw, _ = _read(entry.path, clip_id)
        return z_Cthw.float(), {"fps": entry.fps, "motion": entry.motion}

    def items(self) -> list[Item]:
        """What the planner needs, from the files' headers or the shards' indexes alone."""
        items = []
        for clip_id in self.captions:
            if clip_id in self.shards:
                _, t, h, w = self.shards[clip_id].shape
            else:
                with safe_open(self.latents / f"{clip_id}.safetensors", framework="pt") as file:
                    _, t, h, w = file.get_slice("latent").get_shape()
            tokens = t * (h // self.patch) * (w // self.patch)
            items.append(Item(clip_id, tokens, (t, h, w), self.weights.get(clip_id, EVEN)))
        return items


class Pictures(Protocol):
    """Clips as the codec reads them: FrameClips, or rendered ones."""

    clip_ids: list[str]

    def read(self, clip_id: str) -> tuple[Tensor, float]: ...

    def items(self, codec: CodecConfig) -> list[Item]: ...


class CaptionedClips(Protocol):
    """Clips as the transformer reads them: LatentClips, or rendered ones."""

    captions: Mapping[str, tuple[str, ...]]
    shares: Mapping[
        str, Sequence[float]
    ]  # of each caption of a clip; a clip that is not there shows all of them evenly

    def read(self, clip_id: str, text: str | None = None) -> Sample: ...

    def items(self) -> list[Item]: ...


class PicturesAtAnyShape(Protocol):
    """Rendered clips, drawn at the shape (T, H, W) of the footage in their step."""

    clip_ids: list[str]

    def read_at(self, clip_id: str, shape: Sequence[int]) -> Tensor: ...

"""What training reads: a sealed manifest's members, their frames, latents and caption tokens, as steps of a run.

Files are named by clip or by text and are checked before the first step: what is missing or does not fit is a DataError
that names the clips. Nothing is skipped. Making these files belongs to the dataset stage and `encode`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from training.config import CodecConfig, TrainConfig
from training.data.caption_sampling import draw_text, texts_of
from training.data.packing import Batch, Cursor, Item, Sample, collate
from training.data.repeats import EVEN
from training.model import flow
from training.model.codec import to_unit
from training.model.conditioning import draw_given, numbers, read_numbers
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
    """The pictures as they are. DataError where they are none."""
    if frames_THWC.dtype != torch.uint8 or frames_THWC.ndim != 4 or frames_THWC.shape[3] != 3:
        raise DataError(f"frames of {clip_id} must be uint8 [T, H, W, 3], got {list(frames_THWC.shape)}")
    return frames_THWC


class LatentClips:
    """Samples by clip id: latent tokens, caption tokens, numbers, and where each token stands.

    `weights`: how often each is seen, if not evenly. `measured`: what is known of clips by number (conditioning.NUMERIC)
    beyond the frame rate and motion that a latent's file says.
    """

    def __init__(
        self,
        latents: str | Path,
        texts: str | Path,
        members: Sequence[Mapping[str, Any]],
        patch: int,
        stride: int,
        weights: Mapping[str, int] = _EVENLY,
        measured: Mapping[str, Mapping[str, float]] = _UNMEASURED,
    ) -> None:
        self.weights, self.measured = weights, measured
        self.latents, self.texts, self.patch, self.stride = Path(latents), Path(texts), patch, stride
        self.captions: Mapping[str, tuple[str, ...]] = {m["clip_id"]: texts_of(m) for m in members}
        require_files(self.latents, self.captions, "latents")
        require_files(
            self.texts, sorted({text_key(text) for texts in self.captions.values() for text in texts}), "caption tokens"
        )

    def read(self, clip_id: str, text: str | None = None) -> Sample:
        """The clip with one of its captions, its first unless another is named."""
        z_Cthw, metadata = _read(self.latents / f"{clip_id}.safetensors", "latent")
        text_MT, _ = _read(self.texts / f"{text_key(text or self.captions[clip_id][0])}.safetensors", "tokens")
        x_NP, grid = to_tokens(z_Cthw, self.patch)
        fps = float(metadata.get("fps", "nan"))
        seconds = self.stride / fps if fps > 0 else self.stride / 8.0
        known = {"motion": float(metadata.get("motion", "nan")), **self.measured.get(clip_id, {}), "fps": fps}
        return Sample(clip_id, x_NP, grid, positions(grid, seconds), text_MT, numbers(known))

    def items(self) -> list[Item]:
        """What the planner needs, from the files' headers alone."""
        items = []
        for clip_id in self.captions:
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

    def read(self, clip_id: str, text: str | None = None) -> Sample: ...

    def items(self) -> list[Item]: ...


class PicturesAtAnyShape(Protocol):
    """Rendered clips that are drawn to stand beside footage of a shape (T, H, W)."""

    clip_ids: list[str]

    def read_at(self, clip_id: str, shape: Sequence[int]) -> Tensor: ...


@dataclass
class CodecStep:
    """One step of the codec: clips of one shape."""

    step: int
    cursor: Cursor
    clip_ids: tuple[str, ...]
    x_BCTHW: Tensor
    weight_B: Tensor  # see `share`
    tokens: int


@dataclass
class FlowStep:
    """One step of the transformer: a pack, its noise, times and given tokens, all keyed by clip and step."""

    step: int
    cursor: Cursor
    batch: Batch
    e_NP: Tensor
    t_F: Tensor
    given_N: Tensor
    weight_S: Tensor
    tokens: int

    @property
    def clip_ids(self) -> tuple[str, ...]:
        return self.batch.clip_ids


def share(pack: Sequence[str], rank: int, world: int) -> tuple[tuple[str, ...], Tensor]:
    """This process's part of a pack, and each clip's weight, such that the mean over processes of the weighted sums is
    the mean over the whole pack. A process that would have nothing takes the first clip with weight 0."""
    mine = tuple(pack[rank::world])
    if not mine:
        return (pack[0],), torch.zeros(1)
    return mine, torch.full((len(mine),), world / len(pack))


def rendered_beside(pack: Sequence[str], rendered: Sequence[str], config: TrainConfig, step: int) -> tuple[str, ...]:
    """Names of the rendered clips that join a pack, such that they are `rendered_share` of the step; by seed and step alone."""
    count = min(len(rendered), round(len(pack) * config.rendered_share / (1 - config.rendered_share)))
    drawn = torch.randint(len(rendered), (count,), generator=flow.keyed("rendered", config.seed, step))
    return tuple(dict.fromkeys(rendered[i] for i in drawn.tolist()))  # twice in a step, a clip had the same noise twice


def codec_steps(
    config: TrainConfig,
    clips: Pictures,
    cursor: Cursor,
    first: int,
    rank: int = 0,
    world: int = 1,
    rendered: PicturesAtAnyShape | None = None,
) -> Iterator[CodecStep]:
    """Steps `first` to `config.steps`. Shapes are not mixed: rendered clips are drawn in the shape of their pack."""
    items = clips.items(config.codec)
    known = {item.clip_id: item for item in items}
    packs = cursor.packs(items, config.batch_tokens, config.seed, **config.packing)
    for step, pack in zip(range(first, config.steps + 1), packs, strict=False):
        joining = rendered_beside(pack, rendered.clip_ids, config, step) if rendered else ()
        shape = known[pack[0]].shape

        def read(clip_id: str, shape: tuple[int, ...] = shape) -> Tensor:
            if rendered is None or clip_id in known:
                return clips.read(clip_id)[0]
            return rendered.read_at(clip_id, shape)

        mine, weight_B = share(pack + joining, rank, world)
        generators = [flow.keyed("mirrored", config.seed, clip_id, step) for clip_id in mine]
        x_BCTHW = torch.stack(
            [mirrored(to_unit(read(i)), generator) for i, generator in zip(mine, generators, strict=True)]
        )
        done = Cursor(cursor.epoch, cursor.pack + 1)
        tokens = sum(known[i].tokens for i in pack) + len(joining) * known[pack[0]].tokens
        yield CodecStep(step, done, mine, x_BCTHW, weight_B, tokens)


def mirrored(x_CTHW: Tensor, generator: torch.Generator) -> Tensor:
    """The clip or one of its seven reflections, in time, height and width: few films look like more."""
    chosen = torch.rand(3, generator=generator) < 0.5
    return x_CTHW.flip([axis + 1 for axis in range(3) if chosen[axis]])


def flow_steps(
    config: TrainConfig,
    clips: CaptionedClips,
    cursor: Cursor,
    first: int,
    rank: int = 0,
    world: int = 1,
    rendered: CaptionedClips | None = None,
) -> Iterator[FlowStep]:
    """Steps `first` to `config.steps`, each with its share of `rendered` clips."""
    items = clips.items()
    tokens = {item.clip_id: item.tokens for item in items + (rendered.items() if rendered else [])}
    own, names = {item.clip_id for item in items}, list(rendered.captions) if rendered else []
    for step, pack in zip(
        range(first, config.steps + 1),
        cursor.packs(items, config.batch_tokens, config.seed, **config.packing),
        strict=False,
    ):
        if rendered is not None:
            pack += rendered_beside(pack, names, config, step)
        mine, weight_S = share(pack, rank, world)
        samples = []
        for clip_id in mine:
            source = clips if rendered is None or clip_id in own else rendered
            samples.append(source.read(clip_id, draw_text(source.captions[clip_id], config.seed, clip_id, step)))
        # like beside like: attention computes neighbours of equal lengths in one call. The weights are all alike.
        batch = collate(sorted(samples, key=lambda s: (len(s.x_NP), len(s.text_MT))))
        drawn = [draw(config, *pair, step) for pair in zip(batch.clip_ids, batch.grids, strict=True)]
        batch = drop_conditions(batch, [d.keep_text for d in drawn], [d.keep_numbers for d in drawn])
        yield FlowStep(
            step=step,
            cursor=Cursor(cursor.epoch, cursor.pack + 1),
            batch=batch,
            e_NP=torch.cat(
                [torch.randn(n, batch.x_NP.shape[1], generator=d.generator) for n, d in _sized(batch, drawn)]
            ),
            t_F=torch.tensor([d.t for d in drawn])[batch.segment_F],
            given_N=torch.cat([d.given_N for d in drawn]),
            weight_S=weight_S,
            tokens=sum(tokens[clip_id] for clip_id in pack),
        )


@dataclass
class Drawn:
    """The random choices of one sample at one step; `generator` goes on to draw its noise."""

    generator: torch.Generator
    t: float
    given_N: Tensor
    keep_text: bool
    keep_numbers: bool


def draw(config: TrainConfig, clip_id: str, grid: tuple[int, int, int], step: int) -> Drawn:
    """All choices for a clip at a step, from (seed, clip, step) alone."""
    generator = flow.keyed("train", config.seed, clip_id, step)
    keep_text, keep_numbers = torch.rand(2, generator=generator).tolist()
    t = flow.draw_timestep(grid[0] * grid[1] * grid[2], generator, config.noise_shift)
    given_N = draw_given(grid, config.modes, generator)
    return Drawn(generator, t, given_N, keep_text >= config.caption_dropout, keep_numbers >= config.numeric_dropout)


def drop_conditions(batch: Batch, keep_text: Sequence[bool], keep_numbers: Sequence[bool]) -> Batch:
    """The batch with captions and numbers hidden where not kept."""
    numeric_SQ = batch.numeric_SQ.masked_fill(~torch.tensor(list(keep_numbers))[:, None], float("nan"))
    return replace(batch, text_kept_S=torch.tensor(list(keep_text)), numeric_SQ=numeric_SQ)


def _sized(batch: Batch, drawn: Sequence[Drawn]) -> Iterator[tuple[int, Drawn]]:
    return zip(batch.segments.lengths, drawn, strict=True)

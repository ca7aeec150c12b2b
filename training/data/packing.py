"""Clips of any size, length and aspect in one token budget.

`plan` says which clips share a step: a pure function of the items, the budget, the seed and the epoch, so that a resumed
or repeated run meets the same packs. Every clip is in exactly one pack of each epoch, or in as many as its weight says
(`repeats`) and never twice in one; what does not fit the budget has a pack to itself and is reported, never dropped
or cut. `collate` lays one pack's samples end to end.

Shape suffixes: N packed tokens, P values a token, F latent frames of the pack, S segments (samples), M text tokens.
References: NiT, arXiv 2506.03131 (packing); AdaptiveLoad, arXiv 2605.17923 (attention cost as a second budget).
"""

from __future__ import annotations

import hashlib
import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from training.data.repeats import EVEN, occurrences
from training.model.layers import Segments


class PackingError(ValueError):
    """Items that cannot be planned: none at all, twice the same, or one without tokens."""


@dataclass(frozen=True)
class Item:
    """What the planner knows of a clip."""

    clip_id: str
    tokens: int
    shape: tuple[int, ...] = ()  # clips of one shape can be stacked; see `plan(by_shape=True)`
    weight: int = EVEN  # how often it is seen, see `repeats`


@dataclass(frozen=True)
class Plan:
    """The packs of one epoch, in the order in which they are used."""

    packs: tuple[tuple[str, ...], ...]
    tokens: int  # of all packs
    budget: int
    over_budget: tuple[str, ...]  # clips larger than a budget, each alone in its pack
    resting: tuple[str, ...] = ()  # clips that their weight leaves out of this epoch

    @property
    def fill(self) -> float:
        """Tokens used over tokens offered: 1.0 wastes nothing."""
        return self.tokens / max(self.tokens, self.budget * len(self.packs))


def report(epoch: Plan) -> dict[str, Any]:
    """What a run says of its packing: an epoch's packs, how full they are, and which clips no pack had room for."""
    sizes = {"packs": len(epoch.packs), "tokens": epoch.tokens, "budget": epoch.budget, "fill": round(epoch.fill, 4)}
    return sizes | {"over_budget": list(epoch.over_budget)}


def plan(
    items: Sequence[Item],
    budget: int,
    seed: int,
    epoch: int,
    by_shape: bool = False,
    attention_budget: int | None = None,
) -> Plan:
    """Shuffle by (seed, epoch), then first fit decreasing; packs are shuffled again so that none is always last.

    `by_shape` keeps shapes apart (for models that stack clips). `attention_budget` bounds the sum of squared lengths.
    Raises PackingError for no items, repeated clip ids or empty items.
    """
    _check(items, budget)
    rng = np.random.default_rng(np.frombuffer(hashlib.sha256(f"plan {seed} {epoch}".encode()).digest(), np.uint32))
    present = sorted(items, key=lambda item: item.clip_id)
    ordered = [i for i in present for _ in range(occurrences(i.clip_id, i.weight, seed, epoch, epoch + 1))]
    shuffled = [ordered[i] for i in rng.permutation(len(ordered))]
    groups: dict[tuple[int, ...], list[Item]] = defaultdict(list)
    for item in shuffled:
        groups[item.shape if by_shape else ()].append(item)

    bins = [b for _, group in sorted(groups.items()) for b in _first_fit(group, budget, attention_budget)]
    packs = [tuple(item.clip_id for item in sorted(b, key=lambda item: item.shape)) for b in bins]
    most = min(budget, budget if attention_budget is None else math.isqrt(attention_budget))
    over = tuple(item.clip_id for item in present if item.tokens > most)
    seen = {item.clip_id for item in ordered}
    resting = tuple(item.clip_id for item in present if item.clip_id not in seen)
    mixed = tuple(packs[i] for i in rng.permutation(len(packs)))
    return Plan(mixed, sum(item.tokens for item in ordered), budget, over, resting)


def _first_fit(items: Sequence[Item], budget: int, attention_budget: int | None) -> list[list[Item]]:
    """Longest first, each into the first pack with room and without it. Equal lengths stay in their shuffled order."""
    bins: list[list[Item]] = []
    used: list[tuple[int, int]] = []
    held: list[set[str]] = []  # clip ids: twice in one step, a clip would have the same noise twice
    first_open = 0  # packs before it have no room even for the smallest item
    smallest = min(item.tokens for item in items)
    for item in sorted(items, key=lambda item: -item.tokens):
        for i in range(first_open, len(bins)):
            tokens, squares = used[i][0] + item.tokens, used[i][1] + item.tokens**2
            fits = tokens <= budget and (attention_budget is None or squares <= attention_budget)
            if fits and item.clip_id not in held[i]:
                bins[i].append(item)
                used[i] = (tokens, squares)
                held[i].add(item.clip_id)
                break
        else:
            bins.append([item])
            used.append((item.tokens, item.tokens**2))
            held.append({item.clip_id})
        while first_open < len(bins) and used[first_open][0] + smallest > budget:
            first_open += 1
    return bins


def _check(items: Sequence[Item], budget: int) -> None:
    if not items:
        raise PackingError("nothing to pack: the split has no clips")
    if budget < 1:
        raise PackingError(f"the token budget must be positive, got {budget}")
    if len({item.clip_id for item in items}) != len(items):
        raise PackingError("a clip is listed twice")
    if any(item.weight < 1 for item in items) or sum(item.weight for item in items) < EVEN * len(items):
        raise PackingError("weights below 1 would never be seen, and weights below EVEN on average leave epochs empty")
    empty = [item.clip_id for item in items if item.tokens < 1]
    if empty:
        raise PackingError(f"clips without tokens: {', '.join(empty)}")


@dataclass
class Cursor:
    """Where a run stands in its plans. Saved with every checkpoint."""

    epoch: int = 0
    pack: int = 0

    def packs(self, items: Sequence[Item], budget: int, seed: int, **options: Any) -> Iterator[tuple[str, ...]]:
        """Packs without end from here on; the cursor moves past a pack once the next one is asked for."""
        while True:
            packs = plan(items, budget, seed, self.epoch, **options).packs
            while self.pack < len(packs):
                yield packs[self.pack]
                self.pack += 1
            self.epoch, self.pack = self.epoch + 1, 0

    def seen(self, items: Sequence[Item], budget: int, seed: int, **options: Any) -> dict[str, int]:
        """How often each clip has been seen up to the cursor, from the first epoch on."""
        counts = {item.clip_id: occurrences(item.clip_id, item.weight, seed, 0, self.epoch) for item in items}
        if self.pack:
            for pack in plan(items, budget, seed, self.epoch, **options).packs[: self.pack]:
                for clip_id in pack:
                    counts[clip_id] += 1
        return counts


@dataclass(frozen=True)
class Sample:
    """One clip as tokens, ready to pack."""

    clip_id: str
    x_NP: Tensor  # clean latent tokens, frame by frame, row by row
    grid: tuple[int, int, int]  # tokens in time, down and across; their product is N
    position_N3: Tensor  # seconds, and place down and across in units of the picture's size; see transformer.positions
    text_MT: Tensor  # text encoder tokens
    numeric: tuple[float, ...]  # see conditioning.NUMERIC; nan where unknown


@dataclass(frozen=True)
class Batch:
    """Samples end to end. `frame_N` counts latent frames over the whole pack, `segment_F` says whose they are."""

    clip_ids: tuple[str, ...]
    x_NP: Tensor
    segments: Segments
    position_N3: Tensor
    frame_N: Tensor
    segment_F: Tensor
    text_MT: Tensor
    text_segments: Segments
    text_kept_S: Tensor  # bool; False where the caption is replaced by the learned null
    numeric_SQ: Tensor
    grids: tuple[tuple[int, int, int], ...] = field(default=())

    def to(self, device: torch.device | str) -> Batch:
        moved: dict[str, Any] = {n: value.to(device) for n, value in vars(self).items() if isinstance(value, Tensor)}
        return replace(self, **moved)


def collate(samples: Sequence[Sample]) -> Batch:
    """Lay the samples end to end, in the given order."""
    frame_N, segment_F, frames = [], [], 0
    for index, sample in enumerate(samples):
        t, h, w = sample.grid
        frame_N.append(torch.arange(t).repeat_interleave(h * w) + frames)
        segment_F.append(torch.full((t,), index))
        frames += t
    return Batch(
        clip_ids=tuple(sample.clip_id for sample in samples),
        x_NP=torch.cat([sample.x_NP for sample in samples]),
        segments=Segments(tuple(len(sample.x_NP) for sample in samples)),
        position_N3=torch.cat([sample.position_N3 for sample in samples]),
        frame_N=torch.cat(frame_N),
        segment_F=torch.cat(segment_F),
        text_MT=torch.cat([sample.text_MT for sample in samples]),
        text_segments=Segments(tuple(len(sample.text_MT) for sample in samples)),
        text_kept_S=torch.ones(len(samples), dtype=torch.bool),
        numeric_SQ=torch.tensor([sample.numeric for sample in samples], dtype=torch.float32),
        grids=tuple(sample.grid for sample in samples),
    )

"""Which clips show the same footage: equal by their decoded frames, or near by perceptual hash, as they are
or turned left to right.

What belongs here: candidates, distances, groups and the choice of the original. Every group is resolved to its
earliest owner, in the order (received day, time, delivery, position, shot); the result does not depend on the order of
the input. Candidates share a 16-bit band of a frame's structure hash, and in a crowded band only neighbours by the
whole hash are compared, so the work grows with the number of frames and not with its square.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from assets.curation.phash import distance, mirrored, unpack

DUPLICATES_VERSION = "duplicates-2"
NEAR_STRUCTURE_BITS = 60  # of 256; re-encodes, crops of 4 % and trims measure up to 57, other footage 74 and more
NEAR_COLOUR_BITS = 8  # of 64; copies measure 0 to 5
BANDS = 4  # of 16 bits
NEIGHBOURS = 8


@dataclass(frozen=True)
class Clip:
    """What is compared. `order` decides who was first; `hashes` may be empty (blank or unmeasured clips)."""

    clip_id: str
    item_id: str
    shot_index: int
    contributor_id: str | None
    order: tuple[str, str, str, int]
    hashes: tuple[str, ...]

    @property
    def rank(self) -> tuple[Any, ...]:
        return (*self.order, self.shot_index, self.item_id)


def find_duplicates(clips: Iterable[Clip]) -> list[dict[str, Any]]:
    """Rows of table `duplicates`, one a clip."""
    ranked = sorted(clips, key=lambda clip: clip.rank)
    unpacked = [unpack(clip.hashes) for clip in ranked]
    groups = _Groups(len(ranked))
    first_seen: dict[str, int] = {}
    for index, clip in enumerate(ranked):
        groups.join(first_seen.setdefault(clip.clip_id, index), index)
    for pair in _candidates([*unpacked, *map(mirrored, unpacked)]):
        one, other = (index % len(ranked) for index in pair)
        if groups.top(one) != groups.top(other) and _near(unpacked[one], unpacked[other]):
            groups.join(one, other)
    members: dict[int, int] = {}
    for index in range(len(ranked)):
        members[groups.top(index)] = members.get(groups.top(index), 0) + 1
    return [
        _row(ranked, unpacked, index, groups.top(index), members[groups.top(index)] > 1) for index in range(len(ranked))
    ]


def _row(clips: Sequence[Clip], hashes: Sequence[np.ndarray], index: int, first: int, shared: bool) -> dict[str, Any]:
    clip, original = clips[index], clips[first]
    row = {
        "clip_id": clip.clip_id,
        "item_id": clip.item_id,
        "shot_index": clip.shot_index,
        "dup_group": original.clip_id,
        "original_item_id": original.item_id,
        "duplicates_version": DUPLICATES_VERSION,
    }
    if index == first:
        kind = "original" if shared else "unique"
        return row | {"kind": kind, "distance": 0.0 if shared else None, "verdict": "pass", "reason": None}
    if clip.clip_id == original.clip_id:
        return row | {"kind": "exact", "distance": 0.0, "verdict": "fail", "reason": "dup.exact"}
    own = clip.contributor_id is not None and clip.contributor_id == original.contributor_id
    apart = _apart(hashes[index], hashes[first])  # may exceed the threshold where a third clip joins the two
    return row | {
        "kind": "near",
        "distance": apart[0] if apart else None,
        "verdict": "fail",
        "reason": "dup.own_similar" if own else "dup.near",
    }


def _apart(one: np.ndarray, other: np.ndarray) -> tuple[float, float] | None:
    """The smaller distance of `one` to `other` and to its mirror image."""
    found = [apart for view in (other, mirrored(other)) if (apart := distance(one, view)) is not None]
    return min(found, key=sum, default=None)


def _near(one: np.ndarray, other: np.ndarray) -> bool:
    apart = _apart(one, other)
    return apart is not None and apart[0] <= NEAR_STRUCTURE_BITS and apart[1] <= NEAR_COLOUR_BITS


def _candidates(hashes: Sequence[np.ndarray]) -> Iterator[tuple[int, int]]:
    """Pairs of clips (lower index first) worth comparing, each once."""
    filled = [index for index, array in enumerate(hashes) if len(array)]
    if not filled:
        return
    frames = np.concatenate([hashes[index] for index in filled])
    owner = np.repeat(filled, [len(hashes[index]) for index in filled])
    bands = np.ascontiguousarray(frames[:, :8]).view(np.uint16)
    whole = np.ascontiguousarray(frames).view(np.uint64)  # the first column holds the lowest frequencies
    seen: set[tuple[int, int]] = set()
    for band in range(BANDS):
        # by band, then by the whole hash, then by owner: what is alike stands together
        order = np.lexsort((owner, whole[:, 1], whole[:, 0], bands[:, band]))
        keys, owners = bands[order, band], owner[order]
        for step in range(1, NEIGHBOURS + 1):
            met = (keys[step:] == keys[:-step]) & (owners[step:] != owners[:-step])
            for one, other in zip(owners[:-step][met].tolist(), owners[step:][met].tolist(), strict=True):
                pair = (min(one, other), max(one, other))
                if pair not in seen:
                    seen.add(pair)
                    yield pair


class _Groups:
    """Disjoint sets; the top of a set is its lowest index, which is its earliest clip."""

    def __init__(self, count: int) -> None:
        self._up = list(range(count))

    def top(self, index: int) -> int:
        while self._up[index] != index:
            self._up[index] = self._up[self._up[index]]
            index = self._up[index]
        return index

    def join(self, one: int, other: int) -> None:
        low, high = sorted((self.top(one), self.top(other)))
        self._up[high] = low

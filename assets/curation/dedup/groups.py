"""Which clips show the same footage, and whose it is: by bytes and decoded frames (one clip id), or near by the hashes
of their frames, whatever was cut off, turned over, written on or coded again.

This module makes groups and their originals. Which pairs are near is in `candidate_pairs` and `similarity`, who may own
footage in `ownership`. `resolve` reads the clips of all days from the lake: one whose hashes are missing, or of an older
version of the pass, has none. It is told apart from others by its frames alone and stays unresolved until its day is
measured again.

Clips are taken in the order in which they may own footage: verified ones first, then as they arrived. Each belongs to
the earliest original that it is itself near to, and is an original where there is none. So a group does not grow
along chains: every member is near its original, and a third clip that shows parts of two does not join them. The
result is a function of the set of clips: neither their order nor the days in which they were compared play a part.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from assets.curation.dedup.ownership import Key, Standing, standings
from assets.curation.dedup.similarity import ClipHashes, compare
from assets.home import Home
from assets.signals.phash import StaleHash, pack

DUPLICATES_VERSION = "duplicates-5"
Together = tuple[str, str]  # two clip ids, the lower first


@dataclass(frozen=True)
class HashedClip:
    """What is compared. `order` says when it came; `hashes` are packed (`phash.pack`): empty where all frames are
    blank, None where the clip was not measured, or by an older version of the pass."""

    clip_id: str
    item_id: str
    shot_index: int
    contributor_id: str | None
    order: tuple[str, str, str, int]
    hashes: bytes | None
    standing: Standing = Standing.CLAIMED

    @property
    def rank(self) -> tuple[Any, ...]:
        return (self.standing, *self.order, self.shot_index, self.item_id)


@dataclass(frozen=True)
class Compared:
    """What was compared before: all pairs of `clip_ids`, of which `pairs` are near, with their likeness."""

    clip_ids: frozenset[str] = frozenset()
    pairs: Mapping[Together, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Duplicates:
    """Rows of table `duplicates`, one a clip, and of table `near_pairs`.

    `compared` pairs were looked at in full; `unfinished` clips stand in a crowd too dense to be searched to its end.
    """

    rows: list[dict[str, Any]]
    pairs: list[dict[str, Any]]
    compared: int
    unfinished: int


def find_duplicates(clips: Iterable[HashedClip], compared: Compared | None = None) -> Duplicates:
    """Compare all clips, or only those that `compared` does not have with all, and resolve every group to its owner."""
    # it loads a compiler, which listing assets should not
    from assets.curation.dedup.candidate_pairs import near_pairs

    ranked = sorted(clips, key=lambda clip: clip.rank)
    earliest: dict[str, HashedClip] = {}  # of those with the same frames, in order
    hashes: dict[str, bytes] = {}
    for clip in ranked:
        earliest.setdefault(clip.clip_id, clip)
        if clip.hashes is not None:
            hashes.setdefault(clip.clip_id, clip.hashes)
    names = list(earliest)
    packed = ClipHashes([hashes.get(name, b"") for name in names])
    compared = compared or Compared()
    pairs = near_pairs(packed, np.array([name not in compared.clip_ids for name in names], bool))
    near = _Near(packed, names, compared)
    for pair in zip(pairs.first.tolist(), pairs.second.tolist(), pairs.structure.tolist(), strict=True):
        near.add(*pair)
    original = dict(zip(names, (earliest[names[index]] for index in near.originals()), strict=True))
    members = Counter(original[clip.clip_id].clip_id for clip in ranked)
    rows = [_row(clip, original[clip.clip_id], members, near, clip.clip_id in hashes) for clip in ranked]
    return Duplicates(rows, near.rows(), pairs.compared, pairs.unfinished)


class _Near:
    """The near pairs of clips, by their place in the order."""

    def __init__(self, hashes: ClipHashes, names: Sequence[str], compared: Compared) -> None:
        self.hashes, self.names = hashes, names
        self.places = {name: place for place, name in enumerate(names)}
        self.likeness: dict[tuple[int, int], float] = {}
        self.earlier: defaultdict[int, list[int]] = defaultdict(list)
        for (clip_id, other_id), likeness in compared.pairs.items():
            if clip_id in self.places and other_id in self.places:  # of clips that are still there
                first, second = sorted((self.places[clip_id], self.places[other_id]))
                self.add(first, second, likeness)

    def add(self, first: int, second: int, likeness: float) -> None:
        if (first, second) not in self.likeness:
            self.earlier[second].append(first)
        self.likeness[first, second] = likeness

    def originals(self) -> list[int]:
        """For every clip the earliest original that it is near to, or itself."""
        original = list(range(len(self.names)))
        for clip in range(len(self.names)):
            if clip not in self.earlier:
                continue
            met = {original[other] for other in self.earlier[clip]}
            original[clip] = min((candidate for candidate in met if self._are_near(candidate, clip)), default=clip)
        return original

    def _are_near(self, first: int, second: int) -> bool:
        """Compares what only a third clip brought together: in a crowd, nobody is compared with all."""
        if (first, second) not in self.likeness:
            similarity = compare(self.hashes, np.array([first]), np.array([second]))
            if not similarity.near[0]:
                return False
            self.likeness[first, second] = float(similarity.structure[0])
        return True

    def between(self, clip_id: str, other_id: str) -> float:
        """The likeness of two clips that are near."""
        first, second = sorted((self.places[clip_id], self.places[other_id]))
        return self.likeness[first, second]

    def rows(self) -> list[dict[str, Any]]:
        """Rows of table `near_pairs`."""
        rows = []
        for (first, second), likeness in self.likeness.items():
            lower, higher = sorted((self.names[first], self.names[second]))
            rows.append(
                {"clip_id": lower, "other_clip_id": higher, "likeness": round(likeness, 6)}
                | {"duplicates_version": DUPLICATES_VERSION}
            )
        return rows


def _row(
    clip: HashedClip, original: HashedClip, members: Mapping[str, int], near: _Near, measured: bool
) -> dict[str, Any]:
    row = {
        "clip_id": clip.clip_id,
        "item_id": clip.item_id,
        "shot_index": clip.shot_index,
        "dup_group": original.clip_id,
        "original_item_id": original.item_id,
        "duplicates_version": DUPLICATES_VERSION,
    }
    failed = {"verdict": "fail", "distance": None}
    if clip is original:
        if not measured:
            ours = {"verdict": "not_measured", "distance": None}
            return row | ours | {"kind": "unmeasured", "reason": "dup.unresolved"}
        shared = members[clip.clip_id] > 1
        kind, distance = ("original", 0.0) if shared else ("unique", None)
        return row | {"kind": kind, "distance": distance, "verdict": "pass", "reason": None}
    if clip.clip_id == original.clip_id:
        return row | failed | {"kind": "exact", "distance": 0.0, "reason": "dup.exact"}
    own = clip.contributor_id is not None and clip.contributor_id == original.contributor_id
    apart = round(1 - near.between(clip.clip_id, original.clip_id), 6)
    return row | failed | {"kind": "near", "distance": apart, "reason": "dup.own_similar" if own else "dup.near"}


def compared_from(rows: Iterable[Mapping[str, Any]], pairs: Iterable[Mapping[str, Any]]) -> Compared:
    """What tables `duplicates` and `near_pairs` remember of the same version of the method."""
    current = [row for row in rows if row["duplicates_version"] == DUPLICATES_VERSION]
    return Compared(
        frozenset(row["clip_id"] for row in current if row["kind"] != "unmeasured"),
        {
            (pair["clip_id"], pair["other_clip_id"]): pair["likeness"]
            for pair in pairs
            if pair["duplicates_version"] == DUPLICATES_VERSION
        },
    )


# -- reading the lake ---------------------------------------------------------------------------------------------------

_SHOT = ["clip_id", "item_id", "shot_index", "bytes_sha256"]


def resolve(home: Home) -> Duplicates:
    """Compare what is new with everything, and write tables `duplicates` and `near_pairs`."""
    compared = compared_from(home.lake.rows("duplicates"), home.lake.rows("near_pairs"))
    duplicates = find_duplicates(clips(home), compared)
    home.lake.write("near_pairs", duplicates.pairs)
    return duplicates


def clips(home: Home) -> Iterator[HashedClip]:
    """Every clip, with its place in the order of arrival and how far its owner's claim was verified."""
    arrived = {
        row["delivery_id"]: row["received_at"] for row in _rows(home, "deliveries", "delivery_id", "received_at")
    }
    standing = standings(  # once: who signed for what is read from the whole ledger
        _rows(home, "shots", *_SHOT),
        _rows(home, "delivery_items", "item_id", "contributor_id", "state"),
        _rows(home, "media", "item_id", "frames_sha256", "state"),
        home.lake.rows("consent_events"),
        home.lake.rows("reviews"),
    )
    for day in home.lake.partitions("shots"):
        shots = _rows(home, "shots", *_SHOT, day=day)
        items = home.lake.rows("delivery_items", day)
        hashes = dict(_hashes(home, day))
        of_item = {row["item_id"]: row for row in items}
        for shot in shots:
            key, item = _key(shot), of_item[shot["item_id"]]
            yield HashedClip(
                *key,
                contributor_id=item["contributor_id"],
                order=(item["received_day"], arrived[item["delivery_id"]], item["delivery_id"], item["position"]),
                hashes=hashes.get(key),
                standing=standing[key],
            )


def _hashes(home: Home, day: str) -> Iterator[tuple[Key, bytes]]:
    for row in _rows(home, "signals", *_SHOT[:3], "frame_phashes", day=day):
        try:
            yield _key(row), pack(row["frame_phashes"])
        except StaleHash:
            continue


def _key(row: dict[str, Any]) -> Key:
    return row["clip_id"], row["item_id"], row["shot_index"]


def _rows(home: Home, table: str, *columns: str, day: str | None = None) -> list[dict[str, Any]]:
    return home.lake.read(table, day, list(columns)).to_pylist()

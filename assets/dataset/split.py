"""Which clips train and which are held out: a deterministic rule over contributors and duplicate groups.

Two clips that share a contributor or a duplicate group are always on the same side, so what is held out was never seen, in
any re-encoding. Who may be in at all is decided before (`snapshot`).
"""

from __future__ import annotations

import hashlib
import itertools
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

Side = Literal["train", "heldout"]

LEAST, MOST = 0.15, 0.20  # share of the clips that is held out if the groups' sizes allow it
MOST_FOR_COVERAGE = 0.35  # share up to which both real and simulated footage are measured
CONSIDERED = 64  # groups of a stratum, in rank order, among which the first is chosen


class SplitError(ValueError):
    """The clips cannot be divided without separating what belongs together."""


@dataclass(frozen=True)
class SplitClip:
    """What the split needs to know of a clip."""

    clip_id: str
    contributor_id: str
    dup_group: str
    simulated: bool


@dataclass(frozen=True)
class Group:
    """Clips that must stay together, with a rank that depends on nothing but who is in the group."""

    clips: tuple[SplitClip, ...]

    @cached_property
    def rank(self) -> str:
        return hashlib.sha256("\n".join(sorted({c.contributor_id for c in self.clips})).encode()).hexdigest()

    @property
    def simulated(self) -> bool:
        return all(clip.simulated for clip in self.clips)

    def __len__(self) -> int:
        return len(self.clips)


def groups(clips: Iterable[SplitClip]) -> list[Group]:
    """The connected components under "same contributor or same duplicate group", in rank order."""
    parent: dict[str, str] = {}

    def find(node: str) -> str:
        while parent.setdefault(node, node) != node:
            parent[node] = node = parent[parent[node]]
        return node

    clips = sorted(clips, key=lambda clip: clip.clip_id)
    for clip in clips:
        parent[find(f"contributor/{clip.contributor_id}")] = find(f"duplicates/{clip.dup_group}")
    together: defaultdict[str, list[SplitClip]] = defaultdict(list)
    for clip in clips:
        together[find(f"contributor/{clip.contributor_id}")].append(clip)
    return sorted((Group(tuple(members)) for members in together.values()), key=lambda group: group.rank)


def split(clips: Iterable[SplitClip]) -> Mapping[str, Side]:
    """`train` or `heldout` for every clip id.

    Whole groups are held out until about a sixth of the clips is; both real and simulated footage is represented
    if that leaves most of the clips to training. Neither side is ever empty. A pure function of the set of clips. Raises
    SplitError if everything hangs together.
    """
    components = groups(clips)
    if len(components) < 2:
        raise SplitError(
            f"the {sum(map(len, components))} eligible clips all hang together through one contributor or through "
            "duplicates, so none can be held out: a second contributor's footage is needed"
        )
    held = {group.clips[0].clip_id for group in _held_out(components)}
    sides: list[tuple[Group, Side]] = [(g, "heldout" if g.clips[0].clip_id in held else "train") for g in components]
    return {clip.clip_id: side for group, side in sides for clip in group.clips}


def _held_out(groups: list[Group]) -> list[Group]:
    """First a group of each stratum that has one to spare, as near to the wanted share as there is; then more."""
    total = sum(map(len, groups))
    strata = [[group for group in groups if group.simulated is simulated] for simulated in (False, True)]
    spare = [stratum[:CONSIDERED] for stratum in strata if len(stratum) > 1]  # the only one of its kind is learnt from
    starts = [start for start in itertools.product(*spare) if start and _size(start) <= MOST_FOR_COVERAGE * total]
    starts = starts or [(group,) for group in groups]
    wanted = (LEAST + MOST) / 2 * total
    first = min(starts, key=lambda start: (abs(_size(start) - wanted), [group.rank for group in start]))
    held, size, taken = list(first), _size(first), {group.clips[0].clip_id for group in first}
    for group in groups:
        if size < LEAST * total and group.clips[0].clip_id not in taken and size + len(group) <= MOST * total:
            held.append(group)
            size += len(group)
    return held


def _size(chosen: Iterable[Group]) -> int:
    return sum(map(len, chosen))

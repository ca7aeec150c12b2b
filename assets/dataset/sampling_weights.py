"""How often training sees each clip of a sealed snapshot: the file of weights, and the rows that say what they do.

The file names the snapshot's root and is kept under its own digest, which training is given: neither can be changed
without the other. The computation is in `coverage.sampling_weights`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from assets.coverage import classes, sampling_weights
from assets.coverage.measures import Coded, coded, effective_number
from assets.coverage.sampling_weights import Balance, WeightPolicy
from assets.dataset.sealed import Sealed, SnapshotError
from assets.home import Home
from training.data import repeats

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Weighed:
    """A snapshot's training clips in clip order: their classes, their weights, and the digest of the sealed file."""

    rows: Sequence[Row]
    dimensions: Mapping[str, Coded]
    balance: Balance
    policy: WeightPolicy
    sha256: str

    @property
    def seconds(self) -> np.ndarray:
        return np.array([row["length_s"] for row in self.rows], float)


def weigh(home: Home, sealed: Sealed, policy: WeightPolicy = sampling_weights.POLICY) -> Weighed:
    """Weigh the snapshot's training clips and keep it: the sealed file, `clip_weights` and `diversity`.

    A clip whose classes nobody named yet is of unknown class in every dimension but its contributor.
    """
    known = {classes.key_of(row): row for row in home.lake.rows("clip_classes")}
    members = sorted((m for m in sealed.members if m["split"] == "train"), key=lambda m: m["clip_id"])
    rows = [_classed(member, known.get(classes.key_of(member))) for member in members]
    closed = classes.POLICY.closed()
    dimensions = {name: coded([row[name] for row in rows], closed.get(name, ())) for name in classes.DIMENSIONS}
    found = sampling_weights.balance(dimensions, policy)
    by_clip = {row["clip_id"]: int(weight) for row, weight in zip(rows, found.weights, strict=True)}
    data = repeats.stated(sealed.root, policy.plain(), by_clip)
    weighed = Weighed(rows, dimensions, found, policy, hashlib.sha256(data).hexdigest())
    home.store.put(_file(sealed.root, weighed.sha256), data)
    home.lake.write("clip_weights", _weight_rows(weighed, sealed.root))
    home.lake.write("diversity", diversity_rows(weighed, sealed.root))
    return weighed


def current(home: Home, root: str) -> tuple[Path, str] | None:
    """The weights of this snapshot, as a local file with its digest; None where none were ever made here.

    Raises SnapshotError where the last ones are of another snapshot: its clips would be seen by the wrong weights.
    """
    columns = ("snapshot_root", "repetition_sha256")
    said = {tuple(row.values()) for row in home.lake.read("clip_weights", columns=list(columns)).to_pylist()}
    if not said:
        return None
    if [found for found, _ in said] != [root]:
        raise SnapshotError("the weights are of another snapshot: materialise training_snapshot again")
    ((_, sha256),) = said
    return home.store.fetch(_file(root, sha256)), sha256


def effect(home: Home) -> dict[str, str]:
    """For a run's record: by dimension, the effective number of known classes of the clips and of what is seen."""
    shares: dict[str, list[tuple[float, float]]] = {}
    for row in home.lake.rows("diversity"):
        if row["class_name"] != classes.UNKNOWN:
            shares.setdefault(row["dimension"], []).append((row["share"], row["seen_share"]))
    return {
        f"effective_{name}": " -> ".join(f"{effective_number(side):.2f}" for side in zip(*pairs, strict=True))
        for name, pairs in shares.items()
    }


def _file(root: str, sha256: str) -> str:
    return f"snapshots/{root}/repetition-{sha256}.json"


def _classed(member: Row, row: Row | None) -> dict[str, Any]:
    named = row or dict.fromkeys(classes.DIMENSIONS, classes.UNKNOWN) | {"length_s": 0.0}
    known = {name: named[name] for name in (*classes.DIMENSIONS, "length_s")}
    return {name: member[name] for name in classes.KEY} | known | {"contributor": member["contributor_id"]}


def _weight_rows(weighed: Weighed, root: str) -> list[dict[str, Any]]:
    held = sampling_weights.limits(weighed.balance, weighed.dimensions, weighed.policy)
    every = {"snapshot_root": root, "repetition_sha256": weighed.sha256}
    numbers = zip(weighed.rows, weighed.balance.weights, weighed.balance.ratios, held, strict=True)
    return [
        every | dict(row) | {"weight": int(weight), "times_an_epoch": float(ratio), "limited_by": why}
        for row, weight, ratio, why in numbers
    ]


def diversity_rows(weighed: Weighed, root: str) -> list[dict[str, Any]]:
    """The rows of table `diversity`: each class before and after weighing."""
    total, found = max(1, len(weighed.rows)), []
    caps = sampling_weights.caps_of(weighed.dimensions, weighed.policy)
    for dimension, one in weighed.dimensions.items():
        seen = one.sums(weighed.balance.ratios) / total
        over = weighed.balance.unmet.get(dimension)
        sums = zip(one.names, one.sums(), one.sums(weighed.seconds), seen, strict=True)
        found += [
            {
                "snapshot_root": root,
                "dimension": dimension,
                "class_name": name,
                "clips": int(clips),
                "seconds": round(float(seconds), 3),
                "share": clips / total,
                "seen_share": round(float(seen_share), 9),
                "cap": caps.get(dimension) if name != classes.UNKNOWN else None,
                "over_cap": over is not None and over[0] == name,
            }
            for name, clips, seconds, seen_share in sums
        ]
    return found

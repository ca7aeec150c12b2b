"""Classes and weights in the lake: every clip's classes, and for a sealed snapshot how often each clip is seen.

What belongs here: reading what the classes rest on, sealing the weights beside the manifest, and the rows that say what
they do. The file of weights names the snapshot's root and is kept under its own digest, which training is told: neither
can be changed without the other. The rules are `classes`', the computation is `weights`'.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from assets.dataset.sealed import Sealed, SnapshotError
from assets.diversity import classes, subjects, weights
from assets.diversity.measures import Coded, coded, effective_number
from assets.diversity.weights import Balance, WeightPolicy
from assets.home import Home
from training.data import sampling_weights

Row = Mapping[str, Any]
Key = tuple[str, str, int]
_JUDGED = ("subject", "location", "time_of_day")  # checks of what is declared
_KEY = ("clip_id", "item_id", "shot_index")


def class_rows(home: Home, embed: subjects.Embed | None, left_out: Iterable[str] = ()) -> list[dict[str, Any]]:
    """The rows of table `clip_classes`, for all clips but those left out, in order of arrival."""
    gone = set(left_out)
    shots = [
        row for row in _read(home, "shots", (*_KEY, "received_day", "start_s", "end_s")) if row["clip_id"] not in gone
    ]
    shots.sort(key=lambda row: (row["received_day"], row["item_id"], row["shot_index"], row["clip_id"]))
    told = ("declared_subject", "declared_location", "declared_time_of_day", "device", "source_name")
    declared = ("item_id", "contributor_id", *told)
    items = {row["item_id"]: row for row in _read(home, "delivery_items", declared)}
    measured = (*_KEY, "width", "height", "motion_diag_per_s", "camera_motion")
    signals = {_key(row): row for row in _read(home, "signals", measured)}
    verdicts = _verdicts(home)
    said = classes.subject_words(
        (items.get(row["item_id"], {}), verdicts.get(_key(row), {}).get("subject")) for row in shots
    )
    named = subjects.subjects(said, embed)
    return [
        {name: shot[name] for name in _KEY}
        | classes.classes_of(
            items.get(shot["item_id"], {}),
            signals.get(_key(shot), {}),
            shot["end_s"] - shot["start_s"],
            verdicts.get(_key(shot), {}),
            named[text],
        )
        | {"length_s": shot["end_s"] - shot["start_s"], "classes_version": classes.POLICY.version}
        for shot, text in zip(shots, said, strict=True)
    ]


def _read(home: Home, table: str, columns: Sequence[str]) -> list[dict[str, Any]]:
    return home.lake.read(table, columns=list(columns)).to_pylist()


def _key(row: Row) -> Key:
    return row["clip_id"], row["item_id"], row["shot_index"]


def _verdicts(home: Home) -> dict[Key, dict[str, str]]:
    found: dict[Key, dict[str, str]] = {}
    for row in _read(home, "verdicts", (*_KEY, "check", "verdict")):
        if row["check"] in _JUDGED:
            found.setdefault(_key(row), {})[row["check"]] = row["verdict"]
    return found


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


def weigh(home: Home, sealed: Sealed, policy: WeightPolicy = weights.POLICY) -> Weighed:
    """Weigh the snapshot's training clips and keep it: the sealed file, `clip_weights` and `diversity`.

    A clip whose classes nobody named yet is of unknown class in every dimension but its contributor.
    """
    known = {_key(row): row for row in home.lake.rows("clip_classes")}
    members = sorted((m for m in sealed.members if m["split"] == "train"), key=lambda m: m["clip_id"])
    rows = [_classed(member, known.get(_key(member))) for member in members]
    closed = classes.POLICY.closed()
    dimensions = {name: coded([row[name] for row in rows], closed.get(name, ())) for name in classes.DIMENSIONS}
    found = weights.balance(dimensions, policy)
    by_clip = {row["clip_id"]: int(weight) for row, weight in zip(rows, found.weights, strict=True)}
    data = sampling_weights.stated(sealed.root, policy.plain(), by_clip)
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
    said = {tuple(row.values()) for row in _read(home, "clip_weights", columns)}
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
    return {name: member[name] for name in _KEY} | known | {"contributor": member["contributor_id"]}


def _weight_rows(weighed: Weighed, root: str) -> list[dict[str, Any]]:
    held = weights.limits(weighed.balance, weighed.dimensions, weighed.policy)
    every = {"snapshot_root": root, "repetition_sha256": weighed.sha256}
    numbers = zip(weighed.rows, weighed.balance.weights, weighed.balance.ratios, held, strict=True)
    return [
        every | dict(row) | {"weight": int(weight), "times_an_epoch": float(ratio), "limited_by": why}
        for row, weight, ratio, why in numbers
    ]


def diversity_rows(weighed: Weighed, root: str) -> list[dict[str, Any]]:
    """The rows of table `diversity`: each class before and after weighing."""
    total, found = max(1, len(weighed.rows)), []
    caps = weights.caps_of(weighed.dimensions, weighed.policy)
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

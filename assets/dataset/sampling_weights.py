"""How often training sees each clip of a sealed snapshot: the file of weights, its rows in the lake, and its plots.

The file names the snapshot's root and is stored under its own digest, which training receives: neither can be changed
without the other. `assets.coverage.sampling_weights` computes the weights.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from assets.coverage import classes, sampling_weights
from assets.coverage.classes import UNKNOWN
from assets.coverage.measures import Coded, class_shares, coded, effective_number, imbalance, measures_row
from assets.coverage.sampling_weights import Balance, WeightPolicy, caps_of
from assets.dataset.sealed import Sealed, SnapshotError
from assets.home import Home
from assets.pages.plots import markdown_table, share_plot
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
    """Weigh the snapshot's training clips and store the result: the sealed file, `clip_weights` and `diversity`.

    A clip without a row in `clip_classes` is of unknown class in every dimension but its contributor.
    """
    classified = {classes.key_of(row): row for row in home.lake.rows("clip_classes")}
    members = sorted((m for m in sealed.members if m["split"] == "train"), key=lambda m: m["clip_id"])
    rows = [_with_classes(member, classified.get(classes.key_of(member))) for member in members]
    closed = classes.POLICY.closed()
    dimensions = {name: coded([row[name] for row in rows], closed.get(name, ())) for name in classes.DIMENSIONS}
    balance = sampling_weights.balance(dimensions, policy)
    by_clip = {row["clip_id"]: int(weight) for row, weight in zip(rows, balance.weights, strict=True)}
    data = repeats.stated(sealed.root, policy.plain(), by_clip)
    weighed = Weighed(rows, dimensions, balance, policy, hashlib.sha256(data).hexdigest())
    home.store.put(_file(sealed.root, weighed.sha256), data)
    home.lake.write("clip_weights", _weight_rows(weighed, sealed.root))
    home.lake.write("diversity", diversity_rows(weighed, sealed.root))
    return weighed


def current(home: Home, root: str) -> tuple[Path, str] | None:
    """The weights of this snapshot, as a local file with its digest; None if this home never made any.

    Raises SnapshotError if the last ones are of another snapshot: its clips would be seen by the wrong weights.
    """
    columns = ["snapshot_root", "repetition_sha256"]
    sealed = {tuple(row.values()) for row in home.lake.read("clip_weights", columns=columns).to_pylist()}
    if not sealed:
        return None
    if [snapshot for snapshot, _ in sealed] != [root]:
        raise SnapshotError("the weights are of another snapshot: materialise training_snapshot again")
    ((_, sha256),) = sealed
    return home.store.fetch(_file(root, sha256)), sha256


def effect(home: Home) -> dict[str, str]:
    """For a run's record: by dimension, the effective number of classes among the clips and in what training sees."""
    shares: dict[str, list[tuple[float, float]]] = {}
    for row in home.lake.rows("diversity"):
        if row["class_name"] != UNKNOWN:
            shares.setdefault(row["dimension"], []).append((row["share"], row["seen_share"]))
    return {
        f"effective_{name}": " -> ".join(f"{effective_number(side):.2f}" for side in zip(*pairs, strict=True))
        for name, pairs in shares.items()
    }


def _file(root: str, sha256: str) -> str:
    return f"snapshots/{root}/repetition-{sha256}.json"


def _with_classes(member: Row, row: Row | None) -> dict[str, Any]:
    row = row or dict.fromkeys(classes.DIMENSIONS, UNKNOWN) | {"length_s": 0.0}
    named = {name: row[name] for name in (*classes.DIMENSIONS, "length_s")}
    return {name: member[name] for name in classes.KEY} | named | {"contributor": member["contributor_id"]}


def _weight_rows(weighed: Weighed, root: str) -> list[dict[str, Any]]:
    limits = sampling_weights.limits(weighed.balance, weighed.dimensions, weighed.policy)
    common = {"snapshot_root": root, "repetition_sha256": weighed.sha256}
    numbers = zip(weighed.rows, weighed.balance.weights, weighed.balance.ratios, limits, strict=True)
    return [
        common | dict(row) | {"weight": int(weight), "times_an_epoch": float(ratio), "limited_by": why}
        for row, weight, ratio, why in numbers
    ]


def diversity_rows(weighed: Weighed, root: str) -> list[dict[str, Any]]:
    """The rows of table `diversity`: each class before and after weighing."""
    total, rows = max(1, len(weighed.rows)), []
    caps = caps_of(weighed.dimensions, weighed.policy)
    for dimension, codes in weighed.dimensions.items():
        seen = codes.sums(weighed.balance.ratios) / total
        over = weighed.balance.unmet.get(dimension)
        sums = zip(codes.names, codes.sums(), codes.sums(weighed.seconds), seen, strict=True)
        rows += [
            {
                "snapshot_root": root,
                "dimension": dimension,
                "class_name": name,
                "clips": int(clips),
                "seconds": round(float(seconds), 3),
                "share": clips / total,
                "seen_share": round(float(seen_share), 9),
                "cap": caps.get(dimension) if name != UNKNOWN else None,
                "over_cap": over is not None and over[0] == name,
            }
            for name, clips, seconds, seen_share in sums
        ]
    return rows


def effect_plot(weighed: Weighed) -> bytes:
    """A PNG: each dimension's classes, as they are and as training sees them."""
    total = max(1, len(weighed.rows))
    return share_plot(
        {
            name: class_shares(codes.names, codes.sums() / total, codes.sums(weighed.balance.ratios) / total)
            for name, codes in weighed.dimensions.items()
        },
        ("of the clips", "of what training sees"),
    )


def effect_table(weighed: Weighed) -> str:
    """Markdown: how uneven each dimension is among the clips and in what training sees, and whether its cap holds."""
    caps, rows = caps_of(weighed.dimensions, weighed.policy), []
    for name, codes in weighed.dimensions.items():
        named = [i for i, label in enumerate(codes.names) if label != UNKNOWN]
        clips, seen = codes.sums()[named], codes.sums(weighed.balance.ratios)[named]
        before, total = imbalance(clips), max(1, len(weighed.rows))
        largest = int(clips.argmax()) if clips.size and clips.any() else None
        over = weighed.balance.unmet.get(name)
        rows.append(
            measures_row(name, before)
            | {
                "effective when seen": f"{effective_number(seen):.2f}",
                "largest class": "–" if largest is None else codes.names[named[largest]],
                "its share": "–" if largest is None else f"{clips[largest] / total:.1%}",
                "seen": "–" if largest is None else f"{seen[largest] / total:.1%}",
                "cap": f"{caps[name]:.0%}" if name in caps else "–",
                "cap holds": "–" if name not in caps else "yes" if over is None else f"no: {over[0]} has {over[1]:.1%}",
            }
        )
    return markdown_table(rows)


def held_back(weighed: Weighed) -> str:
    """In a sentence: how many clips are seen less often, how many more, and the extremes."""
    ratios = weighed.balance.ratios
    if not len(ratios) or np.ptp(ratios) < 1e-5:
        return f"all {len(ratios)} clips are seen once an epoch: nothing is over-represented"
    fewer, more = int((ratios < 1 - 1e-5).sum()), int((ratios > 1 + 1e-5).sum())
    return (
        f"{fewer} clips are seen less than once an epoch (at least {ratios.min():.3f} times: once in "
        f"{1 / ratios.min():.1f}), {more} more often (at most {ratios.max():.2f} times); none is left out"
    )

"""The checks that curation's assets make on what they wrote: complete, decided by one policy, and like the days before.

A day that is unlike the days before it is a warning for people to look: a new kind of footage, a broken camera model, or a
changed pass. Nothing is refused for it, and the bounds are such that small days do not trip them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import sqrt
from typing import Any

import dagster as dg
import numpy as np

from assets.curation.policy.policy import Policy
from assets.curation.policy.verdicts import NOT_MEASURED, blocks, missing_verdicts
from assets.home import Home
from assets.pages.metadata import check_specs, warning

Row = Mapping[str, Any]
DAYS_BEFORE = 14
FEWEST = 20  # clips on either side; below that nothing is said
SHARE_JUMP, SHARE_Z = 0.10, 3.3  # in the share itself, and in its standard errors (one day in a thousand by chance)
DISTANCE, DISTANCE_C = 0.25, 1.95  # of the distributions, and the same bound for them (Kolmogorov and Smirnov)
VERDICT_CHECKS = check_specs(
    "verdicts",
    blocking={"every_check_decided"},
    every_check_decided="Every clip of the day has a typed verdict for every check of the policy.",
    one_policy="All days are decided by the policy that holds now (a warning: `rushes curate replay --apply`).",
    all_measured="The platform failed at no check of any clip (a warning: such clips wait, and are tried again by the"
    " next version).",
    refusals_steady=f"The share of refused clips, in all and by check, is like that of the {DAYS_BEFORE} days before"
    " (a warning).",
)
SIGNAL_CHECKS = check_specs(
    "signals", signals_steady=f"Each signal is distributed as on the {DAYS_BEFORE} days before (a warning)."
)


def every_check_decided(home: Home, day: str, shots: Sequence[Row], policy: Policy) -> dg.AssetCheckResult:
    """Read back from the lake: what was written counts, not what was meant."""
    missing = missing_verdicts(shots, home.lake.rows("verdicts", day), policy)
    return dg.AssetCheckResult(
        check_name="every_check_decided",
        passed=not missing,
        metadata={"day": day, "clips": len(shots), "checks": len(policy.checks), "missing": missing[:20]},
    )


def one_policy(home: Home, policy: Policy) -> dg.AssetCheckResult:
    others = []
    for day in sorted(home.lake.partitions("verdicts"), reverse=True):
        versions = home.lake.read("verdicts", day, ["check_version"])["check_version"].unique().to_pylist()
        if names := {version.partition("/")[0] for version in versions} - {policy.name}:
            others.append({"day": day, "decided by": ", ".join(sorted(names))})
    return warning("one_policy", others, policy=policy.name, days_decided_otherwise=len(others))


def all_measured(names: Mapping[str, str], rows: Sequence[Row]) -> dg.AssetCheckResult:
    """`names` are those of files, by item. The metadata name every clip with what went wrong."""
    not_measured: dict[tuple[str, int, str, str], list[str]] = {}
    for row in rows:
        if row["verdict"] == NOT_MEASURED:
            key = (row["item_id"], row["shot_index"], row["clip_id"], row["detail"] or "")
            not_measured.setdefault(key, []).append(row["check"])
    table = [
        {"clip": clip, "file": names.get(item, item), "shot": shot, "error": text, "checks": ", ".join(checks)}
        for (item, shot, clip, text), checks in sorted(not_measured.items())
    ]
    return warning("all_measured", table, clips_not_measured=len({key[:2] for key in not_measured}))


def refusals_steady(home: Home, day: str, rows: Sequence[Row]) -> dg.AssetCheckResult:
    today, clips_today = _refusals(rows)
    before: Counter[str] = Counter()
    clips_before = 0
    columns = ["item_id", "shot_index", "check", "verdict", "severity"]
    for earlier in _days_before(home, "verdicts", day):
        counts, clips = _refusals(home.lake.read("verdicts", earlier, columns).to_pylist())
        before += counts
        clips_before += clips
    jumps = {
        name: Jump((today[name], clips_today), (before[name], clips_before)) for name in sorted(today.keys() | before)
    }
    table = [
        {"refused by": name, "today": f"{jump.shares[0]:.1%}", "days before": f"{jump.shares[1]:.1%}"}
        for name, jump in jumps.items()
        if jump.notable
    ]
    return warning("refusals_steady", table, "moved", day=day, clips=clips_today, clips_before=clips_before)


def _refusals(rows: Iterable[Row]) -> tuple[Counter[str], int]:
    """How many clips each check refuses, and any check does, and how many clips there are that could be measured."""
    clips, refused = set(), set()
    counts: Counter[str] = Counter()
    for row in rows:
        if row["verdict"] == NOT_MEASURED:  # `all_measured` lists them
            continue
        clips.add((row["item_id"], row["shot_index"]))
        if blocks(row):
            counts[row["check"]] += 1
            refused.add((row["item_id"], row["shot_index"]))
    counts["any check"] = len(refused)
    return counts, len(clips)


def signals_steady(home: Home, day: str, policy: Policy) -> dg.AssetCheckResult:
    columns = [check.column for check in policy.checks if check.column]
    before: dict[str, list[float]] = {column: [] for column in columns}
    for earlier in _days_before(home, "signals", day):
        for column, values in _values(home, earlier, columns).items():
            before[column] += values
    table = [
        {"signal": name, "distance": f"{far:.2f}", "median before": f"{then:.4g}", "median today": f"{now:.4g}"}
        for name, (far, then, now) in drifted(_values(home, day, columns), before).items()
    ]
    return warning("signals_steady", table, "moved", day=day)


def _values(home: Home, day: str, columns: list[str]) -> dict[str, list[float]]:
    table = home.lake.read("signals", day, columns)
    return {column: table[column].drop_null().to_pylist() for column in columns}


def _days_before(home: Home, table: str, day: str) -> list[str]:
    return sorted(earlier for earlier in home.lake.partitions(table) if earlier < day)[-DAYS_BEFORE:]


# -- drift -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Jump:
    """A share today and before, in clips."""

    today: tuple[int, int]
    before: tuple[int, int]

    @property
    def shares(self) -> tuple[float, float]:
        return self.today[0] / max(1, self.today[1]), self.before[0] / max(1, self.before[1])

    @property
    def notable(self) -> bool:
        """Whether the share moved by more than chance, and by enough to matter, in either direction."""
        if min(self.today[1], self.before[1]) < FEWEST:
            return False
        now, then = self.shares
        pooled = (self.today[0] + self.before[0]) / (self.today[1] + self.before[1])
        error = sqrt(pooled * (1 - pooled) * (1 / self.today[1] + 1 / self.before[1]))
        return abs(now - then) >= SHARE_JUMP and abs(now - then) > SHARE_Z * error


def distance(today: Sequence[float], before: Sequence[float]) -> float:
    """The largest difference between the two cumulative distributions, 0 to 1."""
    a, b = np.sort(np.asarray(today, np.float64)), np.sort(np.asarray(before, np.float64))
    at = np.concatenate([a, b])
    return float(np.abs(np.searchsorted(a, at, "right") / len(a) - np.searchsorted(b, at, "right") / len(b)).max())


def drifted(
    today: Mapping[str, Sequence[float]], before: Mapping[str, Sequence[float]]
) -> dict[str, tuple[float, float, float]]:
    """Signals whose distribution moved: (distance, median before, median today), farthest first."""
    moved = {}
    for name, values in today.items():
        earlier = before.get(name, ())
        if min(len(values), len(earlier)) < FEWEST:
            continue
        far = distance(values, earlier)
        if far >= DISTANCE and far > DISTANCE_C * sqrt((len(values) + len(earlier)) / (len(values) * len(earlier))):
            moved[name] = far, float(np.median(earlier)), float(np.median(values))
    return dict(sorted(moved.items(), key=lambda entry: -entry[1][0]))

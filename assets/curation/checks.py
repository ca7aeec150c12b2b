"""The checks that curation's assets make on what they wrote: complete, decided by one policy, and like the days before."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import dagster as dg

from assets.curation.policy.policy import Policy
from assets.curation.policy.verdicts import NOT_MEASURED, blocks, missing_verdicts
from assets.curation.reports.drift import DAYS_BEFORE, Jump, drifted
from assets.home import Home
from assets.pages.plots import markdown_table

Row = Mapping[str, Any]
UNMEASURED_SHOWN = 100
VERDICT_CHECKS = [
    dg.AssetCheckSpec(
        "every_check_decided",
        asset="verdicts",
        blocking=True,
        description="Every clip of the day has a typed verdict for every check of the policy.",
    ),
    dg.AssetCheckSpec(
        "one_policy",
        asset="verdicts",
        description="All days are decided by the policy that holds now (a warning: `rushes curate replay --apply`).",
    ),
    dg.AssetCheckSpec(
        "all_measured",
        asset="verdicts",
        description="The platform failed at no check of any clip (a warning: such clips wait, and are tried again by the"
        " next version).",
    ),
    dg.AssetCheckSpec(
        "refusals_steady",
        asset="verdicts",
        description=f"The share of refused clips, in all and by check, is like that of the {DAYS_BEFORE} days before"
        " (a warning).",
    ),
]
SIGNAL_CHECKS = [
    dg.AssetCheckSpec(
        "signals_steady",
        asset="signals",
        description=f"Each signal is distributed as on the {DAYS_BEFORE} days before (a warning).",
    )
]


def every_check_decided(home: Home, day: str, shots: Sequence[Row], policy: Policy) -> dg.AssetCheckResult:
    """Read back from the lake: what was written counts, not what was meant."""
    verdicts = home.lake.rows("verdicts", day)
    missing = missing_verdicts(shots, verdicts, policy)
    return dg.AssetCheckResult(
        check_name="every_check_decided",
        passed=not missing,
        metadata={"day": day, "clips": len(shots), "checks": len(policy.checks), "missing": missing[:20]},
    )


def one_policy(home: Home, policy: Policy) -> dg.AssetCheckResult:
    other = {}
    for day in home.lake.partitions("verdicts"):
        named = {text.partition("/")[0] for text in _distinct(home, day)}
        if named - {policy.name}:
            other[day] = ", ".join(sorted(named - {policy.name}))
    shown = [{"day": day, "decided by": names} for day, names in sorted(other.items(), reverse=True)[:20]]
    return dg.AssetCheckResult(
        check_name="one_policy",
        passed=not other,
        severity=dg.AssetCheckSeverity.WARN,
        metadata={
            "policy": policy.name,
            "days_decided_otherwise": len(other),
            "which": dg.MetadataValue.md(markdown_table(shown)),
        },
    )


def all_measured(names: Mapping[str, str], rows: Sequence[Row]) -> dg.AssetCheckResult:
    """`names` are those of files, by item. The metadata name every clip with what went wrong."""
    not_measured: dict[tuple[str, int, str, str], list[str]] = {}
    for row in rows:
        if row["verdict"] == NOT_MEASURED:
            key = (row["item_id"], row["shot_index"], row["clip_id"], row["detail"] or "")
            not_measured.setdefault(key, []).append(row["check"])
    shown = [
        {"clip": clip, "file": names.get(item, item), "shot": shot, "error": text, "checks": ", ".join(checks)}
        for (item, shot, clip, text), checks in sorted(not_measured.items())
    ]
    return dg.AssetCheckResult(
        check_name="all_measured",
        passed=not shown,
        severity=dg.AssetCheckSeverity.WARN,
        metadata={
            "clips_not_measured": len({key[:2] for key in not_measured}),
            "which": dg.MetadataValue.md(markdown_table(shown[:UNMEASURED_SHOWN])),
        },
    )


def _distinct(home: Home, day: str) -> list[str]:
    return home.lake.read("verdicts", day, ["check_version"])["check_version"].unique().to_pylist()


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
    return dg.AssetCheckResult(
        check_name="refusals_steady",
        passed=not table,
        severity=dg.AssetCheckSeverity.WARN,
        metadata={
            "day": day,
            "clips": clips_today,
            "clips_before": clips_before,
            "moved": dg.MetadataValue.md(markdown_table(table)),
        },
    )


def _refusals(rows: Iterable[Row]) -> tuple[Counter[str], int]:
    """How many clips each check refuses, and any check does, and how many clips there are that could be measured."""
    clips, refused = set(), set()
    counts: Counter[str] = Counter()
    for row in rows:
        if row["verdict"] == NOT_MEASURED:  # `all_measured` tells of them
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
    moved = drifted(_values(home, day, columns), before)
    table = [
        {"signal": name, "distance": f"{far:.2f}", "median before": f"{then:.4g}", "median today": f"{now:.4g}"}
        for name, (far, then, now) in moved.items()
    ]
    return dg.AssetCheckResult(
        check_name="signals_steady",
        passed=not table,
        severity=dg.AssetCheckSeverity.WARN,
        metadata={"day": day, "moved": dg.MetadataValue.md(markdown_table(table))},
    )


def _values(home: Home, day: str, columns: list[str]) -> dict[str, list[float]]:
    table = home.lake.read("signals", day, columns)
    return {column: table[column].drop_null().to_pylist() for column in columns}


def _days_before(home: Home, table: str, day: str) -> list[str]:
    return sorted(earlier for earlier in home.lake.partitions(table) if earlier < day)[-DAYS_BEFORE:]

"""What the Dagster pages of curation show of a day, as Markdown and pictures. Plain module: no Dagster.

The Dagster UI keeps metadata in its event log, so everything here is bounded whatever the day's size: so many rows, so
many clips on a sheet. Nothing is decoded for a page, and a clip that stands withdrawn shows no picture.
"""

from __future__ import annotations

import base64
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from assets.curation.policy.policy import Check, Policy
from assets.curation.policy.verdicts import BLOCKING_SEVERITIES, NOT_MEASURED, blocks
from assets.curation.reports.distributions import histograms
from assets.home import Home
from assets.pages.plots import contact_sheet, markdown_image, markdown_table
from assets.signals.task import CachedResults
from assets.withheld import withheld

if TYPE_CHECKING:
    import numpy as np

Row = Mapping[str, Any]
Key = tuple[str, int]  # item_id, shot_index
SHEET_CLIPS, REFUSED_SHOWN = 24, 60
CELL, COLUMNS, LETTERS = 168, 6, 12  # pixels, clips side by side, pixels
NAME = 25  # characters below a picture
VERDICTS = ("pass", "fail", "unmeasurable", "not_measured", "not_yet")


@dataclass(frozen=True)
class Day:
    """What was decided of a day. `names` are those of files, by item."""

    rows: Sequence[Row]
    policy: Policy
    names: Mapping[str, str]

    @property
    def against(self) -> dict[Key, list[Row]]:
        """By clip the verdicts that block it; empty for a good one."""
        blocking: dict[Key, list[Row]] = {(row["item_id"], row["shot_index"]): [] for row in self.rows}
        for row in self.rows:
            if blocks(row):
                blocking[row["item_id"], row["shot_index"]].append(row)
        return blocking

    def name(self, key: Key, limit: int) -> str:
        file, shot = self.names.get(key[0], key[0]), f" · shot {key[1]}"
        room = limit - len(shot)
        return (file if len(file) <= room else file[: room - 1] + "…") + shot


def verdict_table(day: Day) -> str:
    """Every check with what it asks and how many clips got which verdict, as Markdown."""
    counts = Counter((row["check"], row["verdict"]) for row in day.rows)
    stopped = Counter(row["check"] for row in day.rows if blocks(row))
    return markdown_table(
        [
            {"check": f"**{check.name}**", "asked": check.threshold or "", "unit": check.unit or ""}
            | {verdict.replace("_", " "): counts[check.name, verdict] or "" for verdict in VERDICTS}
            | {"refuses": stopped[check.name] or "", "severity": check.severity}
            for check in day.policy.checks
        ]
    )


def refused_table(day: Day) -> str:
    """Refused clips with all that stands against them, as Markdown; what could not be measured stands against nobody."""
    against = {key: [row for row in rows if row["verdict"] != NOT_MEASURED] for key, rows in day.against.items()}
    refused = [
        {
            "clip": f"`{failed[0]['clip_id'][:12]}`",
            "file": f"`{day.name(key, 48)}`",
            "because": "; ".join(f"{row['check']}: {row['detail'] or row['verdict']}" for row in failed),
        }
        for key, failed in sorted(against.items())
        if failed
    ]
    more = len(refused) - REFUSED_SHOWN
    rest = f"\n\n*and {more} more; `rushes curate explain CLIP` tells of each*" if more > 0 else ""
    return markdown_table(refused[:REFUSED_SHOWN]) + rest


def distributions(signals: Iterable[Row], policy: Policy) -> str:
    """The histograms of all signals that a check bounds, as a Markdown image."""
    columns = [check.column for check in policy.checks if check.column]
    values: dict[str, list[float]] = defaultdict(list)
    for row in signals:
        for column in columns:
            if row.get(column) is not None:
                values[column].append(row[column])
    return (
        markdown_image(histograms(values, policy), "image/png", "signals with their thresholds") if values else "*none*"
    )


def narrow_sheets(home: Home, day: Day, shots: Iterable[Row]) -> dict[str, str]:
    """Contact sheets of the clips that were accepted or refused most narrowly, by title, as Markdown images."""
    by_key = {(shot["item_id"], shot["shot_index"]): shot for shot in shots}
    accepted, refused = narrowest(day.rows, day.policy, SHEET_CLIPS)
    titles = {"worst_accepted": accepted, "best_rejected": refused}
    hidden, cache = frozenset(withheld(home.database_url)), CachedResults(home)
    return {title: _sheet(cache, day, by_key, hidden, clips) for title, clips in titles.items()}


def _sheet(
    cache: CachedResults,
    day: Day,
    shots: Mapping[Key, Row],
    hidden: frozenset[str],
    clips: Sequence[tuple[Key, Margin]],
) -> str:
    frames, labels = [], []
    for key, margin in clips:
        shot = shots[key]
        jpeg = None if shot["clip_id"] in hidden else cache.thumbnail(shot)
        if jpeg:
            frames.append(_decoded(jpeg))
            labels.append(f"{day.name(key, NAME)}\n{margin.label}")
    if not frames:
        return "*none*"
    sheet = contact_sheet(frames, labels, COLUMNS, CELL, size=LETTERS)
    return markdown_image(sheet, alt=f"{len(frames)} clips")


def _decoded(jpeg: str) -> np.ndarray:
    """A thumbnail of ours as RGB."""
    import io

    import numpy as np
    from PIL import Image

    return np.asarray(Image.open(io.BytesIO(base64.b64decode(jpeg))).convert("RGB"))


@dataclass(frozen=True)
class Margin:
    """`share` is the distance to `bound` over the bound: positive on the good side, negative on the other."""

    check: str
    value: float
    bound: float
    side: str  # "at least" or "at most"
    share: float

    @property
    def label(self) -> str:
        """Two lines for below a picture: the check with its distance, and the numbers."""
        share = f"{100 * self.share:+.{1 if abs(self.share) < 0.1 else 0}f} %"
        return f"{self.check} {share}\n{self.value:.3g}; {self.side} {self.bound:g}"


def margin(check: Check, value: float) -> Margin | None:
    """The margin to the bound that is nearer, or that was broken; None where there is no bound to be near."""
    bounds = (("at least", check.low, 1), ("at most", check.high, -1))
    margins = [
        Margin(check.name, value, bound, side, sign * (value - bound) / abs(bound))
        for side, bound, sign in bounds
        if bound
    ]
    return min(margins, key=lambda margin: margin.share, default=None)


def narrowest(
    rows: Iterable[Row], policy: Policy, count: int
) -> tuple[list[tuple[Key, Margin]], list[tuple[Key, Margin]]]:
    """The `count` accepted clips nearest to being refused, and the refused ones nearest to being accepted.

    A refused clip is as far off as the worst of what it failed; it is listed when all of that has a margin.
    """
    bounded = {check.name: check for check in policy.checks if check.column}
    measured: dict[Key, list[Margin]] = defaultdict(list)
    against: dict[Key, list[Margin | None]] = defaultdict(list)
    for row in rows:
        key, check = (row["item_id"], row["shot_index"]), bounded.get(row["check"])
        distance = margin(check, float(row["value"])) if check and row["value"] is not None else None
        if blocks(row):
            against[key].append(distance)
        elif distance and row["severity"] in BLOCKING_SEVERITIES:
            measured[key].append(distance)
    accepted = [
        (key, min(margins, key=lambda entry: entry.share)) for key, margins in measured.items() if key not in against
    ]
    refused = []
    for key, failed in against.items():
        margins_of = [entry for entry in failed if entry is not None]
        if len(margins_of) == len(failed):
            refused.append((key, min(margins_of, key=lambda entry: entry.share)))
    accepted.sort(key=lambda entry: (entry[1].share, entry[0]))
    refused.sort(key=lambda entry: (-entry[1].share, entry[0]))
    return accepted[:count], refused[:count]

"""What the Dagster pages of curation show of a day, as Markdown and pictures. Plain module: no Dagster.

The Dagster UI keeps metadata in its event log, so everything here is bounded whatever the day's size: so many rows, so
many clips on a sheet. Nothing is decoded for a page, and a clip that stands withdrawn shows no picture.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from assets.curation.policy.policy import Check, Policy
from assets.curation.policy.verdicts import BLOCKING_SEVERITIES, NOT_MEASURED, blocks
from assets.home import Home
from assets.pages.plots import (
    ACCENT,
    ALARM,
    INK,
    contact_sheet,
    decoded,
    dressed,
    markdown_image,
    markdown_table,
    new_figure,
    png,
)
from assets.signals.files import CachedResults
from assets.withheld import withheld

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
            frames.append(decoded(jpeg))
            labels.append(f"{day.name(key, NAME)}\n{margin.label}")
    if not frames:
        return "*none*"
    sheet = contact_sheet(frames, labels, COLUMNS, CELL, size=LETTERS)
    return markdown_image(sheet, alt=f"{len(frames)} clips")


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


# -- distributions ---------------------------------------------------------------------------------------------------


PANELS_ACROSS, BINS = 3, 32
UNBOUNDED = ("variance", "diagonals", "s,")  # units without an upper end, where a ratio says more than a difference
WIDE = 30.0  # a signal whose values span more than this ratio is drawn on a logarithmic axis
CROWDED = 12  # a bin this much fuller than the others hides them, unless counts are logarithmic


def histograms(values: Mapping[str, Sequence[float]], policy: Policy) -> bytes:
    """A PNG with a panel for every check with a column that has values, by column; each says how many are refused."""
    shown = [check for check in policy.checks if check.column and len(values.get(check.column, ()))]
    lines = max(1, -(-len(shown) // PANELS_ACROSS))
    figure = new_figure(3.4 * PANELS_ACROSS, 2.35 * lines)
    figure.get_layout_engine().set(h_pad=0.1, w_pad=0.1)
    for place, check in enumerate(shown):
        _panel(
            figure.add_subplot(lines, PANELS_ACROSS, place + 1),
            check,
            np.asarray(values[check.column or ""], np.float64),
        )
    return png(figure)


def refused_counts(check: Check, values: np.ndarray) -> tuple[int, int]:
    """How many values are below and above what the check allows."""
    below = int((values < check.low).sum()) if check.low is not None else 0
    above = int((values > check.high).sum()) if check.high is not None else 0
    return below, above


def _panel(axes: Any, check: Check, values: np.ndarray) -> None:
    edges, logarithmic = _edges(check, values)
    counts, _, _ = axes.hist(
        np.clip(values, edges[0], edges[-1]), edges, color=ACCENT, edgecolor="white", linewidth=0.4
    )
    if logarithmic:
        axes.set_xscale("log")
    full = np.sort(counts[counts > 0])
    if len(full) > 1 and full[-1] > CROWDED * np.median(full):
        axes.set_yscale("log")
        axes.set_ylim(bottom=0.6)
    axes.set_xlim(edges[0], edges[-1])
    for bound, outside in ((check.low, edges[0]), (check.high, edges[-1])):
        if bound is not None:
            axes.axvline(bound, color=ALARM, linewidth=1.4)
            axes.axvspan(min(bound, outside), max(bound, outside), color=ALARM, alpha=0.09, linewidth=0, zorder=0)
    _dress(axes, check, values)


def _edges(check: Check, values: np.ndarray) -> tuple[np.ndarray, bool]:
    """Edges of the bins over the values and the bounds, and whether they are logarithmic.

    What is 0 or less on a logarithmic axis falls into its first bin.
    """
    bounds = [bound for bound in (check.low, check.high) if bound is not None]
    positive = values[values > 0]
    if len(positive) and min(bounds) > 0 and f"{check.unit},".startswith(UNBOUNDED):
        low, high = min(positive.min(), *bounds), max(positive.max(), *bounds)
        if high / low > WIDE:
            return np.geomspace(low / 1.3, high * 1.3, BINS + 1), True
    low, high = min(values.min(), *bounds), max(values.max(), *bounds)
    room = 0.04 * (high - low) or 0.5
    return np.linspace(low - room * (low < 0 or low > room), high + room, BINS + 1), False


def _dress(axes: Any, check: Check, values: np.ndarray) -> None:
    below, above = refused_counts(check, values)
    inside = len(values) - below - above
    counts = [f"{below} below {check.low:g}"] if check.low is not None else []
    counts += [f"{inside} inside"]
    counts += [f"{above} above {check.high:g}"] if check.high is not None else []
    unit = check.unit or ""
    logarithmic = axes.get_yscale() == "log"
    dressed(axes, "", unit if len(unit) < 42 else unit[:40] + "…", "clips (log)" if logarithmic else "clips")
    axes.set_title(check.name.replace("_", " "), fontsize=10.5, color=INK, loc="left", fontweight="bold", pad=16)
    axes.text(0, 1.03, " · ".join(counts), transform=axes.transAxes, fontsize=8.5, color=INK)

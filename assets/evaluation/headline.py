"""A scorecard for people: the dozen numbers that matter in plain words, each beside what it compares with.

What belongs here: which numbers, their words and their references. All rows are in the table `scorecard`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

Row = Mapping[str, Any]

# metric: what it is called
NUMBERS: Mapping[str, str] = {
    "heldout_flow_loss": "flow loss, held-out",
    "reconstruction_psnr": "reconstruction",
    "trial_colour": "colour as asked",
    "trial_direction": "direction as asked",
    "trial_side": "left/right as asked",
    "trial_count": "count as asked",
    "trial_permanence": "hidden things stay",
    "prompt_colour": "colour, simple scenes",
    "memorised_clips": "copied clips",
    "temporal_flicker": "flicker (1: none)",
    "motion_smoothness": "motion smoothness",
    "dynamic_degree": "dynamic degree",
    "sampling_speed": "time for a video",
}
# column: the slices that fill it, the first that was measured
COLUMNS: Mapping[str, Sequence[str]] = {
    "this model": ("all",),
    "base": ("reference=base",),
    "best possible": ("reference=codec", "reference=rendered"),
    "real clips": ("reference=heldout",),
    "untrained": ("reference=closed_form", "reference=untrained"),
}
UNSAID = {"1", "samples", "squared error"}  # units that the words say already
LISTED = 3  # metrics without a number that are named, of those with one reason
WISHES = {"higher": " ↑", "lower": " ↓", "none": ""}  # more is better, less is better


def headline(rows: Sequence[Row]) -> list[dict[str, str]]:
    """The table: a line a number that was measured of this model, and the columns that any line fills."""
    measured = {(row["metric"], row["slice"]): row for row in rows if row["value"] is not None}
    lines = []
    for metric, words in NUMBERS.items():
        if (own := measured.get((metric, "all"))) is None:
            continue
        line = {"what": words + WISHES[own["better"]]}
        for column, slices in COLUMNS.items():
            found = next((row for part in slices if (row := measured.get((metric, part)))), None)
            line[column] = shown_value(found, interval=found is own) if found else ""
        lines.append(line | {"n": str(own["n"]), "metric": metric})
    empty = {column for column in COLUMNS if not any(line[column] for line in lines)}
    return [{name: value for name, value in line.items() if name not in empty} for line in lines]


def not_measured(rows: Sequence[Row]) -> list[str]:
    """One sentence a reason, with all metrics that have no number for it."""
    names: dict[str, dict[str, None]] = {}
    for row in rows:
        if row["value"] is None:
            names.setdefault(row["why"] or "no reason was given", {})[row["metric"].replace("_", " ")] = None
    return [f"Not measured, {why}: {_listed(list(metrics))}." for why, metrics in names.items()]


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names) if len(names) <= LISTED else f"{', '.join(names[:LISTED])} and {len(names) - LISTED} more"


def measured(rows: Sequence[Row]) -> list[Row]:
    return [row for row in rows if row["value"] is not None]


def shown_value(row: Row, interval: bool = True) -> str:
    """The number as people read it, with its 95 % interval where there is one: `96 % (92–98)`."""
    share = row["unit"] == "share"
    numbers = [row["value"]]
    if interval and row["ci_low"] is not None:
        numbers += [row["ci_low"], row["ci_high"]]
    value, *ends = (f"{100 * number:.0f}" if share else _plain(number) for number in numbers)
    unit = "%" if share else "" if row["unit"] in UNSAID else row["unit"]
    unit = unit.removesuffix("/clip")
    return f"{value} {unit}".rstrip() + (f" ({ends[0]}–{ends[1]})" if ends else "")


def _plain(number: float) -> str:
    """Three significant digits, and no exponent where a whole number will do."""
    return f"{number:.0f}" if abs(number) >= 100 or number == round(number) else f"{number:.3g}"

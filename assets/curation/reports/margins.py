"""How narrowly clips passed or failed: distances to the nearest bound, in shares of that bound, so that checks compare.

Of interest are checks that can refuse a clip and whose value is a number; what was declared wrongly, or is fatal
without a measure, was not refused narrowly. Pure functions of verdict rows.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from assets.curation.policy.policy import Check, Policy
from assets.curation.policy.verdicts import BLOCKING_SEVERITIES, blocks

Row = Mapping[str, Any]
Key = tuple[str, int]  # item_id, shot_index


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
    found = [
        Margin(check.name, value, bound, side, sign * (value - bound) / abs(bound))
        for side, bound, sign in bounds
        if bound
    ]
    return min(found, key=lambda one: one.share, default=None)


def narrowest(
    rows: Iterable[Row], policy: Policy, count: int
) -> tuple[list[tuple[Key, Margin]], list[tuple[Key, Margin]]]:
    """The `count` accepted clips nearest to being refused, and the refused ones nearest to being accepted.

    A refused clip is as far off as the worst of what it failed; it is listed when all of that has a margin.
    """
    asked = {check.name: check for check in policy.checks if check.column}
    measured: dict[Key, list[Margin]] = defaultdict(list)
    against: dict[Key, list[Margin | None]] = defaultdict(list)
    for row in rows:
        key, check = (row["item_id"], row["shot_index"]), asked.get(row["check"])
        found = margin(check, float(row["value"])) if check and row["value"] is not None else None
        if blocks(row):
            against[key].append(found)
        elif found and row["severity"] in BLOCKING_SEVERITIES:
            measured[key].append(found)
    accepted = [
        (key, min(margins, key=lambda one: one.share)) for key, margins in measured.items() if key not in against
    ]
    refused = []
    for key, failed in against.items():
        known = [one for one in failed if one is not None]
        if len(known) == len(failed):
            refused.append((key, min(known, key=lambda one: one.share)))
    accepted.sort(key=lambda one: (one[1].share, one[0]))
    refused.sort(key=lambda one: (-one[1].share, one[0]))
    return accepted[:count], refused[:count]

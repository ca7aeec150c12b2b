"""Rows of a scorecard: a metric over a slice, with its interval, its sample count and its method, and the numbers behind it.

A mean's 95 % interval is a percentile bootstrap over clips, with random numbers keyed by the metric, so that measuring
the same thing twice gives the same row. A share's is Wilson's, which is right where all or none of a few are right.
Knows nothing of what is measured. Loads torch for the bootstrap alone: the promotion gate reads rows without it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

DRAWS = 2000
Row = dict[str, Any]


@dataclass(frozen=True)
class Metric:
    """What a number is. `better` is higher, lower or none (it describes, it does not rank)."""

    name: str
    unit: str
    better: str
    method: str

    def row(self, part: str, values: Sequence[float]) -> Row:
        """The mean of the values with its interval; one value alone has none."""
        if not values:
            return self.missing("no clip to measure", part)
        bounds = interval(values, self.name) if len(values) > 1 else (None, None)
        return self._measured(part, sum(values) / len(values), len(values), *bounds)

    def share(self, part: str, right: Sequence[bool]) -> Row:
        """The share of verdicts that are right, with its interval."""
        if not right:
            return self.missing("no clip to measure", part)
        return self._measured(part, sum(right) / len(right), len(right), *wilson(sum(right), len(right)))

    def exact(self, part: str, value: float, n: int) -> Row:
        """A number that is not a mean: a count, or a rate of a machine."""
        return self._measured(part, value, n)

    def missing(self, why: str, part: str = "all") -> Row:
        """The honest row of what could not be measured."""
        return self._measured(part, None, 0) | {"state": "not_measured", "why": why}

    def slices(self, values: Mapping[str, float], parts: Mapping[str, Sequence[str]]) -> list[Row]:
        """One row a slice from values by clip; a slice of fewer than two clips says nothing and has no row."""
        return [
            self.row(part, [values[clip_id] for clip_id in clip_ids])
            for part, clip_ids in sorted(parts.items())
            if part == "all" or len(clip_ids) > 1
        ]

    def _measured(
        self, part: str, value: float | None, n: int, low: float | None = None, high: float | None = None
    ) -> Row:
        numbers = {"value": value, "ci_low": low, "ci_high": high, "n": n}
        about = {"unit": self.unit, "better": self.better, "method": self.method, "state": "measured", "why": None}
        return {"metric": self.name, "slice": part, **numbers, **about}


@dataclass(frozen=True)
class Measured:
    """What one part of a scorecard measured: its rows, and the numbers behind them.

    `values` are by metric, or "metric@slice" (see `key`), and by clip, trial or scene; two models are compared by them in
    pairs.
    """

    rows: list[Row]
    values: dict[str, dict[str, float]] = field(default_factory=dict)

    def __add__(self, other: Measured) -> Measured:
        return Measured(self.rows + other.rows, self.values | other.values)


def key(metric: str, part: str) -> str:
    """The key of a slice's values: the metric alone for all of them, "metric@base" for the slice "reference=base"."""
    return metric if part == "all" else f"{metric}@{part.removeprefix('reference=')}"


def by_part(metric: str, values: Mapping[str, float], parts: Mapping[str, list[str]]) -> dict[str, dict[str, float]]:
    """The values of each slice that has more than one clip."""
    chosen = {part: clips for part, clips in parts.items() if part == "all" or len(clips) > 1}
    return {key(metric, part): {clip_id: values[clip_id] for clip_id in clips} for part, clips in chosen.items()}


def interval(values: Sequence[float], name: str) -> tuple[float, float]:
    """95 % percentile bootstrap interval of the mean; `name` keys the draws."""
    import torch

    from training.model.flow import keyed

    x_N = torch.tensor(values, dtype=torch.float64)
    picks_DN = torch.randint(len(values), (DRAWS, len(values)), generator=keyed("bootstrap", name, len(values)))
    means_D = x_N[picks_DN].mean(1)
    low, high = torch.quantile(means_D, torch.tensor([0.025, 0.975], dtype=torch.float64)).tolist()
    return low, high


def wilson(right: int, n: int) -> tuple[float, float]:
    """95 % interval of a share (E. B. Wilson, JASA 22, 1927). ValueError for a share of nothing."""
    if not 0 <= right <= n or n < 1:
        raise ValueError(f"{right} of {n} is no share")
    z = 1.959964
    share, width = right / n, z * math.sqrt(right * (n - right) / n + z**2 / 4) / (n + z**2)
    middle = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    # exact at the ends, where rounding would leave 0.999...
    return (0.0 if right == 0 else middle - width), (1.0 if right == n else middle + width)

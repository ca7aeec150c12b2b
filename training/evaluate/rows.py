"""Rows of a scorecard: a metric over a slice, with its interval, its sample count and its method.

A mean's 95 % interval is a percentile bootstrap over clips, with random numbers keyed by the metric, so that measuring
the same thing twice gives the same row. A share's is Wilson's, which is right where all or none of a few are right.
Knows nothing of what is measured.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from training.evaluate.shares import wilson
from training.model.flow import keyed

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
        mean = sum(values) / len(values)
        low, high = interval(values, self.name) if len(values) > 1 else (None, None)
        return self._fill(part, mean, low, high, len(values), "measured", None)

    def share(self, part: str, right: Sequence[bool]) -> Row:
        """The share of verdicts that are right, with its interval."""
        if not right:
            return self.missing("no clip to measure", part)
        low, high = wilson(sum(right), len(right))
        return self._fill(part, sum(right) / len(right), low, high, len(right), "measured", None)

    def exact(self, part: str, value: float, n: int) -> Row:
        """A number that is no mean: a count or a rate of a machine."""
        return self._fill(part, value, None, None, n, "measured", None)

    def missing(self, why: str, part: str = "all") -> Row:
        """The honest row of what could not be measured."""
        return self._fill(part, None, None, None, 0, "not_measured", why)

    def slices(self, values: Mapping[str, float], parts: Mapping[str, Sequence[str]]) -> list[Row]:
        """One row a slice from values by clip; a slice of fewer than two clips says nothing and has no row."""
        return [
            self.row(part, [values[clip_id] for clip_id in clip_ids])
            for part, clip_ids in sorted(parts.items())
            if part == "all" or len(clip_ids) > 1
        ]

    def _fill(
        self, part: str, value: float | None, low: float | None, high: float | None, n: int, state: str, why: str | None
    ) -> Row:
        return {
            "metric": self.name,
            "slice": part,
            "value": value,
            "ci_low": low,
            "ci_high": high,
            "n": n,
            "unit": self.unit,
            "better": self.better,
            "method": self.method,
            "state": state,
            "why": why,
        }


def interval(values: Sequence[float], key: str) -> tuple[float, float]:
    """95 % percentile bootstrap interval of the mean."""
    x_N = torch.tensor(values, dtype=torch.float64)
    picks_DN = torch.randint(len(values), (DRAWS, len(values)), generator=keyed("bootstrap", key, len(values)))
    means_D = x_N[picks_DN].mean(1)
    low, high = torch.quantile(means_D, torch.tensor([0.025, 0.975], dtype=torch.float64)).tolist()
    return low, high

"""What one part of a scorecard measured: its rows, and the numbers behind them by clip, trial or scene."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Measured:
    """`values` are by metric, or "metric@slice" (see `key`), and item; two models are compared by them in pairs."""

    rows: list[dict[str, Any]]
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

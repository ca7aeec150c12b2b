"""Is this day like the days before it? Shares and distributions compared, with bounds that small days do not trip.

A warning is for people to look: a new kind of footage, a broken camera model, or a changed pass. Nothing is refused for
it. Pure functions of numbers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import sqrt

import numpy as np

DAYS_BEFORE = 14
FEWEST = 20  # clips on either side; below that nothing is said
SHARE_JUMP, SHARE_Z = 0.10, 3.3  # in the share itself, and in its standard errors (one day in a thousand by chance)
DISTANCE, DISTANCE_C = 0.25, 1.95  # of the distributions, and the same bound for them (Kolmogorov and Smirnov)


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

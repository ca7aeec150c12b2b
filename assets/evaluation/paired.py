"""Paired comparison of two models on the same items: mean difference, its interval, its p-value and its power.

Two models that are measured on the same clip with the same noise share most of what makes the clip easy or hard. The
difference clip by clip drops that share, so a few clips are enough where two separate intervals would need hundreds.
Intervals and p-values are Student's t on the differences.

Reference: Holm, "A simple sequentially rejective multiple test procedure", Scand. J. Statist. 6, 1979.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

LEVEL = 0.95  # of every interval; a one-sided claim is therefore made at 2.5 %
POWER = 0.80
LEAST_PAIRS = 5  # with fewer, even a win on every item happens by chance in more than 5 % of cases (sign test)


@dataclass(frozen=True)
class Paired:
    """Candidate against reference on `n` items. `difference` is candidate minus reference, `sd` that of one item."""

    n: int
    candidate: float
    reference: float
    difference: float
    sd: float

    @property
    def error(self) -> float:
        """Standard error of the mean difference."""
        return self.sd / math.sqrt(self.n)

    @property
    def interval(self) -> tuple[float, float]:
        """95 % interval of the mean difference."""
        width = self._quantile(0.5 + LEVEL / 2) * self.error
        return self.difference - width, self.difference + width

    @property
    def detectable(self) -> float:
        """The smallest true difference that an interval from items like these excludes zero for with 80 % power."""
        return (self._quantile(0.5 + LEVEL / 2) + self._quantile(POWER)) * self.error

    def p_value(self, better: str) -> float:
        """One-sided, against the hypothesis that the candidate is not better. `better` is higher or lower."""
        gain = self.difference if better == "higher" else -self.difference
        if self.error == 0:
            return 0.0 if gain > 0 else 1.0
        from scipy.special import stdtr  # takes a fifth of a second, which loading the assets need not pay

        return float(1 - stdtr(self.n - 1, gain / self.error))

    def _quantile(self, share: float) -> float:
        from scipy.special import stdtrit

        return float(stdtrit(self.n - 1, share))


def paired(candidate: Mapping[str, float], reference: Mapping[str, float]) -> Paired | None:
    """The comparison; None unless both have the same items, enough of them, and only finite numbers."""
    if candidate.keys() != reference.keys() or len(candidate) < LEAST_PAIRS:
        return None
    items = sorted(candidate)
    ours, theirs = [candidate[item] for item in items], [reference[item] for item in items]
    if not all(map(math.isfinite, ours + theirs)):
        return None
    n = len(items)
    differences = [a - b for a, b in zip(ours, theirs, strict=True)]
    mean = math.fsum(differences) / n
    variance = math.fsum((value - mean) ** 2 for value in differences) / (n - 1)
    sd = math.sqrt(variance) if variance > (1e-12 * max(map(abs, ours + theirs))) ** 2 else 0.0  # rounding is no spread
    return Paired(n, math.fsum(ours) / n, math.fsum(theirs) / n, mean, sd)


def holm(p_values: Mapping[str, float]) -> dict[str, float]:
    """Adjusted p-values: a claim with one of at most a holds, whatever the others, with a family-wise error of a."""
    adjusted, largest = {}, 0.0
    for rank, (name, p) in enumerate(sorted(p_values.items(), key=lambda pair: (pair[1], pair[0]))):
        largest = max(largest, min(1.0, p * (len(p_values) - rank)))
        adjusted[name] = largest
    return adjusted

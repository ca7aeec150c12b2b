"""Paired comparison of two models on the same items: mean difference, its interval, its p-value and its power.

Two models that are measured on the same clip with the same noise share most of what makes the clip easy or hard. The
difference clip by clip drops that share, so a few clips are enough where two separate intervals would need hundreds.
Intervals and p-values are Student's t on the differences. Pure Python, so that the gate depends on nothing.

Reference: Holm, "A simple sequentially rejective multiple test procedure", Scand. J. Statist. 6, 1979.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

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
        width = quantile(0.5 + LEVEL / 2, self.n - 1) * self.error
        return self.difference - width, self.difference + width

    @property
    def detectable(self) -> float:
        """The smallest true difference that an interval from items like these excludes zero for with 80 % power."""
        return (quantile(0.5 + LEVEL / 2, self.n - 1) + quantile(POWER, self.n - 1)) * self.error

    def p_value(self, better: str) -> float:
        """One-sided, against the hypothesis that the candidate is not better. `better` is higher or lower."""
        gain = self.difference if better == "higher" else -self.difference
        if self.error == 0:
            return 0.0 if gain > 0 else 1.0
        return 1 - cdf(gain / self.error, self.n - 1)


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


def cdf(t: float, freedom: int) -> float:
    """Student's t distribution."""
    tail = _beta(freedom / 2, 0.5, freedom / (freedom + t * t)) / 2
    return 1 - tail if t > 0 else tail


@lru_cache(maxsize=1024)
def quantile(share: float, freedom: int) -> float:
    """The value below which this share, from one half on, of Student's t distribution lies."""
    low, high = 0.0, 1.0
    while cdf(high, freedom) < share:
        high *= 2
    for _ in range(80):
        middle = (low + high) / 2
        low, high = (middle, high) if cdf(middle, freedom) < share else (low, middle)
    return (low + high) / 2


def _beta(a: float, b: float, x: float) -> float:
    """Regularised incomplete beta function, by its continued fraction (Lentz)."""
    if x <= 0 or x >= 1:
        return min(max(x, 0.0), 1.0)
    if x > (a + 1) / (a + b + 2):
        return 1 - _beta(b, a, 1 - x)
    front = math.exp(math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x)) / a
    c, d = 1.0, 1 / (1 - (a + b) * x / (a + 1))
    value = d
    for m in range(1, 500):
        even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        for term in (even, odd):
            d = 1 / (1 + term * d)
            c = 1 + term / c
            value *= c * d
        if abs(c * d - 1) < 1e-14:
            break
    return front * value

"""How uneven counts are, in the usual measures, and counting clips by class. Pure functions of numbers.

Effective number of classes: exp of Shannon's entropy, the Hill number of order 1 (Hill 1973, Ecology 54; Jost 2006,
Oikos 113): as many equally common classes would be just as diverse. Gini: mean difference between two classes over
twice the mean (Gini 1912), 0 for even. Intervals are percentile bootstraps over clips (Efron 1979) from a fixed seed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

DRAWS = 400


@dataclass(frozen=True)
class Imbalance:
    """Measures of one dimension's class counts, without `unknown`; a count of zero is an empty class."""

    classes: int
    effective: float
    effective_low: float  # 2.5th and 97.5th percentile
    effective_high: float
    gini: float
    largest: float  # share of the largest class


def effective_number(counts: Sequence[float] | np.ndarray) -> float:
    """exp(entropy); 0 if there is nothing."""
    shares = np.asarray(counts, float)
    shares = shares[shares > 0] / max(shares.sum(), 1e-300)
    return float(np.exp(-(shares * np.log(shares)).sum())) if len(shares) else 0.0


def gini(counts: Sequence[float] | np.ndarray) -> float:
    """0 if all are even, near 1 if one has all."""
    ordered = np.sort(np.asarray(counts, float))
    total, n = ordered.sum(), len(ordered)
    if not total:
        return 0.0
    return float((2 * np.arange(1, n + 1) - n - 1) @ ordered / (n * total))


def imbalance(counts: Sequence[float] | np.ndarray) -> Imbalance:
    """All measures of one dimension's counts, in clips."""
    counts = np.asarray(counts, float)
    total = counts.sum()
    if not total:
        return Imbalance(len(counts), 0.0, 0.0, 0.0, 0.0, 0.0)
    low, high = _interval(counts, total)
    return Imbalance(len(counts), effective_number(counts), low, high, gini(counts), float(counts.max() / total))


def _interval(counts: np.ndarray, total: float) -> tuple[float, float]:
    draws = np.random.default_rng(0).multinomial(round(total), counts / total, size=DRAWS)
    shares = draws / max(round(total), 1)
    with np.errstate(divide="ignore", invalid="ignore"):
        entropy = -np.where(shares > 0, shares * np.log(shares), 0.0).sum(axis=1)
    low, high = np.percentile(np.exp(entropy), (2.5, 97.5))
    return float(low), float(high)


@dataclass(frozen=True)
class Coded:
    """One dimension of many clips: the class names in order, and each clip's index among them."""

    names: tuple[str, ...]
    codes: np.ndarray  # int64 [N]

    def sums(self, values: np.ndarray | None = None) -> np.ndarray:
        """Clips in each class, or the sum of their values: f64 [classes]."""
        return np.bincount(self.codes, values, minlength=len(self.names)).astype(float)


def coded(values: Sequence[str], listed: Sequence[str] = ()) -> Coded:
    """Names to numbers; `listed` classes come first, empty ones included."""
    index = {name: number for number, name in enumerate(listed)}
    for name in sorted(set(values) - index.keys()):
        index[name] = len(index)
    return Coded(tuple(index), np.fromiter((index[value] for value in values), np.int64, len(values)))

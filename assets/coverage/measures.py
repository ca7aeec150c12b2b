"""How uneven counts of clips by class are: the usual measures, and the plots and tables that show them.

Effective number of classes: exp of Shannon's entropy, the Hill number of order 1 (Hill 1973, Ecology 54; Jost 2006,
Oikos 113): as many equally common classes would be just as diverse. Gini: mean difference between two classes over
twice the mean (Gini 1912), 0 for even. Intervals are percentile bootstraps over clips (Efron 1979) from a fixed seed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from assets.coverage.classes import UNKNOWN
from assets.pages.plots import Shares, markdown_table, share_plot

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


SHOWN = 8  # classes a panel; the others are one bar


def coverage_plot(counts: Mapping[str, Mapping[str, int]], of: str = "of the eligible clips") -> bytes:
    """A PNG: each dimension's classes by their share of the clips, of counts by dimension and class."""
    panels = {}
    for name, by_class in counts.items():
        clips = np.array(list(by_class.values()), float)
        panels[name] = class_shares(tuple(by_class), clips / max(1.0, clips.sum()), None)
    return share_plot(panels, (of, ""))


def class_shares(names: Sequence[str], shares: np.ndarray, others: np.ndarray | None) -> Shares:
    """Bars of the largest classes, the other classes as one, and unknown. `even` splits the known part evenly."""
    named = sorted((i for i, name in enumerate(names) if name != UNKNOWN), key=lambda i: (-shares[i], i))
    shown, rest = named[:SHOWN], named[SHOWN:]

    def bar(label: str, of: Sequence[int]) -> tuple[str, float, float | None]:
        return label, float(shares[of].sum()), None if others is None else float(others[of].sum())

    bars = [bar(names[i], [i]) for i in shown]
    if rest:
        bars.append(bar(f"{len(rest)} others", rest))
    bars += [bar(UNKNOWN, [i]) for i, name in enumerate(names) if name == UNKNOWN and shares[i] > 0]
    return Shares(bars, float(shares[named].sum()) / max(1, len(named)))


def measures_row(name: str, measures: Imbalance) -> dict[str, Any]:
    """One dimension's measures, for a table."""
    return {
        "dimension": name,
        "classes": measures.classes,
        "effective (95 %)": f"{measures.effective:.2f} ({measures.effective_low:.2f} to {measures.effective_high:.2f})",
        "Gini": f"{measures.gini:.2f}",
    }


def measures_table(counts: Mapping[str, Mapping[str, int]]) -> str:
    """Markdown: how uneven each dimension is, of counts by dimension and class."""
    rows = []
    for name, by_class in counts.items():
        measures = imbalance([clips for label, clips in by_class.items() if label != UNKNOWN])
        rows.append(measures_row(name, measures) | {"largest share": f"{measures.largest:.1%}"})
    return markdown_table(rows)

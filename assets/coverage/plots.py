"""Coverage for people: bars by class beside the even share, and tables of measures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from assets.coverage.classes import UNKNOWN
from assets.coverage.measures import Imbalance, imbalance
from assets.pages.plots import Shares, markdown_table, share_plot

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

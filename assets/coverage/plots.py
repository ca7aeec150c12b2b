"""What people see of diversity: bars by class beside the even share, tables of measures, and what weighing changed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from assets.coverage.classes import UNKNOWN
from assets.coverage.measures import Imbalance, effective_number, imbalance
from assets.coverage.sampling_weights import caps_of
from assets.dataset.sampling_weights import Weighed
from assets.pages.plots import Shares, markdown_table, share_plot

SHOWN = 8  # classes a panel; the others are one bar


def effect_plot(weighed: Weighed) -> bytes:
    """A PNG: each dimension's classes, as they are and as training sees them."""
    total = max(1, len(weighed.rows))
    return share_plot(
        {
            name: _shares(one.names, one.sums() / total, one.sums(weighed.balance.ratios) / total)
            for name, one in weighed.dimensions.items()
        },
        ("of the clips", "of what training sees"),
    )


def coverage_plot(counts: Mapping[str, Mapping[str, int]], of: str = "of the eligible clips") -> bytes:
    """A PNG: each dimension's classes by their share of the clips, of counts by dimension and class."""
    panels = {}
    for name, by_class in counts.items():
        clips = np.array(list(by_class.values()), float)
        panels[name] = _shares(tuple(by_class), clips / max(1.0, clips.sum()), None)
    return share_plot(panels, (of, ""))


def _shares(names: Sequence[str], shares: np.ndarray, others: np.ndarray | None) -> Shares:
    """The largest classes, then the rest as one, then what is unknown; known classes alike would share what is known."""
    known = sorted((i for i, name in enumerate(names) if name != UNKNOWN), key=lambda i: (-shares[i], i))
    shown, rest = known[:SHOWN], known[SHOWN:]

    def bar(label: str, of: Sequence[int]) -> tuple[str, float, float | None]:
        return label, float(shares[of].sum()), None if others is None else float(others[of].sum())

    bars = [bar(names[i], [i]) for i in shown]
    if rest:
        bars.append(bar(f"{len(rest)} others", rest))
    bars += [bar(UNKNOWN, [i]) for i, name in enumerate(names) if name == UNKNOWN and shares[i] > 0]
    return Shares(bars, float(shares[known].sum()) / max(1, len(known)))


def effect_table(weighed: Weighed) -> str:
    """Markdown: for each dimension how uneven the clips are, how uneven what is seen is, and whether its cap holds."""
    caps, rows = caps_of(weighed.dimensions, weighed.policy), []
    for name, one in weighed.dimensions.items():
        known = [i for i, label in enumerate(one.names) if label != UNKNOWN]
        clips, seen = one.sums()[known], one.sums(weighed.balance.ratios)[known]
        before, total = imbalance(clips), max(1, len(weighed.rows))
        largest = int(clips.argmax()) if clips.size and clips.any() else None
        over = weighed.balance.unmet.get(name)
        rows.append(
            measures_row(name, before)
            | {
                "effective when seen": f"{effective_number(seen):.2f}",
                "largest class": "–" if largest is None else one.names[known[largest]],
                "its share": "–" if largest is None else f"{clips[largest] / total:.1%}",
                "seen": "–" if largest is None else f"{seen[largest] / total:.1%}",
                "cap": f"{caps[name]:.0%}" if name in caps else "–",
                "cap holds": "–" if name not in caps else "yes" if over is None else f"no: {over[0]} has {over[1]:.1%}",
            }
        )
    return markdown_table(rows)


def measures_row(name: str, found: Imbalance) -> dict[str, Any]:
    """One dimension's measures, for a table."""
    return {
        "dimension": name,
        "classes": found.classes,
        "effective (95 %)": f"{found.effective:.2f} ({found.effective_low:.2f} to {found.effective_high:.2f})",
        "Gini": f"{found.gini:.2f}",
    }


def measures_table(counts: Mapping[str, Mapping[str, int]]) -> str:
    """Markdown: how uneven each dimension's known classes are, of counts by dimension and class."""
    rows = []
    for name, by_class in counts.items():
        found = imbalance([clips for label, clips in by_class.items() if label != UNKNOWN])
        rows.append(measures_row(name, found) | {"largest share": f"{found.largest:.1%}"})
    return markdown_table(rows)


def held_back(weighed: Weighed) -> str:
    """In a sentence: how many clips are seen less often, how many more, and the extremes."""
    ratios = weighed.balance.ratios
    if not len(ratios) or np.ptp(ratios) < 1e-5:
        return f"all {len(ratios)} clips are seen once an epoch: nothing is over-represented"
    fewer, more = int((ratios < 1 - 1e-5).sum()), int((ratios > 1 + 1e-5).sum())
    return (
        f"{fewer} clips are seen less than once an epoch (at least {ratios.min():.3f} times: once in "
        f"{1 / ratios.min():.1f}), {more} more often (at most {ratios.max():.2f} times); none is left out"
    )

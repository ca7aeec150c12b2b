"""One picture of how a day's signals are distributed, each with the bounds of its check: small multiples as one PNG.

What belongs here: drawing. On white, so that it reads in a dark page as well as in a light one.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from assets.curation.policy.policy import Check, Policy
from assets.pages.plots import ACCENT, ALARM, GRID, INK

COLUMNS, BINS = 3, 32
UNBOUNDED = ("variance", "diagonals", "s,")  # units without an upper end, where a ratio says more than a difference
WIDE = 30.0  # a signal whose values span more than this ratio is drawn on a logarithmic axis
CROWDED = 12  # a bin this much fuller than the others hides them, unless counts are logarithmic


def histograms(values: Mapping[str, Sequence[float]], policy: Policy) -> bytes:
    """A PNG with a panel for every check with a column that has values, by column; each says how many are refused."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    shown = [check for check in policy.checks if check.column and len(values.get(check.column, ()))]
    lines = max(1, -(-len(shown) // COLUMNS))
    room = ConstrainedLayoutEngine(h_pad=0.1, w_pad=0.1)
    figure = Figure(figsize=(3.4 * COLUMNS, 2.35 * lines), dpi=100, layout=room, facecolor="white")
    FigureCanvasAgg(figure)
    for place, check in enumerate(shown):
        _panel(figure.add_subplot(lines, COLUMNS, place + 1), check, np.asarray(values[check.column or ""], np.float64))
    out = io.BytesIO()
    figure.savefig(out, format="png")
    return out.getvalue()


def refused(check: Check, values: np.ndarray) -> tuple[int, int]:
    """How many values are below and above what the check allows."""
    below = int((values < check.low).sum()) if check.low is not None else 0
    above = int((values > check.high).sum()) if check.high is not None else 0
    return below, above


def _panel(axes: Any, check: Check, values: np.ndarray) -> None:
    edges, logarithmic = _edges(check, values)
    counts, _, _ = axes.hist(
        np.clip(values, edges[0], edges[-1]), edges, color=ACCENT, edgecolor="white", linewidth=0.4
    )
    if logarithmic:
        axes.set_xscale("log")
    full = np.sort(counts[counts > 0])
    if len(full) > 1 and full[-1] > CROWDED * np.median(full):
        axes.set_yscale("log")
        axes.set_ylim(bottom=0.6)
    axes.set_xlim(edges[0], edges[-1])
    for bound, outside in ((check.low, edges[0]), (check.high, edges[-1])):
        if bound is not None:
            axes.axvline(bound, color=ALARM, linewidth=1.4)
            axes.axvspan(min(bound, outside), max(bound, outside), color=ALARM, alpha=0.09, linewidth=0, zorder=0)
    _dress(axes, check, values)


def _edges(check: Check, values: np.ndarray) -> tuple[np.ndarray, bool]:
    """Edges of the bins over the values and the bounds, and whether they are logarithmic.

    What is 0 or less on a logarithmic axis falls into its first bin.
    """
    bounds = [bound for bound in (check.low, check.high) if bound is not None]
    positive = values[values > 0]
    if len(positive) and min(bounds) > 0 and f"{check.unit},".startswith(UNBOUNDED):
        low, high = min(positive.min(), *bounds), max(positive.max(), *bounds)
        if high / low > WIDE:
            return np.geomspace(low / 1.3, high * 1.3, BINS + 1), True
    low, high = min(values.min(), *bounds), max(values.max(), *bounds)
    room = 0.04 * (high - low) or 0.5
    return np.linspace(low - room * (low < 0 or low > room), high + room, BINS + 1), False


def _dress(axes: Any, check: Check, values: np.ndarray) -> None:
    below, above = refused(check, values)
    inside = len(values) - below - above
    counts = [f"{below} below {check.low:g}"] if check.low is not None else []
    counts += [f"{inside} inside"]
    counts += [f"{above} above {check.high:g}"] if check.high is not None else []
    axes.set_title(check.name.replace("_", " "), fontsize=10.5, color=INK, loc="left", fontweight="bold", pad=16)
    axes.text(0, 1.03, " · ".join(counts), transform=axes.transAxes, fontsize=8.5, color=INK)
    unit = check.unit or ""
    axes.set_xlabel(unit if len(unit) < 42 else unit[:40] + "…", fontsize=8.5, color=INK)
    axes.set_ylabel("clips (log)" if axes.get_yscale() == "log" else "clips", fontsize=8.5, color=INK)
    axes.tick_params(labelsize=8, colors=INK)
    axes.grid(color=GRID, linewidth=0.5, which="major")
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)

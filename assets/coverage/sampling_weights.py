"""How often training should see each clip: over-represented ones less often, rare ones more often, none never.

The policy and the computation, a pure function of each clip's classes, in three steps:

1. Temper: a class's target share goes with its share to the power `temper`. One half is inverse square-root
   re-sampling, as Movie Gen (arXiv 2410.13720, 3.1) does by concept cluster and XLM-R (arXiv 1911.02116) by language.
2. Rake: weights are fitted to the targets of all dimensions in turn (iterative proportional fitting, Deming and Stephan
   1940), which stays as near to the data's own joint distribution as those margins let it (Csiszár 1975).
3. Cap: no subject, place or contributor has more than its share of what is seen, and no clip is seen more than `most`
   or less than `least` times as often as an even epoch would: cyclic projections onto these sets (Bregman 1967).

`most` stands above the caps: a clip seen more than about four times as often adds next to nothing over new footage
(Muennighoff et al., arXiv 2305.16264). If a cap cannot be kept within that, `Balance.unmet` says so, and what is missing
is footage. The sum is kept: an epoch stays as long as it was.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from assets.coverage.classes import UNKNOWN
from assets.coverage.measures import Coded
from training.data.repeats import EVEN

CAP_TOLERANCE = 1e-5  # of a share: what whole units and a finite number of rounds may leave above a cap
_RAKES, _PROJECTIONS, _NEAR, _STILL = 32, 400, 1e-6, 1e-6


@dataclass(frozen=True)
class WeightPolicy:
    """Change `version` with any number."""

    version: str = "weights/1"
    temper: Mapping[str, float] = field(
        default_factory=lambda: dict.fromkeys(("subject", "country", "time_of_day", "motion", "aspect", "length"), 0.5)
    )
    caps: Mapping[str, float] = field(default_factory=lambda: {"subject": 0.25, "place": 0.25, "contributor": 0.25})
    least: float = 0.125  # a clip is seen at least once in eight epochs
    most: float = 4.0

    def plain(self) -> dict[str, Any]:
        return asdict(self)


POLICY = WeightPolicy()


@dataclass(frozen=True)
class Balance:
    """`weights` int64 [N] in units of `EVEN`, summing to N EVEN; `unmet` maps a capped dimension to (class, share).

    A cap is unmet if these weights give a class more than the cap and `CAP_TOLERANCE`.
    """

    weights: np.ndarray
    unmet: Mapping[str, tuple[str, float]]

    @property
    def ratios(self) -> np.ndarray:
        """Times an epoch: f64 [N]."""
        return self.weights / EVEN


def balance(dimensions: Mapping[str, Coded], policy: WeightPolicy = POLICY) -> Balance:
    """Weights of clips in the order of the codes. Clips of the same classes differ by one unit at most."""
    used = [name for name in dimensions if name in policy.temper or name in policy.caps]
    clips = len(next(iter(dimensions.values())).codes) if dimensions else 0
    if not used or not clips:
        return Balance(np.full(clips, EVEN, np.int64), {})
    cell, counts, first = _cells([dimensions[name].codes for name in used], clips)
    margins = {name: _Margin.of(dimensions[name], first) for name in used}
    weight = np.ones(len(counts))
    for _ in range(_RAKES):
        for name, power in policy.temper.items():
            if name in margins:
                weight = margins[name].raked(weight, counts, power)
    caps = caps_of(dimensions, policy)
    settled: np.ndarray | None = None  # the weights of the round before: where caps cannot be kept, rounds end alike
    for _ in range(_PROJECTIONS):
        weight = _boxed(weight, counts, policy.least, policy.most)
        kept = not any(margins[name].over(weight, counts, cap) for name, cap in caps.items())
        if kept or (settled is not None and np.abs(weight - settled).max() < _STILL):
            break
        settled = weight
        for name, cap in caps.items():
            weight = margins[name].capped(weight, counts, cap)
    whole = _whole(_boxed(weight, counts, policy.least, policy.most), counts, cell)
    unmet = {name: over for name, cap in caps.items() if (over := _above(dimensions[name], whole / EVEN, cap))}
    return Balance(whole, unmet)


def _above(coded: Coded, ratios: np.ndarray, cap: float) -> tuple[str, float] | None:
    """The class furthest above the cap (`unknown` aside), with its share of what is seen."""
    named = np.array([name != UNKNOWN for name in coded.names])
    share = np.where(named, coded.sums(ratios) / len(coded.codes), 0)
    worst = int(share.argmax())
    return (coded.names[worst], float(share[worst])) if share[worst] > cap + CAP_TOLERANCE else None


def caps_of(dimensions: Mapping[str, Coded], policy: WeightPolicy = POLICY) -> dict[str, float]:
    """The caps that as many classes as there are can keep: two contributors have half each at best."""
    caps = {}
    for name in sorted(policy.caps.keys() & dimensions.keys()):
        coded = dimensions[name]
        sizes = [clips for label, clips in zip(coded.names, coded.sums(), strict=True) if clips and label != UNKNOWN]
        caps[name] = max(policy.caps[name], np.mean(sizes) / len(coded.codes)) if sizes else 1.0
    return caps


def limits(balance: Balance, dimensions: Mapping[str, Coded], policy: WeightPolicy = POLICY) -> list[list[str]]:
    """For each clip that is seen less than once an epoch: the dimensions in which its class is seen less than its size."""
    used = [name for name in dimensions if name in policy.temper or name in policy.caps]
    lowered = {}
    for name in used:
        coded = dimensions[name]
        lowered[name] = (coded.sums(balance.ratios) < coded.sums() * (1 - _NEAR))[coded.codes]
    rare = balance.weights < EVEN
    return [[name for name in used if lowered[name][clip]] if rare[clip] else [] for clip in range(len(rare))]


def _cells(codes: Sequence[np.ndarray], clips: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Clips of the same classes as one cell: each clip's cell, clips a cell, and a clip of each cell."""
    key = np.zeros(clips, np.int64)
    for column in codes:  # numbered anew each time: the product of all classes would not fit 64 bits
        key = np.unique(key * (int(column.max()) + 1) + column, return_inverse=True)[1]
    _, first, counts = np.unique(key, return_index=True, return_counts=True)
    return key, counts.astype(float), first


@dataclass(frozen=True)
class _Margin:
    """One dimension over cells: each cell's class, and which classes have a name."""

    names: tuple[str, ...]
    codes: np.ndarray
    named: np.ndarray  # bool [classes]: not `unknown`

    @classmethod
    def of(cls, coded: Coded, first: np.ndarray) -> _Margin:
        return cls(coded.names, coded.codes[first], np.array([name != UNKNOWN for name in coded.names]))

    def shares(self, weight: np.ndarray, counts: np.ndarray) -> np.ndarray:
        return np.bincount(self.codes, weight * counts, minlength=len(self.names)) / counts.sum()

    def raked(self, weight: np.ndarray, counts: np.ndarray, power: float) -> np.ndarray:
        """Scaled so that classes have their tempered shares; `unknown` keeps its share."""
        size = self.shares(np.ones_like(weight), counts)
        target = np.where(self.named & (size > 0), np.power(size, power, where=size > 0, out=np.zeros_like(size)), 0)
        if not target.sum():
            return weight
        target = np.where(self.named, target / target.sum() * size[self.named].sum(), size)
        now = self.shares(weight, counts)
        return weight * np.divide(target, now, where=now > 0, out=np.ones_like(now))[self.codes]

    def over(self, weight: np.ndarray, counts: np.ndarray, cap: float) -> bool:
        """Whether a class is above the cap."""
        return bool((self.shares(weight, counts)[self.named] > cap + _NEAR).any())

    def capped(self, weight: np.ndarray, counts: np.ndarray, cap: float) -> np.ndarray:
        """Scaled down to the cap where above it, everything else scaled up alike; the sum is kept."""
        share = self.shares(weight, counts)
        factor, held = np.ones_like(share), np.zeros_like(self.named)
        while (over := self.named & ~held & (share * factor > cap)).any():
            held |= over
            free = share[~held].sum()
            factor = np.where(held, np.divide(cap, share, where=share > 0, out=np.ones_like(share)), factor)
            if free <= 0:
                break
            factor = np.where(held, factor, (share.sum() - cap * held.sum()) / free)
        return weight * factor[self.codes]


def _boxed(weight: np.ndarray, counts: np.ndarray, least: float, most: float) -> np.ndarray:
    """The nearest weights (relative entropy) between the bounds with a mean of 1: clip(c weight) for the right c.

    The sum is piecewise linear in c: Newton's steps, which end exactly, within a bracket that is halved when they leave it.
    """
    low, high = least / weight.max(), most / weight.min()
    total, scale = counts.sum(), min(max(1.0, low), high)
    for _ in range(60):
        scaled = scale * weight
        clipped = np.clip(scaled, least, most)
        excess = clipped @ counts - total
        if abs(excess) <= 1e-12 * total:
            break
        low, high = (low, scale) if excess > 0 else (scale, high)
        slope = weight[free := (scaled > least) & (scaled < most)] @ counts[free]
        scale = scale - excess / slope if slope else low
        if not low < scale < high:
            scale = float(np.sqrt(low * high))
    return clipped


def _whole(weight: np.ndarray, counts: np.ndarray, cell: np.ndarray) -> np.ndarray:
    """Whole units whose sum is exact: what rounding left over goes to the first clips, a unit each."""
    units = np.maximum(1, np.rint(weight * EVEN).astype(np.int64))[cell]
    left = len(cell) * EVEN - int(units.sum())
    units[: abs(left)] += np.sign(left)
    return units

"""The times of a file's frames, one after another: rate, length, and how regular they are. Constant memory."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from fractions import Fraction

MAX_INTERVALS = 512  # different ones that are counted; a regular film has one or two
REGULAR = 0.99  # share of intervals that are alike in a film of constant rate
ALIKE = Fraction(1, 10)  # relative
ALIKE_S = Fraction(3, 2000)  # containers that count milliseconds round


@dataclass
class Timeline:
    """Seconds as fractions. `last_length_s` is what the last frame in time says of its own length."""

    count: int = 0
    untimed: int = 0
    backwards: int = 0  # frames not later than the one before
    first_s: Fraction | None = None
    last_s: Fraction | None = None
    last_length_s: Fraction = Fraction(0)
    intervals: Counter[Fraction] = field(default_factory=Counter)
    others: int = 0  # intervals beyond those that are counted
    _before: Fraction | None = None

    def add(self, now: Fraction | None, length: Fraction) -> None:
        """The next frame in the order of output."""
        self.count += 1
        if now is None:
            self.untimed += 1
            return
        if self._before is not None:
            self._interval(now - self._before)
        self._before = now
        self.first_s = now if self.first_s is None else min(self.first_s, now)
        if self.last_s is None or now >= self.last_s:
            self.last_s, self.last_length_s = now, length

    def _interval(self, step: Fraction) -> None:
        if step <= 0:
            self.backwards += 1
        elif step in self.intervals or len(self.intervals) < MAX_INTERVALS:
            self.intervals[step] += 1
        else:
            self.others += 1

    @property
    def span_s(self) -> float:
        """From the first to the last frame."""
        return 0.0 if self.first_s is None or self.last_s is None else float(self.last_s - self.first_s)

    @property
    def now_s(self) -> float | None:
        """The newest frame's time since the first; None where it has none."""
        return None if self.first_s is None or self._before is None else float(self._before - self.first_s)

    def measured(self, nominal_fps: Fraction | None) -> tuple[float | None, float | None]:
        """(frames per second, seconds): from timestamps, or from the nominal rate where there are none."""
        span = self.last_s - self.first_s if self.first_s is not None and self.last_s is not None else Fraction(0)
        fps = Fraction(self.count - 1) / span if span > 0 else nominal_fps
        if not self.count or not fps:
            return None, None
        if span <= 0:
            return round(float(fps), 6), round(float(self.count / fps), 6)
        return round(float(fps), 6), round(float(span + (self.last_length_s or 1 / fps)), 6)

    @property
    def irregular(self) -> tuple[float, float] | None:
        """(shortest, longest) interval in seconds where the rate varies; None where it is constant."""
        total = sum(self.intervals.values()) + self.others
        if total < 2:
            return None
        usual = self.intervals.most_common(1)[0][0]
        tolerance = max(ALIKE_S, usual * ALIKE)
        alike = sum(count for step, count in self.intervals.items() if abs(step - usual) <= tolerance)
        if alike >= REGULAR * total:
            return None
        return float(min(self.intervals)), float(max(self.intervals))

"""How far a run is, by its steps or by its minutes, and what follows: its learning rate, its reports, and its end.

A budget of minutes is wall-clock time of measuring, training and saving, added up over the processes that went on from each
other's checkpoints; what a killed one did after its last checkpoint does not count. The first process has the clock and the
others follow it, since all must take one rate and end together.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch

from training.config import TrainConfig
from training.trainer.weights import of_first

LOWEST = 0.05  # share of the learning rate with which a run ends
KEPT = 0.7  # of the usual duration of a step, after one more


class Schedule:
    """`spent` is the share of the minutes that is used up, and `over` that no further step fits; 0 and False without any."""

    def __init__(self, config: TrainConfig, clock: Callable[[], float] = time.monotonic) -> None:
        self.config, self._clock = config, clock
        self._began = self._marked = clock()
        self._earlier_s = self._step_s = 0.0  # what earlier processes took, and a usual step
        self._closing_s: dict[str, float] = {}
        self.spent, self.over = 0.0, False

    @property
    def seconds(self) -> float:
        """Of the run so far, earlier processes included."""
        return self._earlier_s + self._clock() - self._began

    def learning_rate(self, step: int) -> float:
        """Linear warm-up, then constant, then a linear fall to LOWEST over the last part of the run."""
        c, fall = self.config, 1.0
        if c.steps:
            fall = (c.steps - step + 1) / max(1, round(c.steps * c.decay))
        if c.minutes and c.decay:
            fall = min(fall, (1 - self.spent) / c.decay)
        rise = min(1.0, step / max(1, c.warmup))
        return c.lr * rise * max(LOWEST, min(1.0, fall))

    def marks(self, step: int, count: int) -> int:
        """How many of the run's `count` equal parts are over after a step."""
        by_steps = step * count // self.config.steps if self.config.steps else 0
        return max(by_steps, int(self.spent * count))

    def begins(self) -> None:
        """All that came before belongs to no step."""
        self._marked = self._clock()

    def ends(self, device: torch.device) -> None:
        """After a step; every process calls it. Another one fits if its end, a measurement and a checkpoint do."""
        if not (budget := 60 * self.config.minutes):
            return
        took = self._clock() - self._marked
        self._step_s = KEPT * self._step_s + (1 - KEPT) * took if self._step_s else took
        self.spent = of_first(min(1.0, self.seconds / budget), device)
        self.over = of_first(float(self.seconds + self._needed > budget), device) > 0

    @property
    def _needed(self) -> float:
        """Seconds for another step and the end of the run."""
        return self._step_s + sum(self._closing_s.values())

    @contextmanager
    def closing(self, what: str) -> Iterator[None]:
        """Around what the run does once more at its end: time for it is kept free."""
        began = self._clock()
        try:
            yield
        finally:
            self._closing_s[what] = self._clock() - began

    def state(self) -> dict[str, Any]:
        """For a checkpoint's state.json; nothing without a budget, so that a run of steps leaves the same bytes again."""
        if not self.config.minutes:
            return {}
        return {"spent": {"seconds": self.seconds, "step_s": self._step_s, "closing_s": self._closing_s}}

    def load(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state` gave; a checkpoint of a run without a budget has spent nothing."""
        if (spent := state.get("spent")) and self.config.minutes:
            self._earlier_s, self._step_s = spent["seconds"], spent["step_s"]
            self._closing_s = dict(spent["closing_s"])
            budget = 60 * self.config.minutes  # no clock: all processes must agree before they can talk
            self.spent = min(1.0, spent["seconds"] / budget)
            self.over = spent["seconds"] + self._needed > budget

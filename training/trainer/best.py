"""The best averaged weights of a run so far, judged on held-out clips.

A run publishes its best weights, not its last: held-out loss can rise again while the training loss still falls. The
weights stay in memory between checkpoints, and every checkpoint holds them (checkpoint.py). A kill therefore leaves
weights, state and best of the same step; whatever was better after that step is measured again by the resumed run.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from safetensors.torch import load_file
from torch import Tensor

from training.config import HELD_OUT
from training.trainer.learner import Learner, anywhere

FILE = "best.safetensors"  # in a checkpoint


class Best:
    """`since` counts the measurements in a row that did not improve on the best.

    `weights` are whole, in main memory, and held by the first process alone.
    """

    def __init__(self, task: str) -> None:
        self.name, self.higher = HELD_OUT[task]
        self.step, self.since = 0, 0
        self.measured: dict[str, float] = {}
        self.weights: dict[str, Tensor] = {}

    def offer(self, step: int, measured: dict[str, float], learner: Learner, first: bool) -> None:
        """Keep the averaged weights if they measure better than all before. Every process calls it; the first decides."""
        if self.measured and not anywhere(first and self._beaten_by(measured), learner.device):
            self.since += 1
            return
        self.step, self.measured, self.since = step, measured, 0
        weights = learner.average.weights()  # gathered by all processes
        if first:
            self.weights = {name: tensor.detach().to("cpu", copy=True) for name, tensor in weights.items()}

    def _beaten_by(self, measured: dict[str, float]) -> bool:
        """Equal is not better, and what is not a number is never better."""
        value, best = measured[self.name], self.measured[self.name]
        if math.isnan(value) or math.isnan(best):
            return not math.isnan(value)
        return value > best if self.higher else value < best

    def state(self) -> dict[str, Any]:
        """For a checkpoint's state.json."""
        return {"step": self.step, "measured": self.measured, "since": self.since}

    def load(self, state: dict[str, Any], checkpoint: Path, first: bool) -> None:
        """Take over what `state` gave, and the weights beside it."""
        self.step, self.measured, self.since = state["step"], dict(state["measured"]), state["since"]
        self.weights = load_file(checkpoint / FILE) if first else {}

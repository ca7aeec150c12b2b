"""How fast a run is: tokens a second, the share of the machine's arithmetic that is used, what is lost, and memory.

Between two readings the meter counts the seconds of steps and those in which a step waited for its data; measuring and
saving on the way are neither. How the operations of a step are counted is `flops`' business.
"""

from __future__ import annotations

import resource
import time
from functools import cached_property

import torch

from training.trainer.flops import peak_flops


class Meter:
    """Call `begins` and `ends` around each step, `pause` once what follows it is done; `read` gives and resets."""

    def __init__(self, device: torch.device, budget: int) -> None:
        self.device, self.budget = device, budget
        self.tokens = self.flops = self.steps = self.offered = 0
        self.working = self.waiting = 0.0
        self.mark = time.perf_counter()

    @cached_property
    def peak(self) -> float:
        """Operations a second that this device could do; measured once where it is not known."""
        return peak_flops(self.device)

    def begins(self) -> None:
        """The step's data are here."""
        self.waiting += self._lap()

    def ends(self, tokens: int, flops: int) -> None:
        """The step is done: so many tokens of so many operations (0: not counted)."""
        self.working += self._lap()
        self.tokens, self.flops, self.steps = self.tokens + tokens, self.flops + flops, self.steps + 1
        self.offered += max(tokens, self.budget)

    def pause(self) -> None:
        """What was done since the step is not the step's."""
        self._lap()

    def read(self) -> dict[str, float]:
        """The figures since the last reading; empty before a step is done."""
        if not self.steps:
            return {}
        seconds = max(self.working + self.waiting, 1e-9)
        found = {
            "train/tokens_per_s": self.tokens / seconds,
            "train/padding": 1 - self.tokens / self.offered,  # of the token budget, what no clip filled
            "train/waiting": self.waiting / seconds,  # for data
            "train/memory_gb": self._memory(),
        }
        if self.flops:
            found["train/mfu"] = self.flops / seconds / self.peak
        self.tokens = self.flops = self.steps = self.offered = 0
        self.working = self.waiting = 0.0
        return found

    def _lap(self) -> float:
        before, self.mark = self.mark, time.perf_counter()
        return self.mark - before

    def _memory(self) -> float:
        """The most that was held so far: on the GPU, or by this process."""
        if self.device.type == "cuda":
            return torch.cuda.max_memory_allocated(self.device) / 1e9
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9

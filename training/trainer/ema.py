"""An exponential moving average of a model's weights, kept beside the model and swapped in to evaluate and to publish.

The decay warms up, min(d, (1 + n) / (10 + n)), so that a short run is not an average of its first steps. Lightning's
EMAWeightAveraging is not used: sharded models do not work with it, and its state is part of Lightning's own checkpoints.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from training.trainer.fsdp import gathered, placed


class Ema:
    """Averages the parameters of `model`; buffers are taken as they are."""

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.model, self.decay, self.updates = model, decay, 0
        self.average = self._copy()

    def _copy(self) -> dict[str, Tensor]:
        return {name: p.detach().clone() for name, p in self.model.named_parameters()}

    def shard(self) -> None:
        """Lay the average out as the weights, which are in shards now."""
        self.average = {name: placed(self.average[name], p) for name, p in self.model.named_parameters()}

    def gather(self) -> None:
        """The average whole again, in the first process; every process calls it. No further update is possible."""
        self.average = gathered(self.average)

    def to(self, device: torch.device) -> None:
        """Move the average to a device."""
        self.average = {name: average.to(device) for name, average in self.average.items()}

    @torch.no_grad()
    def update(self) -> None:
        """Move the average towards the weights by one step."""
        self.updates += 1
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        weights = [p.detach() for p in self.model.parameters()]
        torch._foreach_lerp_(list(self.average.values()), weights, 1 - decay)

    def weights(self) -> dict[str, Tensor]:
        """The averaged state dict, whole; every process calls it, see fsdp.gathered."""
        return {**{name: b.detach().clone() for name, b in self.model.named_buffers()}, **gathered(self.average)}

    @torch.no_grad()
    def load(self, weights: dict[str, Tensor], updates: int) -> None:
        """Take over an average saved by `weights`."""
        self.updates = updates
        for name, average in self.average.items():
            average.copy_(weights[name])

    @contextmanager
    @torch.no_grad()
    def swapped(self) -> Iterator[None]:
        """The model holds the averaged weights inside the block, and its own again after it."""
        own = self._copy()
        try:
            self._put(self.average)
            yield
        finally:
            self._put(own)

    def _put(self, weights: dict[str, Tensor]) -> None:
        for name, p in self.model.named_parameters():
            p.copy_(weights[name])

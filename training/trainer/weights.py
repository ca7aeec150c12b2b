"""The weights of a run beside the optimiser's: their moving average, and their shards over several processes.

The average (`Ema`) is what is measured and published. Its decay warms up, min(d, (1 + n) / (10 + n)), so that a short run is
not an average of its first steps. Lightning's EMAWeightAveraging does not work with sharded models, and its state is part of
Lightning's own checkpoints.

In shards (FSDP2, `fully_shard`) each block is gathered right before it computes and freed right after; average and optimiser
state lie in the same shards. A checkpoint holds whole tensors under their plain names, so that any number of processes can
go on from it. Reference: Zhao et al., "PyTorch FSDP", arXiv 2304.11277.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor

from training.model.transformer import Transformer


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
        self.average = {name: average.to(device) for name, average in self.average.items()}

    @torch.no_grad()
    def update(self) -> None:
        """Move the average towards the weights by one step."""
        self.updates += 1
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        weights = [p.detach() for p in self.model.parameters()]
        torch._foreach_lerp_(list(self.average.values()), weights, 1 - decay)

    def weights(self) -> dict[str, Tensor]:
        """The averaged state dict, whole; every process calls it, see `gathered`."""
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


def shard(model: Transformer, mesh: DeviceMesh) -> Transformer:
    """Shard the model over all processes of the mesh, in place and on its device. Call it before the optimiser is made.

    Between steps what is around the blocks lies in shards too: who averages, swaps or saves meets one kind of tensor.
    """
    for block in model.blocks:
        fully_shard(block, mesh=mesh)
    fully_shard(model, mesh=mesh, reshard_after_forward=True)
    return model


def first_process() -> bool:
    return not torch.distributed.is_initialized() or torch.distributed.get_rank() == 0


def anywhere(condition: bool, device: torch.device) -> bool:
    """Whether the condition holds in any process."""
    if not torch.distributed.is_initialized():
        return condition
    flag = torch.tensor(float(condition), device=device)
    torch.distributed.all_reduce(flag, op=torch.distributed.ReduceOp.MAX)
    return bool(flag.item())


def of_first(value: float, device: torch.device) -> float:
    """The first process's value, in every process."""
    if not torch.distributed.is_initialized():
        return value
    shared = torch.tensor(value, device=device)
    torch.distributed.broadcast(shared, 0)
    return float(shared.item())


def whole(tensor: Tensor) -> Tensor:
    """The tensor, gathered from all processes where it is in shards; every process calls it and has it."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def gathered(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors, whole. Every process calls it; those in shards the first process has alone, in main memory."""
    result = {}
    for name, tensor in tensors.items():
        entire = whole(tensor)  # one at a time: the device never holds all of them
        if entire is tensor or first_process():
            result[name] = entire if entire is tensor else entire.cpu()
    return result


def placed(entire: Tensor, like: Tensor) -> Tensor:
    """This process's part of a whole tensor, which all processes have: laid out as `like` is."""
    if not isinstance(like, DTensor):
        return entire
    return distribute_tensor(entire.to(like.device), like.device_mesh, like.placements, src_data_rank=None)


def gathered_state(optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """The optimiser's state dict with whole tensors; as `gathered`."""
    own = optimizer.state_dict()
    return {**own, "state": {index: gathered(values) for index, values in own["state"].items()}}


def load_state(optimizer: torch.optim.Optimizer, saved: Mapping[str, Any]) -> None:
    """Put what `gathered_state` gave into an optimiser, whether its weights are in shards or whole."""
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    state = {
        index: {
            name: placed(value, parameters[index]) if value.shape == parameters[index].shape else value
            for name, value in values.items()
        }
        for index, values in saved["state"].items()
    }
    optimizer.load_state_dict({**saved, "state": state})

"""Weights that no single process holds: the model in shards over several processes, and whole again for a checkpoint.

Each block is a unit of its own (FSDP2, `fully_shard`): gathered right before it computes, freed right after. Average and
optimiser state lie in the same shards. A checkpoint holds whole tensors under their plain names, so that one process, or
another number of them, can go on from it.

Reference: Zhao et al., "PyTorch FSDP", arXiv 2304.11277.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor

from training.model.transformer import Transformer


def shard(model: Transformer, mesh: DeviceMesh) -> Transformer:
    """The model over all processes of the mesh, in place and on its device. Call it before the optimiser is made.

    Between steps all of it lies in shards, what is around the blocks too: who averages, swaps or saves weights then meets
    one kind of tensor.
    """
    for block in model.blocks:
        fully_shard(block, mesh=mesh)
    fully_shard(model, mesh=mesh, reshard_after_forward=True)
    return model


def first_process() -> bool:
    return not torch.distributed.is_initialized() or torch.distributed.get_rank() == 0


def whole(tensor: Tensor) -> Tensor:
    """The tensor, gathered from all processes where it is in shards; every process calls it and has it."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def gathered(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors, whole. Every process calls it; those in shards the first process has alone, in main memory."""
    result = {}
    for name, tensor in tensors.items():
        entire = whole(tensor)  # one at a time: the device never holds all of them
        if entire is tensor:
            result[name] = tensor
        elif first_process():
            result[name] = entire.cpu()
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

"""Weights that no single process holds: the model in shards over several processes, and whole again for a checkpoint.

Each block is a unit of its own (FSDP2, `fully_shard`): gathered right before it computes, freed right after. A checkpoint
holds whole tensors under their plain names, so that one process, or another number of them, can go on from it.

Reference: Zhao et al., "PyTorch FSDP", arXiv 2304.11277.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.distributed.checkpoint import state_dict as states
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard

from training.transformer import Transformer

_WHOLE = states.StateDictOptions(full_state_dict=True, cpu_offload=True)


def shard(model: Transformer, device: str = "cuda") -> Transformer:
    """The model over all processes of the group, in place. Call it before the optimiser is made."""
    mesh = init_device_mesh(device, (torch.distributed.get_world_size(),))
    for block in model.blocks:
        fully_shard(block, mesh=mesh)
    fully_shard(model, mesh=mesh)
    return model


def gathered(model: Transformer, optimizer: torch.optim.Optimizer) -> tuple[dict[str, Any], dict[str, Any]]:
    """Whole weights and optimiser state, by the weights' names. Every process calls it; the first has the result, the
    others nothing."""
    weights, moments = states.get_state_dict(model, optimizer, options=_WHOLE)
    return dict(weights), dict(moments)


def spread(
    model: Transformer, optimizer: torch.optim.Optimizer, weights: dict[str, Any], moments: dict[str, Any]
) -> None:
    """Put what `gathered` gave into a model and its optimiser, sharded or not."""
    whole = states.StateDictOptions(full_state_dict=True)
    states.set_state_dict(model, optimizer, model_state_dict=weights, optim_state_dict=moments, options=whole)

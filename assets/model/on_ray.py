"""A training run on a Ray cluster: one task a node, each of which starts its processes with `torchrun`.

Ray places the tasks and ends them with whoever asked; `node` does the rest. Nodes share nothing but the store and the
ledger's database.
"""

from __future__ import annotations

import logging
import os
import secrets
import socket
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

from assets.decode.executor import OWN, QUIET, connect, this_machine
from assets.model.launcher import Group
from assets.model.node import Job, train

PLACED_S = 600.0  # for the cluster to have room for all nodes


def run(address: str, job: Job, group: Group) -> list[int]:
    """The job on `group.nodes` nodes of the cluster at this address, or of one on this machine; their exit codes.

    Raises TimeoutError where the cluster has no room, and what a node raises. A node that fails or is lost ends the others.
    """
    own = {} if address else OWN | {"RAY_AUTH_TOKEN": secrets.token_hex(32)}
    for name, value in (QUIET | own).items():
        os.environ.setdefault(name, value)
    import ray
    from ray.util.placement_group import placement_group, remove_placement_group
    from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy as In

    with ExitStack() as closing:
        if not ray.is_initialized():
            options = {} if address else this_machine(closing)
            closing.callback(ray.shutdown)
            connect(address or "local", log_to_driver=False, logging_level=logging.WARNING, **options)
        units = [unit for unit in ("CPU", "GPU") if ray.cluster_resources().get(unit)]
        bundle = dict.fromkeys(units, float(group.processes))
        together = placement_group([bundle] * group.nodes, strategy="STRICT_SPREAD" if group.nodes > 1 else "PACK")
        closing.callback(remove_placement_group, together)
        if not together.wait(PLACED_S):
            raise TimeoutError(f"the cluster has no room for {group.nodes} nodes with {bundle}: it has {_size()}")

        def on(rank: int) -> dict[str, Any]:
            return {
                "num_cpus": bundle["CPU"],
                "num_gpus": bundle.get("GPU", 0),
                "max_retries": 0,
                "scheduling_strategy": In(together, placement_group_bundle_index=rank),
            }

        host, port = ray.get(ray.remote(**on(0))(listens_at).remote())
        parts = [replace(group, rank=rank, host=host, port=port) for rank in range(group.nodes)]
        waiting = [ray.remote(**on(part.rank))(train).remote(job, part) for part in parts]
        order, codes = list(waiting), {}
        try:
            while waiting:
                (done, *_), waiting = ray.wait(waiting)
                codes[done] = ray.get(done)
                if codes[done]:
                    break
        finally:
            for left in waiting:
                ray.cancel(left, force=True)
        return [codes[ref] for ref in order if ref in codes]


def listens_at() -> tuple[str, int]:
    """This node's address, and a port that is free on it now."""
    import ray

    with socket.socket() as free:
        free.bind(("", 0))
        return ray.util.get_node_ip_address(), free.getsockname()[1]


def _size() -> dict[str, float]:
    import ray

    return {name: value for name, value in ray.cluster_resources().items() if name in ("CPU", "GPU")}

"""Where the processes of a training run are: on this machine, on a Ray cluster, or on Kubernetes.

RUSHES_TRAINING_LAUNCHER says it (`Home.launcher`). What belongs here: the setting and the command of a group of processes.
What a node of a cluster does is `node`'s, how one is reached `on_ray`'s and `on_kubernetes`'s.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass

FORMS = "local, torchrun:PROCESSES, ray, ray:HOST:PORT, ray://HOST:PORT or k8s"


@dataclass(frozen=True)
class Launcher:
    """A checked setting. `processes` are those on this machine; `address` is the cluster's, empty for one that is local."""

    kind: str
    processes: int = 1
    address: str = ""

    @property
    def elsewhere(self) -> bool:
        """Whether the processes may be on other machines, which share nothing but the store with this one."""
        return self.kind in ("ray", "k8s")


def checked(setting: str) -> str:
    """The setting, if it is one. Raises ValueError, which lists what there is."""
    if not re.fullmatch(r"local|torchrun:[1-9][0-9]{0,2}|ray(:(//)?[^/\s]+:[0-9]{1,5})?|k8s", setting):
        raise ValueError(f"{setting!r} is none of {FORMS}")
    return setting


def parse(setting: str) -> Launcher:
    """The launcher that a setting names. Raises ValueError."""
    kind, _, more = checked(setting).partition(":")
    if kind == "torchrun":
        return Launcher(kind, int(more))
    return Launcher(kind, address=setting if more.startswith("//") else more)


@dataclass(frozen=True)
class Group:
    """One node's part of a group: its rank among so many nodes, the processes on each, and where the first one listens."""

    processes: int = 1
    rank: int = 0
    nodes: int = 1
    host: str = "127.0.0.1"
    port: int = 29400

    def command(self, command: Sequence[str]) -> list[str]:
        """`torchrun` around `python -m MODULE ARGUMENTS`: a process that ends badly takes the others of all nodes with it.

        Alone, a process needs none.
        """
        if self.nodes == self.processes == 1:
            return list(command)
        _, flag, module, *arguments = command
        torchrun = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", str(self.processes)]
        if self.nodes == 1:
            torchrun += ["--standalone"]
        else:
            torchrun += ["--nnodes", str(self.nodes), "--node-rank", str(self.rank)]
            torchrun += ["--master-addr", self.host, "--master-port", str(self.port)]
        return [*torchrun, flag, module, *arguments]

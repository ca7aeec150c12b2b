"""Muon for a transformer's matrices and AdamW for everything else, as one optimiser with one state.

Adam moves every direction of a matrix by how large its gradient is; what a caption says of an outline is a faint one, and
is learned late. Muon takes the momentum's nearest orthogonal matrix instead, so that faint directions move as far as strong
ones. Embeddings, the output, vectors and tables stay AdamW's. Jordan et al., "Muon" (2024); Liu et al., arXiv 2502.16982.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch.optim import AdamW, Muon


class MuonAdamW(torch.optim.Optimizer):
    """Each parameter group says by `muon` which rule its parameters follow; all groups share one state dict."""

    def __init__(self, groups: Iterable[dict[str, Any]], lr: float) -> None:
        listed = list(groups)
        self._rules: dict[bool, torch.optim.Optimizer] = {
            True: Muon([group for group in listed if group["muon"]], lr=lr, momentum=0.95),
            False: AdamW([group for group in listed if not group["muon"]], lr=lr, betas=(0.9, 0.99), fused=True),
        }
        super().__init__([group for rule in self._rules.values() for group in rule.param_groups], {"lr": lr})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for muon, rule in self._rules.items():
            # bound anew at each step: loading a checkpoint replaces groups and state
            rule.param_groups = [group for group in self.param_groups if group["muon"] == muon]
            rule.state = self.state
            rule.step()
        return loss

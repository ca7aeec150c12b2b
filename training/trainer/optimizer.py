"""Muon for a transformer's matrices and AdamW for everything else, as one optimiser with one state.

Adam moves every direction of a matrix by how large its gradient is; what a caption says of an outline is a faint one, and
is learned late. Muon takes the momentum's nearest orthogonal matrix instead, so that faint directions move as far as strong
ones. Embeddings, the output, vectors and tables stay AdamW's. Jordan et al., "Muon" (2024); Liu et al., arXiv 2502.16982.

The rule is `torch.optim.Muon`'s, which always computes in bfloat16: a processor without such instructions takes twenty times
as long for it as in single precision.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.optim import AdamW

MOMENTUM = 0.95
QUINTIC = (3.4445, -4.7750, 2.0315)  # coefficients of the Newton-Schulz iteration, steepest at zero
ITERATIONS = 5


class MuonAdamW(torch.optim.Optimizer):
    """Each parameter group says by `muon` which rule its parameters follow; all groups share one state dict."""

    def __init__(self, groups: Iterable[dict[str, Any]], lr: float) -> None:
        listed = list(groups)
        self._adamw = AdamW([group for group in listed if not group["muon"]], lr=lr, betas=(0.9, 0.99), fused=True)
        muon = [{"lr": lr, **group} for group in listed if group["muon"]]
        super().__init__([*muon, *self._adamw.param_groups], {"lr": lr})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            if group["muon"]:
                for parameter in group["params"]:
                    if parameter.grad is not None:
                        self._move(parameter, parameter.grad, group["lr"], group["weight_decay"])
        # bound anew at each step: loading a checkpoint replaces groups and state
        self._adamw.param_groups = [group for group in self.param_groups if not group["muon"]]
        self._adamw.state = self.state
        self._adamw.step()
        return loss

    def _move(self, parameter: Tensor, gradient: Tensor, lr: float, weight_decay: float) -> None:
        momentum = self.state[parameter].setdefault("momentum_buffer", torch.zeros_like(parameter))
        momentum.lerp_(gradient, 1 - MOMENTUM)
        update = orthogonal(gradient.lerp(momentum, MOMENTUM))
        rows, columns = parameter.shape
        parameter.mul_(1 - lr * weight_decay).add_(update, alpha=-lr * math.sqrt(max(1, rows / columns)))


def orthogonal(matrix: Tensor) -> Tensor:
    """About the nearest matrix [rows, columns] whose singular values are all alike: they come out between 0.5 and 1.5."""
    x = matrix.T if matrix.shape[0] > matrix.shape[1] else matrix
    x = x.float() if x.device.type == "cpu" else x.bfloat16()
    x = x / x.norm().clamp(min=1e-7)
    a, b, c = QUINTIC
    for _ in range(ITERATIONS):
        gram = x @ x.T
        x = torch.addmm(x, torch.addmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return (x.T if matrix.shape[0] > matrix.shape[1] else x).to(matrix.dtype)

"""The velocity that the tokens' covariance decides alone, in closed form: what no layer has to learn.

If clips were normal draws of covariance U diag(l) U', the best guess of v = e - x from x_t = (1 - t) x + t e would be
linear: in each direction of U, x_t times (t - (1 - t) l) / ((1 - t)^2 l + t^2). In faint directions, which are most of a
token's, x_t is nearly noise and this is nearly all there is to say; but said by layers it would have to pass through
their width, and a token of more values than that comes out noisy. So a transformer that predicts the *correction* has
this under it, and learns what clips are beyond their covariance.

Reference: Wang and Vastola, "The Unreasonable Effectiveness of Gaussian Score Approximation for Diffusion Models",
arXiv 2412.09726.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

LEAST_VARIANCE = 1e-4  # of a direction; the latents' mean is 1


class GaussianVelocity(nn.Module):
    """Directions U [P, P] and variances l [P] of tokens, part of the weights. Before `fit`: all alike, of variance 1."""

    basis_PP: Tensor
    variance_P: Tensor

    def __init__(self, values: int) -> None:
        super().__init__()
        self.register_buffer("basis_PP", torch.eye(values))
        self.register_buffer("variance_P", torch.ones(values))

    @torch.no_grad()
    def fit(self, tokens: Iterable[Tensor]) -> None:
        """Measure them over these clips' tokens, [N, P] each. The mean is zero: latents are normalised."""
        moment_PP, count = torch.zeros_like(self.basis_PP, dtype=torch.float64), 0
        for x_NP in tokens:
            moment_PP += x_NP.double().T @ x_NP.double()
            count += len(x_NP)
        variance_P, basis_PP = torch.linalg.eigh(moment_PP / count)
        self.variance_P.copy_(variance_P.clamp_min(LEAST_VARIANCE))
        self.basis_PP.copy_(basis_PP)

    def forward(self, x_NP: Tensor, t_N: Tensor) -> Tensor:
        """Velocity [N, P] of noisy tokens at their times, in fp32: faint directions are amplified."""
        with torch.autocast("cuda", enabled=False):
            t_N1, variance_P = t_N.float()[:, None], self.variance_P
            gain_NP = (t_N1 - (1 - t_N1) * variance_P) / ((1 - t_N1).square() * variance_P + t_N1.square())
            return (x_NP.float() @ self.basis_PP * gain_NP) @ self.basis_PP.T

"""The velocity that the tokens' covariance decides alone, in closed form: what no layer has to learn.

If clips were normal draws of covariance U diag(l) U', the best guess of v = e - x from x_t = (1 - t) x + t e would be
linear: in each direction of U, x_t times (t - (1 - t) l) / ((1 - t)^2 l + t^2). In faint directions, which are most of a
token's, x_t is nearly noise and this is nearly all there is to say; but said by layers it would have to pass through
their width, and a token of more values than that comes out noisy. So a transformer that predicts the *correction* has
this under it, and learns what clips are beyond their covariance.

A transformer that predicts the *clip* says only the few directions in which clips lie, which is easy for a narrow one, but
its error counts 1/t^2 in the velocity: near the clip the covariance knows better. `BlendedVelocity` lets each direction
find the time below which that is so.

Reference: Wang and Vastola, "The Unreasonable Effectiveness of Gaussian Score Approximation for Diffusion Models",
arXiv 2412.09726.
"""

from __future__ import annotations

import math
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

    def gain(self, t_N1: Tensor) -> Tensor:
        """Velocity over noisy value in each direction, [N, P]."""
        variance_P = self.variance_P
        return (t_N1 - (1 - t_N1) * variance_P) / ((1 - t_N1).square() * variance_P + t_N1.square())

    def forward(self, x_NP: Tensor, t_N: Tensor) -> Tensor:
        """Velocity [N, P] of noisy tokens at their times, in fp32: faint directions are amplified."""
        with torch.autocast("cuda", enabled=False):
            return (x_NP.float() @ self.basis_PP * self.gain(t_N.float()[:, None])) @ self.basis_PP.T


class BlendedVelocity(GaussianVelocity):
    """The covariance's velocity near the clip, that of a predicted clip elsewhere.

    In each direction the prediction counts t^2 / (t^2 + s^2), with a learned time s; directions are ranked by variance.
    """

    FROM = 0.2  # s at the start of training

    def __init__(self, values: int) -> None:
        super().__init__(values)
        self.log_time_P = nn.Parameter(torch.full((values,), math.log(self.FROM)))

    def blend(self, x_NP: Tensor, clip_NP: Tensor, t_N: Tensor) -> Tensor:
        """Velocity [N, P], in fp32, of noisy tokens whose clip is predicted."""
        with torch.autocast("cuda", enabled=False):
            x_NP, t_N1 = x_NP.float(), t_N.float()[:, None]
            square_P = (2 * self.log_time_P).exp()
            total_NP = t_N1.square() + square_P
            covariance_NP = (x_NP @ self.basis_PP) * self.gain(t_N1) * (square_P / total_NP)
            predicted_NP = ((x_NP - clip_NP.float()) @ self.basis_PP) * (t_N1 / total_NP)
            return (covariance_NP + predicted_NP) @ self.basis_PP.T

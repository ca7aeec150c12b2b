"""The objective: rectified flow. A straight line from a clip to noise, and the velocity along it as the target.

    x_t = (1 - t) x + t e        v = dx_t/dt = e - x        t = 0 is the clip, t = 1 is noise

Timesteps are logit-normal, with a mean that grows with the number of tokens: larger clips stay recognisable at more
noise. Every random number of a sample is drawn from a generator keyed by (seed, clip, step), so a clip meets the same
noise whatever shares its pack, its process or its worker.

References: Liu et al., "Flow Straight and Fast", arXiv 2209.03003; Esser et al. (SD3), arXiv 2403.03206 (logit-normal,
shift); LTX-Video, arXiv 2501.00103 (its shift: 0.95 at 1024 tokens, 2.05 at 4096); Wang and Vastola, arXiv 2412.09726
(the Gaussian velocity).
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable

import torch
from torch import Tensor, nn

from training import device
from training.model.layers import Segments


def keyed(*key: object) -> torch.Generator:
    """A generator seeded by the key alone, the same on every machine."""
    digest = hashlib.sha256("\x1f".join(map(str, key)).encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "little") >> 1)


def timestep_mean(tokens: int) -> float:
    """Mean of logit(t) for a clip of this number of tokens: linear in log(tokens) through LTX's two points, never below 0."""
    return max(0.0, 0.95 + (2.05 - 0.95) * math.log(tokens / 1024) / math.log(4096 / 1024))


def draw_timestep(tokens: int, generator: torch.Generator, noise_shift: float = 0.0) -> float:
    """One t in (0, 1): the sigmoid of a normal draw around `timestep_mean` + `noise_shift`.

    The shift is for latents in which few directions carry most of the variance (those of a linear codec do): what a
    clip shows is then decided at more noise than its number of tokens says.
    """
    return float(torch.sigmoid(torch.randn((), generator=generator) + timestep_mean(tokens) + noise_shift))


def interpolate(x_NP: Tensor, e_NP: Tensor, t_N: Tensor) -> Tensor:
    """x_t: at t = 0 exactly the clip, at t = 1 exactly the noise."""
    return (1 - t_N[:, None]) * x_NP + t_N[:, None] * e_NP


def velocity(x_NP: Tensor, e_NP: Tensor) -> Tensor:
    """The target, constant along the line."""
    return e_NP - x_NP


def loss_per_sample(predicted_NP: Tensor, target_NP: Tensor, given_N: Tensor, segments: Segments) -> Tensor:
    """Mean squared error over each sample's tokens that are not given: fp32 [S].

    The training loss is the mean of these, so a small clip counts as much as a large one.
    """
    error_N = (predicted_NP.float() - target_NP.float()).square().mean(1).masked_fill(given_N, 0)
    segment_N = segments.index(error_N.device)
    zero_S = error_N.new_zeros(len(segments.lengths))
    total_S = zero_S.index_add(0, segment_N, error_N)
    count_S = zero_S.index_add(0, segment_N, (~given_N).float())
    return total_S / count_S.clamp_min(1)


LEAST_VARIANCE = 1e-4  # of a direction; the latents' mean is 1


class GaussianVelocity(nn.Module):
    """The velocity that the tokens' covariance decides alone, in closed form: what no layer has to learn.

    If clips were normal draws of covariance U diag(l) U', the best guess of v = e - x from x_t would be linear: in each
    direction of U, x_t times (t - (1 - t) l) / ((1 - t)^2 l + t^2). In faint directions, which are most of a token's,
    this is nearly all there is to say, but layers narrower than a token cannot say it. A transformer that predicts the
    *correction* has this under it. U [P, P] and l [P] are part of the weights; before `fit`, all variances are 1.
    """

    basis_PP: Tensor
    variance_P: Tensor

    def __init__(self, values: int) -> None:
        super().__init__()
        self.register_buffer("basis_PP", torch.eye(values))
        self.register_buffer("variance_P", torch.ones(values))

    @torch.no_grad()
    def fit(self, tokens: Iterable[Tensor]) -> None:
        """Measure them over these clips' tokens, [N, P] each. The mean is zero: latents are normalised."""
        moment_PP, count = torch.zeros(self.basis_PP.shape, dtype=torch.float64), 0
        for x_NP in tokens:
            moment_PP += x_NP.double().T @ x_NP.double()
            count += len(x_NP)
        variance_P, basis_PP = torch.linalg.eigh(moment_PP / count)
        self.variance_P.copy_(variance_P.clamp_min(LEAST_VARIANCE))
        self.basis_PP.copy_(basis_PP)

    def forward(self, x_NP: Tensor, t_N: Tensor) -> Tensor:
        """Velocity [N, P] of noisy tokens at their times, in fp32: faint directions are amplified."""
        with device.full_precision(x_NP.device):
            t_N1, variance_P = t_N.float()[:, None], self.variance_P
            gain_NP = (t_N1 - (1 - t_N1) * variance_P) / ((1 - t_N1).square() * variance_P + t_N1.square())
            return (x_NP.float() @ self.basis_PP * gain_NP) @ self.basis_PP.T

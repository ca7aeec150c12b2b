"""BRISQUE, the quality of a picture without a reference: 0 is very good, 100 very bad.

Brightness less its local mean, over its local deviation, is nearly normal in natural pictures; noise, blur and blocks change
its shape. Generalised normal distributions are fitted to it and to the products of neighbours, at two scales, and a support
vector machine turns the 36 parameters into a score. It was taught on pictures of about 500 pixels: of smaller ones it compares
models with each other, and says little by itself.

Reference: Mittal, Moorthy and Bovik, "No-Reference Image Quality Assessment in the Spatial Domain", IEEE TIP 21, 2012.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from training.networks import NetworkError, weights

FILE = "brisque.npz"
LUMA = (0.299, 0.587, 0.114)
LEAST_SIDE = 16  # pixels
WIDTH, SIGMA = 7, 7 / 6  # of the window
NEIGHBOURS = ((0, 1), (1, 0), (1, 1), (-1, 1))  # down and across
SHAPES = torch.arange(0.2, 10.001, 0.001, dtype=torch.float64)  # of a generalised normal distribution; 2: normal
RATIOS = torch.exp(2 * torch.lgamma(2 / SHAPES) - torch.lgamma(1 / SHAPES) - torch.lgamma(3 / SHAPES))


@dataclass(frozen=True)
class Brisque:
    """The support vectors."""

    vectors_NP: Tensor
    weights_N: Tensor
    low_P: Tensor
    range_P: Tensor
    gamma: float
    offset: float

    @classmethod
    def load(cls, folder: str | Path) -> Brisque:
        """From the folder of networks. Raises NetworkError if the file is missing or holds something else."""
        path = weights(folder, FILE)
        try:
            with np.load(path, allow_pickle=False) as file:
                names = "sv", "sv_coef", "feat_min", "feat_range"
                vectors, factors, low, width = (torch.from_numpy(file[name]).double() for name in names)
                return cls(vectors, factors, low, width, float(file["gamma"]), float(file["rho"]))
        except (OSError, ValueError, KeyError, EOFError) as error:
            raise NetworkError(f"{FILE} does not hold BRISQUE: {error}; `make setup` fetches it") from error

    def __call__(self, frame_HWC: Tensor) -> float | None:
        """The score of a uint8 RGB picture; None where it has no contrast at all, or a side below LEAST_SIDE."""
        luma_HW = (frame_HWC.cpu().double() @ torch.tensor(LUMA, dtype=torch.float64)).round()
        if min(luma_HW.shape) < LEAST_SIDE:
            return None
        half_HW = F.interpolate(luma_HW[None, None], scale_factor=0.5, mode="bicubic", antialias=True)[0, 0]
        parameters = _parameters(luma_HW), _parameters(half_HW)
        if parameters[0] is None or parameters[1] is None:
            return None
        scaled_P = 2 * (torch.cat([parameters[0], parameters[1]]) - self.low_P) / self.range_P - 1
        near_N = torch.exp(-self.gamma * (scaled_P - self.vectors_NP).square().sum(1))
        return float(near_N @ self.weights_N) - self.offset


def _parameters(luma_HW: Tensor) -> Tensor | None:
    """The 18 parameters of one scale."""
    x_HW = _normalised(luma_HW)
    if not bool(x_HW.any()):
        return None
    mean_square, mean_size = x_HW.square().mean(), x_HW.abs().mean()
    parts = [torch.stack([_shape(mean_size**2 / mean_square), mean_square])]
    for shift in NEIGHBOURS:
        product_HW = x_HW * x_HW.roll(shift, (0, 1))
        if not bool(product_HW.any()):
            return None
        parts.append(_asymmetric(product_HW))
    return torch.cat(parts)


def _normalised(luma_HW: Tensor) -> Tensor:
    """Brightness less its local mean, over its local deviation plus one."""
    x = torch.arange(WIDTH, dtype=torch.float64) - WIDTH // 2
    window = torch.exp(-(x**2) / (2 * SIGMA**2))
    window = window / window.sum()
    both = torch.stack([luma_HW, luma_HW**2])[:, None]
    both = F.conv2d(both, window[None, None, :, None], padding=(WIDTH // 2, 0))
    mean_HW, square_HW = F.conv2d(both, window[None, None, None, :], padding=(0, WIDTH // 2))[:, 0]
    return (luma_HW - mean_HW) / ((square_HW - mean_HW**2).abs().sqrt() + 1)


def _asymmetric(x_HW: Tensor) -> Tensor:
    """Shape, mean, and variance to the left and right of an asymmetric generalised normal distribution."""
    left, right = (
        side.square().mean().sqrt() if len(side) else x_HW.new_zeros(()) for side in (x_HW[x_HW < 0], x_HW[x_HW > 0])
    )
    ratio = x_HW.abs().mean() ** 2 / x_HW.square().mean()
    shape = _shape(ratio * (left**3 + right**3) * (left + right) / (left**2 + right**2) ** 2)
    scale = torch.lgamma(2 / shape) - (torch.lgamma(1 / shape) + torch.lgamma(3 / shape)) / 2
    return torch.stack([shape, (right - left) * scale.exp(), left**2, right**2])


def _shape(ratio: Tensor) -> Tensor:
    """The shape whose squared mean size over mean square is nearest to the ratio."""
    return SHAPES[(RATIOS - ratio).abs().argmin()]

"""LPIPS, a distance between pictures that follows what people see: v0.1 on AlexNet, as papers report it.

Both pictures go through AlexNet's five convolutions. At each of them the features are scaled to length 1 over the channels,
and the squared differences are weighted by channel and averaged over the picture. It is differentiable, so it is also a loss.

References: Zhang et al., "The Unreasonable Effectiveness of Deep Features as a Perceptual Metric" (arXiv 1801.03924);
Krizhevsky, "One weird trick for parallelizing convolutional neural networks" (arXiv 1404.5997).
"""

from __future__ import annotations

from pathlib import Path
from pickle import UnpicklingError

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from training.networks import NetworkError, weights

FILE = "lpips-alex.pt"
STRIDES, PADDINGS, POOLED = (4, 1, 1, 1, 1), (2, 2, 1, 1, 1), (1, 2)  # POOLED: layers with a maximum before them
# ImageNet's mean and deviation, for pictures in -1..1
MEAN, DEVIATION = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)
LEAST_SIDE = 32  # pixels: below, nothing is left after the two maxima


class Lpips(nn.Module):
    """The distance. Its weights are buffers: no optimiser takes them, no checkpoint of a model that uses it keeps them."""

    mean_C11: Tensor
    deviation_C11: Tensor

    def __init__(self, trunk: list[tuple[Tensor, Tensor]], channels: list[Tensor]) -> None:
        """`trunk`: kernel and bias of each convolution. `channels`: [1, C, 1, 1] weights of its features."""
        super().__init__()
        self.register_buffer("mean_C11", torch.tensor(MEAN)[:, None, None], persistent=False)
        self.register_buffer("deviation_C11", torch.tensor(DEVIATION)[:, None, None], persistent=False)
        for layer, ((kernel, bias), weight) in enumerate(zip(trunk, channels, strict=True)):
            for name, tensor in (("kernel", kernel), ("bias", bias), ("weight", weight)):
                self.register_buffer(f"{name}_{layer}", tensor.float(), persistent=False)

    @classmethod
    def load(cls, folder: str | Path) -> Lpips:
        """From the folder of networks. Raises NetworkError if the file is missing or holds something else."""
        path = weights(folder, FILE)
        try:
            stored = torch.load(path, map_location="cpu", weights_only=True)
            return cls([(layer["weight"], layer["bias"]) for layer in stored["trunk"]], stored["lin"])
        except (UnpicklingError, RuntimeError, EOFError, KeyError, TypeError, ValueError) as error:
            raise NetworkError(f"{FILE} does not hold LPIPS on AlexNet: {error}; `make setup` fetches it") from error

    def forward(self, a_N3HW: Tensor, b_N3HW: Tensor) -> Tensor:
        """Distances [N] of RGB pictures in -1..1; 0 where they are equal. ValueError for sides below LEAST_SIDE."""
        if min(a_N3HW.shape[2:]) < LEAST_SIDE:
            raise ValueError(f"LPIPS needs sides of {LEAST_SIDE} pixels or more, got {tuple(a_N3HW.shape[2:])}")
        total_N = a_N3HW.new_zeros(len(a_N3HW), dtype=torch.float32)
        x = (torch.cat([a_N3HW, b_N3HW]) - self.mean_C11) / self.deviation_C11
        for layer, (stride, padding) in enumerate(zip(STRIDES, PADDINGS, strict=True)):
            if layer in POOLED:
                x = F.max_pool2d(x, 3, 2)
            kernel, bias = getattr(self, f"kernel_{layer}"), getattr(self, f"bias_{layer}")
            x = F.relu(F.conv2d(x, kernel.to(x.dtype), bias.to(x.dtype), stride, padding))
            a, b = F.normalize(x.float(), dim=1, eps=1e-10).chunk(2)
            total_N = total_N + ((a - b).square() * getattr(self, f"weight_{layer}")).sum(1).mean((1, 2))
        return total_N

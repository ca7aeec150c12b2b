"""I3D, the network that says what happens in a clip: RGB, Kinetics-400. Its averaged logits are the features of FVD.

Inception modules of 3-D convolutions. Convolutions and pools pad as TensorFlow's SAME does, which is not symmetric where the
stride is 2. Batch normalisation is folded into the kernels as they are read.

The weights are the original's as a pickle of numpy arrays, read by an unpickler that admits nothing else.

References: Carreira and Zisserman, "Quo Vadis, Action Recognition?" (arXiv 1705.07750); Unterthiner et al., "Towards Accurate
Generative Models of Video" (arXiv 1812.01717) for the features and the preprocessing.
"""

from __future__ import annotations

import pickle
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from training.networks import NetworkError, weights

FILE = "i3d-kinetics-400.ckpt"
CLASSES, SIDE, LEAST_FRAMES = 400, 224, 9
EPSILON = 1e-3  # of the batch normalisation
# channels of the four branches: 1x1x1; 1x1x1 then 3x3x3; the same, narrower; 1x1x1 after a maximum
MIXED = {
    "Mixed_3b": (64, 96, 128, 16, 32, 32),
    "Mixed_3c": (128, 128, 192, 32, 96, 64),
    "Mixed_4b": (192, 96, 208, 16, 48, 64),
    "Mixed_4c": (160, 112, 224, 24, 64, 64),
    "Mixed_4d": (128, 128, 256, 24, 64, 64),
    "Mixed_4e": (112, 144, 288, 32, 64, 64),
    "Mixed_4f": (256, 160, 320, 32, 128, 128),
    "Mixed_5b": (256, 160, 320, 32, 128, 128),
    "Mixed_5c": (384, 192, 384, 48, 128, 128),
}
# a maximum before these: kernel and stride in time, down and across
POOLS = {
    "Conv3d_2b_1x1": ((1, 3, 3), (1, 2, 2)),
    "Mixed_3b": ((1, 3, 3), (1, 2, 2)),
    "Mixed_4b": ((3, 3, 3), (2, 2, 2)),
    "Mixed_5b": ((2, 2, 2), (2, 2, 2)),
}

Three = tuple[int, int, int]


class Unit(nn.Module):
    """A convolution with SAME padding and a rectifier."""

    def __init__(self, before: int, after: int, kernel: int = 1, stride: int = 1) -> None:
        super().__init__()
        self.convolution = nn.Conv3d(before, after, kernel, stride)

    def forward(self, x_BCTHW: Tensor) -> Tensor:
        kernel, stride = self.convolution.kernel_size, self.convolution.stride
        return F.relu(self.convolution(same(x_BCTHW, kernel, stride)))


class Mixed(nn.Module):
    """An Inception module: four branches beside each other."""

    def __init__(self, before: int, channels: tuple[int, ...]) -> None:
        super().__init__()
        a, b0, b1, c0, c1, d = channels
        self.units = nn.ModuleDict(
            {
                "Branch_0/Conv3d_0a_1x1": Unit(before, a),
                "Branch_1/Conv3d_0a_1x1": Unit(before, b0),
                "Branch_1/Conv3d_0b_3x3": Unit(b0, b1, 3),
                "Branch_2/Conv3d_0a_1x1": Unit(before, c0),
                "Branch_2/Conv3d_0b_3x3": Unit(c0, c1, 3),
                "Branch_3/Conv3d_0b_1x1": Unit(before, d),
            }
        )

    def forward(self, x: Tensor) -> Tensor:
        one, two, two_wide, three, three_wide, four = self.units.values()
        return torch.cat([one(x), two_wide(two(x)), three_wide(three(x)), four(pool(x, (3, 3, 3), (1, 1, 1)))], 1)


class I3d(nn.Module):
    """The classifier. It is never trained, so it is in evaluation mode and without gradients."""

    def __init__(self) -> None:
        super().__init__()
        self.stages = nn.ModuleDict(
            {
                "Conv3d_1a_7x7": Unit(3, 64, 7, 2),
                "Conv3d_2b_1x1": Unit(64, 64),
                "Conv3d_2c_3x3": Unit(64, 192, 3),
            }
        )
        width = 192
        for name, channels in MIXED.items():
            self.stages[name] = Mixed(width, channels)
            width = channels[0] + channels[2] + channels[4] + channels[5]
        self.logits = nn.Conv3d(width, CLASSES, 1)
        self.eval().requires_grad_(False)

    @classmethod
    def load(cls, folder: str | Path) -> I3d:
        """From the folder of networks. Raises NetworkError if the file is missing or holds something else."""
        path, network = weights(folder, FILE), cls()
        try:
            with path.open("rb") as file:
                stored = _Arrays(file).load()
            network.take(stored["params"], stored["batch_stats"])
        except (pickle.UnpicklingError, EOFError, KeyError, TypeError, ValueError, AttributeError) as error:
            raise NetworkError(f"{FILE} does not hold I3D: {error}; `make setup` fetches it") from error
        return network

    def take(self, params: Mapping[str, Any], statistics: Mapping[str, Any]) -> None:
        """Copy the arrays of the original, batch normalisation folded in."""
        for name, unit in self._units():
            kernel, shift = params[name[0]], statistics[name[0]]
            for part in name[1:]:
                kernel, shift = kernel[part], shift[part]
            scale = 1 / np.sqrt(shift["BatchNorm_0"]["var"].ravel() + EPSILON)
            bias = kernel["BatchNorm_0"]["bias"] - shift["BatchNorm_0"]["mean"].ravel() * scale
            _copy(unit.convolution, kernel["Conv_0"]["kernel"] * scale, bias)
        last = params["Logits/Conv3d_0c_1x1"]["Conv_0"]
        _copy(self.logits, last["kernel"], last["bias"])

    def _units(self) -> Iterator[tuple[tuple[str, ...], Unit]]:
        for name, stage in self.stages.items():
            if isinstance(stage, Unit):
                yield (name,), stage
            else:
                assert isinstance(stage, Mixed)
                yield from (((name, part), unit) for part, unit in stage.units.items() if isinstance(unit, Unit))

    def forward(self, x_B3THW: Tensor) -> Tensor:
        """Logits [B, 400], averaged over time, of RGB clips in -1..1 with sides of 224. ValueError for others."""
        if min(x_B3THW.shape[3:]) < SIDE or x_B3THW.shape[2] < LEAST_FRAMES:
            raise ValueError(f"I3D needs {LEAST_FRAMES} frames of {SIDE} pixels, got {tuple(x_B3THW.shape[2:])}")
        x = x_B3THW
        for name, stage in self.stages.items():
            x = stage(pool(x, *POOLS[name]) if name in POOLS else x)
        return self.logits(F.avg_pool3d(x, (2, 7, 7), 1))[:, :, :, 0, 0].mean(2)


@torch.inference_mode()
def features(network: I3d, frames_THWC: Tensor) -> Tensor:
    """FVD's features f32 [400] of a uint8 clip: its frames scaled to 224 x 224 without regard to the aspect ratio."""
    device = next(network.parameters()).device
    x_TCHW = frames_THWC.to(device).permute(0, 3, 1, 2).float() / 127.5 - 1
    x_TCHW = F.interpolate(x_TCHW, size=(SIDE, SIDE), mode="bilinear", align_corners=False)
    return network(x_TCHW.transpose(0, 1)[None])[0].float().cpu()


def same(x: Tensor, kernel: tuple[int, ...], stride: tuple[int, ...]) -> Tensor:
    """Zeros around all sides but the first two, so that n becomes n / stride, rounded up; what is odd goes to the end."""
    pads = []
    for n, k, s in zip(reversed(x.shape[2:]), reversed(kernel), reversed(stride), strict=True):
        total = max((-(-n // s) - 1) * s + k - n, 0)
        pads += [total // 2, total - total // 2]
    return F.pad(x, pads) if any(pads) else x


def pool(x: Tensor, kernel: Three, stride: Three) -> Tensor:
    """A maximum with SAME padding. Zeros do no harm: everything here is behind a rectifier."""
    return F.max_pool3d(same(x, kernel, stride), kernel, stride)


def _copy(convolution: nn.Conv3d, kernel: np.ndarray, bias: np.ndarray) -> None:
    kernel_OITHW = torch.from_numpy(np.ascontiguousarray(kernel.transpose(4, 3, 0, 1, 2)))
    convolution.weight.copy_(kernel_OITHW)
    assert convolution.bias is not None
    convolution.bias.copy_(torch.from_numpy(np.ascontiguousarray(bias)))


class _Arrays(pickle.Unpickler):
    """Admits what a pickle of numpy arrays needs and nothing else, so that no file can run code."""

    ADMITTED = frozenset({("numpy", "ndarray"), ("numpy", "dtype")})

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in self.ADMITTED:
            return getattr(np, name)
        if (module, name) in {("numpy.core.multiarray", "_reconstruct"), ("numpy._core.multiarray", "_reconstruct")}:
            from numpy._core.multiarray import _reconstruct

            return _reconstruct
        raise pickle.UnpicklingError(f"{module}.{name} is not allowed in a file of weights")

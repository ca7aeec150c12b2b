"""EfficientNet-Lite0, a small classifier of ImageNet: its pooled features say what a frame shows.

Inverted residual blocks with ReLU6 and no squeeze-and-excitation. Convolutions pad as TensorFlow's SAME does.

References: Tan and Le, "EfficientNet" (arXiv 1905.11946); Liu, "Higher accuracy on vision models with EfficientNet-Lite", 2020.
"""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from pickle import UnpicklingError

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from training.networks import NetworkError, weights
from training.networks.i3d import same

FILE = "efficientnet-lite0.pth"
SIDE, WIDTH = 224, 1280
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
# of each group of blocks: how many, kernel, stride of the first, expansion, channels
GROUPS = (
    *((1, 3, 1, 1, 16), (2, 3, 2, 6, 24), (2, 5, 2, 6, 40), (3, 3, 2, 6, 80)),
    *((3, 5, 1, 6, 112), (4, 5, 2, 6, 192), (1, 3, 1, 6, 320)),
)
EPSILON = 1e-3  # of the batch normalisation


class Block(nn.Module):
    """Widen, convolve each channel by itself, narrow; the input is added where the shape stays."""

    def __init__(self, before: int, after: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        width = before * expansion
        if expansion > 1:
            self._expand_conv, self._bn0 = nn.Conv2d(before, width, 1, bias=False), nn.BatchNorm2d(width, EPSILON)
        self._depthwise_conv = nn.Conv2d(width, width, kernel, stride, groups=width, bias=False)
        self._bn1 = nn.BatchNorm2d(width, EPSILON)
        self._project_conv, self._bn2 = nn.Conv2d(width, after, 1, bias=False), nn.BatchNorm2d(after, EPSILON)
        self.widens, self.adds = expansion > 1, stride == 1 and before == after

    def forward(self, x_BCHW: Tensor) -> Tensor:
        x = F.relu6(self._bn0(self._expand_conv(x_BCHW))) if self.widens else x_BCHW
        x = F.relu6(self._bn1(_convolve(self._depthwise_conv, x)))
        x = self._bn2(self._project_conv(x))
        return x + x_BCHW if self.adds else x


class EfficientNetLite0(nn.Module):
    """The classifier. Its modules have the names of the published file."""

    def __init__(self) -> None:
        super().__init__()
        self._conv_stem, self._bn0 = nn.Conv2d(3, 32, 3, 2, bias=False), nn.BatchNorm2d(32, EPSILON)
        blocks: list[nn.Module] = []
        for (*_, before), (count, kernel, stride, expansion, after) in pairwise(((32,), *GROUPS)):
            for i in range(count):
                blocks.append(Block(after if i else before, after, kernel, 1 if i else stride, expansion))
        self._blocks = nn.ModuleList(blocks)
        self._conv_head, self._bn1 = nn.Conv2d(320, WIDTH, 1, bias=False), nn.BatchNorm2d(WIDTH, EPSILON)
        self._fc = nn.Linear(WIDTH, 1000)
        self.eval().requires_grad_(False)

    @classmethod
    def load(cls, folder: str | Path) -> EfficientNetLite0:
        """From the folder of networks. Raises NetworkError if the file is missing or holds something else."""
        path, network = weights(folder, FILE), cls()
        try:
            network.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
        except (UnpicklingError, RuntimeError, EOFError, TypeError, AttributeError) as error:
            raise NetworkError(f"{FILE} does not hold EfficientNet-Lite0: {error}; `make setup` fetches it") from error
        return network

    def forward(self, x_B3HW: Tensor) -> Tensor:
        """Pooled features [B, 1280] of normalised RGB pictures."""
        x = F.relu6(self._bn0(_convolve(self._conv_stem, x_B3HW)))
        for block in self._blocks:
            x = block(x)
        return F.relu6(self._bn1(self._conv_head(x))).mean((2, 3))

    def classify(self, features_BD: Tensor) -> Tensor:
        """Probabilities [B, 1000] of ImageNet's classes from `forward`'s features."""
        return self._fc(features_BD).softmax(-1)


@torch.inference_mode()
def features(network: EfficientNetLite0, frames_THWC: Tensor) -> Tensor:
    """Features f32 [T, 1280] of uint8 frames, each scaled to 224 x 224."""
    device = next(network.parameters()).device
    x_TCHW = frames_THWC.to(device).permute(0, 3, 1, 2).float() / 255
    x_TCHW = F.interpolate(x_TCHW, size=(SIDE, SIDE), mode="bilinear", align_corners=False, antialias=True)
    mean_C11, deviation_C11 = (torch.tensor(x, device=device)[:, None, None] for x in (MEAN, DEVIATION))
    return network((x_TCHW - mean_C11) / deviation_C11).float().cpu()


def _convolve(convolution: nn.Conv2d, x_BCHW: Tensor) -> Tensor:
    """The convolution with TensorFlow's SAME padding."""
    return convolution(same(x_BCHW, convolution.kernel_size, convolution.stride))

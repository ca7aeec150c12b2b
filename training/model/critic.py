"""The critic of a codec's pictures: which patches of a video are filmed, and which are reconstructed.

A codec that is trained on pixel errors alone answers doubt with blur, because the mean of all sharp pictures loses least. The
critic learns to tell blur from footage, and the codec learns to be taken for it. It is trained beside the codec, belongs
to the run and not to what is published, and is for sizes whose latents are too few to keep every pixel.

A PatchGAN over space and time (Isola et al., arXiv 1611.07004) with spectral norms (Miyato et al., arXiv 1802.05957), and
hinge losses (Lim & Ye, arXiv 1705.02894). The codec's own loss goes through a frozen copy of the critic's weights, so that
one backward pass and one optimiser serve both.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.utils.parametrizations import spectral_norm


class Critic(nn.Module):
    """Pixels [B, 3, T, H, W] in [-1, 1] to a score for each patch, [B, 1, t, h, w]: positive where it looks filmed."""

    def __init__(self, width: int = 32, layers: int = 3) -> None:
        super().__init__()
        widths = [3, *(width * min(2**i, 8) for i in range(layers))]
        # the first layer halves space alone, so that a video of one frame is judged too
        strides = [(1, 2, 2), *[(2, 2, 2)] * (layers - 1)]
        parts: list[nn.Module] = []
        for into, out, stride in zip(widths, widths[1:], strides, strict=False):
            parts += [spectral_norm(nn.Conv3d(into, out, (3, 4, 4), stride, 1)), nn.LeakyReLU(0.2)]
        self.layers = nn.Sequential(*parts, spectral_norm(nn.Conv3d(widths[-1], 1, 3, padding=1)))

    def forward(self, x_BCTHW: Tensor) -> Tensor:
        return self.layers(x_BCTHW)

    def judge(self, filmed_BCTHW: Tensor, remade_BCTHW: Tensor) -> tuple[Tensor, Tensor]:
        """The codec's loss and the critic's, each [B]. Neither moves the other's weights."""
        frozen = {name: p.detach() for name, p in self.named_parameters()}
        fooled_B = -functional_call(self, frozen, (remade_BCTHW,)).mean((1, 2, 3, 4))
        filmed_B = F.relu(1 - self(filmed_BCTHW)).mean((1, 2, 3, 4))
        remade_B = F.relu(1 + self(remade_BCTHW.detach())).mean((1, 2, 3, 4))
        return fooled_B, (filmed_B + remade_B) / 2

"""How well the codec keeps pictures: PSNR and SSIM between a clip and its own reconstruction."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from training.model.codec import to_bytes, to_unit
from training.model.patches import VideoCodec


@torch.no_grad()
def reconstruct(codec: VideoCodec, frames_THWC: Tensor) -> Tensor:
    """uint8 frames through the codec and back to uint8 frames."""
    return to_bytes(codec.decode(codec.encode(to_unit(frames_THWC)[None]))[0])


def psnr(a_THWC: Tensor, b_THWC: Tensor) -> float:
    """Peak signal-to-noise ratio in dB of two uint8 videos, over all pixels of the clip; 100 where they are equal."""
    error = (a_THWC.float() - b_THWC.float()).square().mean()
    return float((10 * torch.log10(255**2 / error.clamp_min(255**2 * 1e-10))).item())


def ssim(a_THWC: Tensor, b_THWC: Tensor) -> float:
    """Structural similarity of two uint8 videos: grey, 7x7 uniform window, mean over frames (Wang et al. 2004)."""
    a, b = (x.float().mean(-1)[:, None] for x in (a_THWC, b_THWC))

    def local(x: Tensor) -> Tensor:
        return F.avg_pool2d(x, 7, stride=1)

    mean_a, mean_b = local(a), local(b)
    var_a, var_b = local(a * a) - mean_a**2, local(b * b) - mean_b**2
    covariance = local(a * b) - mean_a * mean_b
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    score = (2 * mean_a * mean_b + c1) * (2 * covariance + c2)
    return float((score / ((mean_a**2 + mean_b**2 + c1) * (var_a + var_b + c2))).mean())

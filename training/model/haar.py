"""A codec without parameters: the orthonormal Haar transform of every patch. Nothing is lost, so it is for exact tests.

Frame 0 counts as a tube of frames that do not move, so its latent is a tube's too: all channels but the first in time
are zero. Whatever a model trained on these latents gets wrong is its own, not the codec's.

References: Haar, "Zur Theorie der orthogonalen Funktionensysteme", 1910; Cosmos, arXiv 2501.03575 (Haar as a stem).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from training.model.config import CodecConfig
from training.model.patches import Memory, PatchCodec


class HaarCodec(PatchCodec):
    """Channels are the 3 s p p values of a tube. See the module's opening."""

    space_PP: Tensor
    tube_PP: Tensor
    still_P: Tensor

    def __init__(self, config: CodecConfig) -> None:
        super().__init__(config)
        p, s = config.patch, config.stride
        space_PP = torch.kron(torch.eye(3), torch.kron(haar(p), haar(p)))
        # as `cells` lays a patch out: colour, time, down, across
        tube_PP = torch.kron(torch.eye(3), torch.kron(haar(s), torch.kron(haar(p), haar(p))))
        still_P = torch.zeros(3, s, p * p, dtype=torch.bool)
        still_P[:, 0] = True  # what is alike in all frames of a tube
        self.register_buffer("space_PP", space_PP, persistent=False)
        self.register_buffer("tube_PP", tube_PP, persistent=False)
        self.register_buffer("still_P", still_P.flatten(), persistent=False)

    def to_latent(self, image_BfhwP: Tensor, tube_BkhwP: Tensor, memory: Memory) -> Tensor:
        still = image_BfhwP.new_zeros(*image_BfhwP.shape[:4], self.config.channels)
        still[..., self.still_P] = image_BfhwP @ self.space_PP.T * math.sqrt(self.config.stride)
        return torch.cat([still, tube_BkhwP @ self.tube_PP.T], dim=1).movedim(-1, 1)

    def to_patches(self, z_BCthw: Tensor, images: int, memory: Memory) -> tuple[Tensor, Tensor]:
        z_BthwC = z_BCthw.movedim(1, -1)
        image = z_BthwC[:, :images][..., self.still_P] @ self.space_PP / math.sqrt(self.config.stride)
        return image, z_BthwC[:, images:] @ self.tube_PP


def haar(size: int) -> Tensor:
    """The orthonormal Haar matrix [size, size], coarsest row first. ValueError unless `size` is a power of two."""
    if size < 1 or size & (size - 1):
        raise ValueError(f"the Haar codec's patch and stride must be powers of two, got {size}")
    matrix = torch.ones(1, 1)
    while len(matrix) < size:
        coarse = torch.kron(matrix, torch.tensor([[1.0, 1.0]]))
        fine = torch.kron(torch.eye(len(matrix)), torch.tensor([[1.0, -1.0]]))
        matrix = torch.cat([coarse, fine]) / math.sqrt(2)
    return matrix

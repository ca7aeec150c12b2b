"""What is seen in a simulated video, from its pixels alone: coloured bodies, where they are and how large.

The worlds of trials are grey, so colour belongs to bodies. A pixel's chroma (its RGB less their mean) is projected on the
palette's: the colour nearest in hue wins, and the length of the projection is the share of the pixel that a body covers,
anti-aliased edges included. Bodies are connected regions of one colour. A faded body covers less; a wrong hue is another.

Lengths are in frame diagonals from the picture's centre, x to the right and y downwards, areas in squared diagonals.
Shape suffixes: T frames, H W pixels, C RGB, K palette colours.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import torch
import torch.nn.functional as F
from torch import Tensor

from training.simulate.scene import COLOURS

NAMES = tuple(sorted(COLOURS))
FAINT = 0.2  # coverage below which a pixel is background: sunset and the codec's noise stay below it
SOLID = 0.4  # coverage from which a pixel belongs to a region
SMALLEST = 0.003  # area below which a region is no body


@dataclass(frozen=True)
class Body:
    """One region of one colour in one frame, with its mean coverage-weighted place and its area."""

    colour: str
    x: float
    y: float
    area: float


@dataclass(frozen=True)
class Seen:
    """A video taken apart."""

    frames_THWC: Tensor
    cover_TKHW: Tensor  # share of each pixel that a body of each colour covers

    @cached_property
    def diagonal(self) -> float:
        return math.hypot(*self.cover_TKHW.shape[2:])

    @cached_property
    def area_TK(self) -> Tensor:
        """Area of each colour in each frame, all regions together."""
        return self.cover_TKHW.sum((2, 3)) / self.diagonal**2

    @cached_property
    def centre_TK2(self) -> Tensor:
        """Mean place (x, y) of each colour in each frame; nan where there is less than a body of it."""
        x_W, y_H = axes(*self.cover_TKHW.shape[2:])
        total_TK = self.cover_TKHW.sum((2, 3))
        x_TK = torch.einsum("tkhw,w->tk", self.cover_TKHW, x_W) / total_TK
        y_TK = torch.einsum("tkhw,h->tk", self.cover_TKHW, y_H) / total_TK
        return torch.stack([x_TK, y_TK], -1).masked_fill((self.area_TK < SMALLEST)[..., None], math.nan)

    @cached_property
    def bodies(self) -> list[list[Body]]:
        """The bodies of each frame, the largest first."""
        solid_TKHW = self.cover_TKHW >= SOLID
        label_TKHW = regions(solid_TKHW.flatten(0, 1)).unflatten(0, solid_TKHW.shape[:2])
        x_W, y_H = axes(*solid_TKHW.shape[2:])
        frames: list[list[Body]] = []
        for label_KHW, cover_KHW in zip(label_TKHW, self.cover_TKHW, strict=True):
            frame = []
            for name, label_HW, cover_HW in zip(NAMES, label_KHW, cover_KHW, strict=True):
                for label in label_HW.unique().tolist():
                    part_HW = cover_HW * (label_HW == label)
                    total = float(part_HW.sum())
                    if label and total / self.diagonal**2 >= SMALLEST:
                        x, y = float((part_HW.sum(0) @ x_W) / total), float((part_HW.sum(1) @ y_H) / total)
                        frame.append(Body(name, x, y, total / self.diagonal**2))
            frames.append(sorted(frame, key=lambda body: -body.area))
        return frames


def look(frames_THWC: Tensor) -> Seen:
    """Take a uint8 [T, H, W, 3] video apart."""
    chroma_THWC = frames_THWC.float() - frames_THWC.float().mean(-1, keepdim=True)
    palette_KC = torch.tensor([COLOURS[name] for name in NAMES], dtype=torch.float32)
    palette_KC = palette_KC - palette_KC.mean(1, keepdim=True)
    length_K = palette_KC.norm(dim=1)
    along_THWK = chroma_THWC @ (palette_KC / length_K[:, None]).T
    winner_THW1 = along_THWK.argmax(-1, keepdim=True)
    cover_THWK = (along_THWK / length_K).clamp(0, 1)
    cover_THWK = torch.zeros_like(cover_THWK).scatter(-1, winner_THW1, cover_THWK.gather(-1, winner_THW1))
    return Seen(frames_THWC, cover_THWK.masked_fill(cover_THWK < FAINT, 0).movedim(-1, 1))


def axes(height: int, width: int) -> tuple[Tensor, Tensor]:
    """Places of the pixels' centres: x [W] and y [H], in diagonals from the picture's centre."""
    diagonal = math.hypot(width, height)
    return (torch.arange(width) + 0.5 - width / 2) / diagonal, (torch.arange(height) + 0.5 - height / 2) / diagonal


def regions(solid_NHW: Tensor) -> Tensor:
    """Label of each pixel's region, 0 outside: bool [N, H, W] to int64. Regions touch along edges, not at corners.

    Every pixel takes the largest label around it until nothing changes. Most pictures are of a colour that is not there,
    so only those with something in them are looked at.
    """
    held_M = solid_NHW.flatten(1).any(1).nonzero()[:, 0]
    solid_MHW = solid_NHW[held_M]
    first_HW = torch.arange(1, solid_NHW[0].numel() + 1).reshape(solid_NHW.shape[1:])
    label_MHW = (first_HW * solid_MHW).double()  # exact for every picture that fits in memory
    while len(held_M):
        rows, columns = F.max_pool2d(label_MHW, (1, 3), 1, (0, 1)), F.max_pool2d(label_MHW, (3, 1), 1, (1, 0))
        spread_MHW = torch.maximum(rows, columns) * solid_MHW
        if torch.equal(spread_MHW, label_MHW):
            break
        label_MHW = spread_MHW
    return torch.zeros(solid_NHW.shape, dtype=torch.long).index_copy(0, held_M, label_MHW.long())

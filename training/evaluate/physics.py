"""What a simulated video shows, from its pixels alone: coloured bodies, and whether they move as the world's laws say.

The worlds of trials are grey, so colour belongs to bodies. A pixel's chroma (its RGB less their mean) is projected on the
palette's: the colour nearest in hue wins, and the length of the projection is the share of the pixel that a body covers,
anti-aliased edges included. Bodies are connected regions of one colour. A faded body covers less; a wrong hue is another.

`look` takes a video apart. The measures below it (gravity, momentum, permanence, camera) return None where the video does
not show enough. The laws are the simulator's: one gravity, elastic collisions, mass as area. Lengths are in frame diagonals
from the picture's centre, x to the right and y downwards, areas in squared diagonals.
Shape suffixes: T frames, H W pixels, C RGB, K palette colours.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import torch
import torch.nn.functional as F
from torch import Tensor

from training.simulate.scene import COLOURS, DIRECTIONS, GRAVITY

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


LEAST_FALL = 4  # frames of free fall that a measurement of acceleration needs
HIDDEN = 0.35  # share of its area that a body behind the pillar may still show
KEPT = (0.6, 1.6)  # area of the body that comes out, over that of the body that went in
CROSSED = 0.25  # diagonals that it must have gone
MOVE = 0.06  # diagonals, or log of the zoom factor: a camera that does less stands still


def free_fall(seen: Seen, colour: str) -> Tensor | None:
    """Heights (y downwards, diagonals) of the body from the first frame until just before the ground: f32 [n].

    None where it falls for too few frames, or is lost on its way.
    """
    y_T = seen.centre_TK2[:, NAMES.index(colour), 1]
    if bool(y_T[:LEAST_FALL].isnan().any()):
        return None
    rising = (y_T[1:] < y_T[:-1] - 0.004).nonzero()
    landed = int(rising[0]) if len(rising) else int(y_T.nan_to_num(-9).argmax())
    falls = landed >= LEAST_FALL and not bool(y_T[:landed].isnan().any())
    return y_T[:landed] if falls else None  # the frame of the contact itself is left out


def gravity_residual(seen: Seen, colour: str, fps: float) -> float:
    """Root mean square distance, in diagonals, between the fall and the nearest one under the world's gravity.

    Start and first speed are free, the acceleration is not: a body that hangs, glides or rises does not fall. What
    shows no fall at all is measured over its first frames, as far from a fall as it is; without a body, infinite.
    """
    y_N = free_fall(seen, colour)
    if y_N is None:
        y_N = seen.centre_TK2[: 2 * LEAST_FALL, NAMES.index(colour), 1]
        if bool(y_N.isnan().any()):
            return math.inf
    time_N = torch.arange(len(y_N)) / fps
    basis_N2 = torch.stack([torch.ones_like(time_N), time_N], 1)
    rest_N = y_N - GRAVITY / 2 * time_N**2
    fitted_N = basis_N2 @ torch.linalg.lstsq(basis_N2, rest_N[:, None]).solution[:, 0]
    return float((rest_N - fitted_N).square().mean().sqrt())


def bounced(seen: Seen, colour: str) -> bool:
    """Whether the body, after some place well below its start, comes up again by a tenth of the way it fell there.

    Any place counts, not the lowest of the clip: that may be a later landing, with which the clip ends.
    """
    y_T = seen.centre_TK2[:, NAMES.index(colour), 1]
    y_T = y_T[~y_T.isnan()]
    if len(y_T) < LEAST_FALL:
        return False
    fall_T = y_T - y_T[0]
    rise_T = y_T - y_T.flip(0).cummin(0).values.flip(0)  # up to the highest place that comes later
    return bool(((fall_T > 0.1) & (rise_T > fall_T / 10)).any())


def momentum_error(seen: Seen, striker: str, struck: str, fps: float) -> float | None:
    """|momentum after - before| over that before, along x, mass as area. None where no collision is seen.

    The contact is when the two centres are nearest; the frames beside it belong to neither side.
    """
    first, second = NAMES.index(striker), NAMES.index(struck)
    x_T2 = seen.centre_TK2[:, [first, second], 0]
    if bool(x_T2.isnan().any()):
        return None
    contact = int((x_T2[:, 0] - x_T2[:, 1]).abs().argmin())
    before, after = x_T2[:contact], x_T2[contact + 1 :]
    if min(len(before), len(after)) < 3:
        return None
    mass_2 = seen.area_TK[:, [first, second]].median(0).values
    speed_before, speed_after = (_slope(x_N2) * fps for x_N2 in (before, after))
    momentum, kept = float(mass_2 @ speed_before), float(mass_2 @ speed_after)
    if abs(float(speed_before[0])) < 0.05 or abs(float(speed_after[1] - speed_before[1])) < 0.05:
        return None  # nothing came, or nothing was set in motion
    return abs(kept - momentum) / abs(momentum)


def permanent(seen: Seen, colour: str, direction: str) -> bool:
    """Whether the body goes in, is hidden, and comes out on the other side, as large as before and the only one."""
    index = NAMES.index(colour)
    area_T, x_T = seen.area_TK[:, index], seen.centre_TK2[:, index, 0]
    into, out = area_T[:3].median(), area_T[-3:].median()
    if into < SMALLEST or x_T[:2].isnan().any() or x_T[-2:].isnan().any():
        return False
    way = DIRECTIONS[direction][0] * float(x_T[-2:].mean() - x_T[:2].mean())
    others = float((seen.area_TK.sum(1) - area_T).max())
    hidden = float(area_T[2:-2].min() / into) <= HIDDEN
    same = KEPT[0] <= float(out / into) <= KEPT[1] and others < float(into) / 4
    inside = all(sum(body.colour == colour for body in frame) <= 1 for frame in seen.bodies)
    return hidden and same and inside and way >= CROSSED


def camera_move(seen: Seen) -> str:
    """`static`, or what the camera does, from the world behind the bodies: pans, tilts or zooms, and where to.

    Lucas-Kanade over the whole picture between neighbouring frames: a shift and a zoom by least squares.
    """
    grey_THW = seen.frames_THWC.float().mean(-1)
    x_W, y_H = axes(*grey_THW.shape[1:])
    x_HW, y_HW = x_W.expand(grey_THW.shape[1:]), y_H[:, None].expand(grey_THW.shape[1:])
    covered_THW = torch.nn.functional.max_pool2d(seen.cover_TKHW.sum(1), 5, 1, 2) > 0
    step = 1 / seen.diagonal
    total_3 = torch.zeros(3)
    for before, after, cover_HW in zip(grey_THW[:-1], grey_THW[1:], covered_THW[:-1] | covered_THW[1:], strict=True):
        mean_HW = (before + after) / 2
        down_HW, across_HW = torch.gradient(mean_HW, spacing=step)
        keep_HW = ~cover_HW
        terms_N3 = torch.stack([across_HW, down_HW, across_HW * x_HW + down_HW * y_HW], -1)[keep_HW]
        total_3 += torch.linalg.lstsq(terms_N3, -(after - before)[keep_HW][:, None]).solution[:, 0]
    shift_x, shift_y, zoom = total_3.tolist()  # of the world in the picture: the camera goes the other way
    moves = {"pans": -shift_x, "tilts": -shift_y, "zooms": zoom}
    kind = max(moves, key=lambda name: abs(moves[name]))
    if abs(moves[kind]) < MOVE:
        return "static"
    words = {"pans": ("right", "left"), "tilts": ("down", "up"), "zooms": ("in", "out")}[kind]
    return f"{kind} {words[0] if moves[kind] > 0 else words[1]}"


def _slope(x_N2: Tensor) -> Tensor:
    """Least-squares slope of each column, per row."""
    time_N = torch.arange(len(x_N2)) - (len(x_N2) - 1) / 2
    return (time_N[:, None] * x_N2).sum(0) / time_N.square().sum()

"""Does what is seen move as the world's laws say? Gravity, momentum, permanence, camera: numbers from a video alone.

Each measure takes a video that was taken apart (`objects.look`) and what was asked for by name; None where the video
does not show enough to measure. The laws are the simulator's: one gravity, elastic collisions, mass as area.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from training.evaluate.objects import NAMES, SMALLEST, Seen, axes
from training.simulate.scene import DIRECTIONS, GRAVITY

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


def acceleration(seen: Seen, colour: str, fps: float) -> float | None:
    """Diagonals per second squared of the free fall, by the least squares of a parabola."""
    y_N = free_fall(seen, colour)
    if y_N is None:
        return None
    time_N = torch.arange(len(y_N)) / fps
    basis_N3 = torch.stack([torch.ones_like(time_N), time_N, time_N**2 / 2], 1)
    return float(torch.linalg.lstsq(basis_N3, y_N[:, None]).solution[2, 0])


def bounced(seen: Seen, colour: str) -> bool:
    """Whether the body comes up again, by a tenth of its fall, after its lowest place."""
    y_T = seen.centre_TK2[:, NAMES.index(colour), 1]
    y_T = y_T[~y_T.isnan()]
    if len(y_T) < LEAST_FALL:
        return False
    lowest = int(y_T.argmax())
    fall = float(y_T[lowest] - y_T[0])
    return fall > 0.1 and float(y_T[lowest] - y_T[lowest:].min()) > fall / 10


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

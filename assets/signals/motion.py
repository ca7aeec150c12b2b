"""How much a clip moves, and how much of that is the camera: dense optical flow and an affine fit to it.

Every figure is in frame diagonals per second, so that it depends neither on size nor on frame rate. Signs are the
camera's: `pan` is positive when it turns right (the picture moves left), `tilt` when it turns up, `zoom` when it comes
nearer, `roll` when the picture turns clockwise. Zoom and roll are given as the mean speed that they cause over the
frame, so that all four compare.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from assets.vocabulary import CAMERA_MOVES

FLOW_SIDE = 192  # pixels on the long side; the smallest at which slow pans still register within 20 % of their speed
LEAST_SIDE = 32  # pixels; the flow's pyramid has no level for less, and the library crashes
GRID_STEP = 8  # pixels between the points that the camera's motion is fitted to
FIT_ROUNDS = 5
STATIC_DIAG_PER_S = 0.008  # below this a camera counts as standing still
JITTER_RATIO = 1.0  # a shaking camera changes its motion more than it keeps it


@dataclass(frozen=True)
class PairMotion:
    """Motion between two sampled frames, in diagonals per second."""

    magnitude: float  # mean length of the flow
    pan: float
    tilt: float
    zoom: float
    roll: float


class FlowMeter:
    """Dense inverse search flow between successive gray frames of one size."""

    def __init__(self) -> None:
        import cv2

        self._flow = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_ULTRAFAST)
        self._fit: _AffineFit | None = None

    def scaled(self, gray: np.ndarray) -> np.ndarray:
        """`FLOW_SIDE` on the long side; of very wide and very tall pictures the short side decides."""
        import cv2

        height, width = gray.shape
        scale = max(FLOW_SIDE / max(height, width), LEAST_SIDE / min(height, width))
        size = (max(LEAST_SIDE, round(width * scale)), max(LEAST_SIDE, round(height * scale)))
        return cv2.resize(gray, size, interpolation=cv2.INTER_AREA)

    def between(self, before: np.ndarray, after: np.ndarray, seconds: float) -> PairMotion:
        """Motion from `before` to `after` (both from `scaled`), `seconds` apart."""
        import cv2

        flow = self._flow.calc(before, after, None)  # type: ignore[call-overload]
        if self._fit is None or self._fit.shape != before.shape:
            self._fit = _AffineFit(before.shape)
        pan, tilt, zoom, roll = self._fit.solve(flow)
        per_second = 1 / (self._fit.diagonal * seconds)
        magnitude = cv2.mean(cv2.magnitude(*cv2.split(flow)))[0]
        return PairMotion(*(value * per_second for value in (magnitude, pan, tilt, zoom, roll)))


class _AffineFit:
    """Flow = translation + linear part, fitted to the flow on a grid by reweighted least squares.

    The weights (Cauchy) let moving subjects fall out of the fit, so that what is left is the camera's motion.
    """

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.shape = shape
        height, width = shape
        self.diagonal = float(np.hypot(width, height))
        ys, xs = np.mgrid[GRID_STEP // 2 : height : GRID_STEP, GRID_STEP // 2 : width : GRID_STEP]
        self._rows, self._columns = ys.ravel(), xs.ravel()
        x, y = self._columns - (width - 1) / 2, self._rows - (height - 1) / 2
        self._design = np.stack([np.ones_like(x), x, y], axis=1).astype(np.float64)
        self._radius = float(np.mean(np.hypot(x, y)))

    def solve(self, flow: np.ndarray) -> tuple[float, float, float, float]:
        """(pan, tilt, zoom, roll) of the camera in pixels."""
        import cv2

        target = flow[self._rows, self._columns].astype(np.float64)
        fit = np.zeros((3, 2))
        # what most of the picture does; a mean would start between it and the subject
        fit[0] = _middle(target[:, 0]), _middle(target[:, 1])
        for _ in range(FIT_ROUNDS):
            off = target - self._design @ fit
            squared = np.einsum("ij,ij->i", off, off)
            scale = max(0.05, 1.48 * float(np.sqrt(_middle(squared))))
            weighted = self._design / (1 + squared / scale**2)[:, None]
            _, fit = cv2.solve(
                weighted.T @ self._design + _RIDGE, weighted.T @ target
            )  # numpy's takes ten times as long
        (right, down), (xx, yx), (xy, yy) = fit
        return -float(right), float(down), float(xx + yy) / 2 * self._radius, float(yx - xy) / 2 * self._radius


def _middle(values: np.ndarray) -> float:
    """The upper median: np.median costs several times as much on a few hundred values."""
    return float(np.partition(values, len(values) // 2)[len(values) // 2])


_RIDGE = 1e-6 * np.eye(3)


def summarise(pairs: Sequence[PairMotion]) -> dict[str, Any]:
    """The motion columns of table `signals`; a clip with a single frame does not move."""
    pairs = pairs or [PairMotion(0.0, 0.0, 0.0, 0.0, 0.0)]
    magnitudes = [pair.magnitude for pair in pairs]
    camera, strength = classify(pairs)
    return {
        "motion_diag_per_s": float(np.median(magnitudes)),
        "motion_p90_diag_per_s": float(np.percentile(magnitudes, 90)),
        "camera_motion": camera,
        "camera_motion_diag_per_s": strength,
        **{
            f"camera_{name}_diag_per_s": float(np.median([getattr(pair, name) for pair in pairs]))
            for name in CAMERA_MOVES
        },
    }


def classify(pairs: Sequence[PairMotion]) -> tuple[str, float]:
    """(class, strength in diagonals per second) of the camera's motion over a clip.

    The median over time is what the camera keeps doing; the median step away from it is shake.
    """
    moves = np.array([[getattr(pair, name) for name in CAMERA_MOVES] for pair in pairs])
    steady = np.median(moves, axis=0)
    shake = float(np.median(np.linalg.norm((moves - steady)[:, :2], axis=1)))
    leader = int(np.argmax(np.abs(steady)))
    lead, overall = float(abs(steady[leader])), float(np.median(np.linalg.norm(moves, axis=1)))
    if overall < STATIC_DIAG_PER_S:
        return "static", overall
    if lead < STATIC_DIAG_PER_S or shake > JITTER_RATIO * lead:
        return "handheld", overall
    return CAMERA_MOVES[leader], lead

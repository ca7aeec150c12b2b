"""Where one shot ends and the next begins: hard cuts by content and histogram, fades by runs of blank frames.

What belongs here: the features of every frame that boundaries need, and the decision on them. Frames are seen once,
in order, through a 64-pixel thumbnail; the decision is a pure function of the features, so that it can be tested and
tuned without a video. Dissolves are not detected.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import numpy as np

DETECTOR_VERSION = "shots-1"
THUMB = (64, 36)  # fixed, whatever the aspect ratio: only differences between thumbnails matter
CUT_CONTENT = 7.0  # mean absolute CIE Lab difference to the frame before, 8-bit units
CUT_HISTOGRAM = 0.25  # share of pixels that left their colour bin
CUT_RATIO = 2.5  # how far the change stands out of the motion around it
CUT_PERSISTENCE = 0.6  # share of the change still there a few frames later; a flash goes back
SURROUNDINGS = (2, 6)  # frames away from the change that count as around it; a blended frame may sit next to a cut
CONFIRM_FRAMES = 4
BLANK_STD, BLANK_DARK, BLANK_BRIGHT = 4.0, 24.0, 232.0  # luma of a faded-out frame, 8-bit units
BLANK_FRAMES = 3
MIN_SHOT_S = 0.25

Boundary = Literal["cut", "fade", "end"]


@dataclass(frozen=True)
class Shot:
    """Frames `start` to `end` - 1; `boundary` says what ended it."""

    start: int
    end: int
    boundary: Boundary


@dataclass
class ShotFeatures:
    """Per-frame evidence of boundaries, a few floats a frame."""

    pts_s: array = field(default_factory=lambda: array("d"))
    content: array = field(default_factory=lambda: array("f"))  # against the frame before; 0 for the first
    histogram: array = field(default_factory=lambda: array("f"))
    persistence: array = field(
        default_factory=lambda: array("f")
    )  # least difference of the next frames to the one before
    luma_mean: array = field(default_factory=lambda: array("f"))
    luma_std: array = field(default_factory=lambda: array("f"))
    _last: tuple[np.ndarray, np.ndarray] | None = None  # Lab thumbnail and colour histogram of the frame before
    _open: list[tuple[int, np.ndarray]] = field(default_factory=list)  # changes whose persistence is still watched

    def add(self, pts_s: float, rgb: np.ndarray, gray: np.ndarray) -> bool:
        """Take the next frame; True when it may begin a new shot (the decision itself needs later frames)."""
        import cv2

        lab = cv2.cvtColor(cv2.resize(rgb, THUMB, interpolation=cv2.INTER_AREA), cv2.COLOR_RGB2LAB)
        counts = cv2.calcHist([lab], [0, 1, 2], None, [12, 8, 8], [0, 256, 96, 160, 96, 160]).ravel()
        bins = counts / (THUMB[0] * THUMB[1])
        content, moved = 0.0, 0.0
        index = len(self.pts_s)
        if self._last is not None:
            content = _difference(lab, self._last[0])
            moved = float(1 - cv2.compareHist(bins, self._last[1], cv2.HISTCMP_INTERSECT))
        self._watch(index, lab)
        candidate = pts_s >= MIN_SHOT_S and _may_cut(content, moved, self.content[_before(index)])
        if candidate and self._last is not None:
            self._open.append((index, self._last[0]))
        self._last = (lab, bins)
        mean, std = cv2.meanStdDev(gray)
        self.pts_s.append(pts_s)
        self.content.append(content)
        self.histogram.append(moved)
        self.persistence.append(content)
        self.luma_mean.append(float(mean[0, 0]))
        self.luma_std.append(float(std[0, 0]))
        return candidate

    def _watch(self, index: int, lab: np.ndarray) -> None:
        self._open = [(at, before) for at, before in self._open if index - at <= CONFIRM_FRAMES]
        for at, before in self._open:
            self.persistence[at] = min(self.persistence[at], _difference(lab, before))


def _difference(a: np.ndarray, b: np.ndarray) -> float:
    import cv2

    return sum(cv2.mean(cv2.absdiff(a, b))[:3]) / 3


def find_shots(features: ShotFeatures) -> list[Shot]:
    """Shots that cover every frame once, in order; an empty list for no frames."""
    count = len(features.pts_s)
    if not count:
        return []
    found: dict[int, tuple[float, Boundary]] = {at: (features.content[at], "cut") for at in _cuts(features)}
    for at in _fades(features):
        found[at] = (float("inf"), "fade")
    marks = _apart(found, features.pts_s)
    starts = [0, *marks]
    ends = [*marks, count]
    kinds: list[Boundary] = [*(found[at][1] for at in marks), "end"]
    return [Shot(*parts) for parts in zip(starts, ends, kinds, strict=True)]


def _before(at: int) -> slice:
    """Frames around a change, on the side that is known when it happens."""
    near, far = SURROUNDINGS
    return slice(max(1, at - far), max(1, at - near + 1))


def _after(at: int) -> slice:
    near, far = SURROUNDINGS
    return slice(at + near, at + far + 1)


def _may_cut(content: float, moved: float, around: Sequence[float]) -> bool:
    """Whether a change is large, changes the colours, and stands out of the motion around it."""
    return content >= CUT_CONTENT and moved >= CUT_HISTOGRAM and content >= CUT_RATIO * max([*around, 0.1])


def _cuts(features: ShotFeatures) -> list[int]:
    content = features.content
    cuts = []
    for at in range(1, len(content)):
        around = [*content[_before(at)], *content[_after(at)]]
        if not _may_cut(content[at], features.histogram[at], around):
            continue
        # the second of two changes next to each other is the same cut over a blended frame
        strongest = content[at] >= max(content[max(1, at - 1) : at + 2])
        if strongest and features.persistence[at] >= CUT_PERSISTENCE * content[at]:
            cuts.append(at)
    return cuts


def _fades(features: ShotFeatures) -> list[int]:
    """The middle of every run of blank frames that has pictures on both sides."""
    blank = [
        std < BLANK_STD and not BLANK_DARK < mean < BLANK_BRIGHT
        for mean, std in zip(features.luma_mean, features.luma_std, strict=True)
    ]
    marks, start = [], None
    for at, is_blank in enumerate([*blank, False]):
        if is_blank and start is None:
            start = at
        elif not is_blank and start is not None:
            if start > 0 and at < len(blank) and at - start >= BLANK_FRAMES:
                marks.append((start + at) // 2)
            start = None
    return marks


def _apart(found: dict[int, tuple[float, Boundary]], pts_s: Sequence[float]) -> list[int]:
    """Boundaries at least `MIN_SHOT_S` from each other and from both ends; the stronger of two stays."""
    step = (pts_s[-1] - pts_s[0]) / max(1, len(pts_s) - 1)
    kept: list[int] = []
    for at in sorted(found, key=lambda at: (-found[at][0], at)):
        inside = pts_s[at] >= MIN_SHOT_S and pts_s[-1] + step - pts_s[at] >= MIN_SHOT_S - 1e-6
        if inside and all(abs(pts_s[at] - pts_s[other]) >= MIN_SHOT_S for other in kept):
            kept.append(at)
    return sorted(kept)

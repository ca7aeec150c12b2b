"""Where one shot ends and the next begins: cuts by content and histogram, fades by blank frames, dissolves by mixture.

What belongs here: the features of every frame that boundaries need, and the decision on them. Frames are seen once,
in order, through a 64-pixel thumbnail; the decision is a pure function of the features, so that it can be tested and
tuned without a video. `dissolves` recognises dissolves.
"""

from __future__ import annotations

from array import array
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from assets.signals.dissolves import DissolveWatch, settled

if TYPE_CHECKING:
    import numpy as np

DETECTOR_VERSION = "shots-4"
CUT_CONTENT = 7.0  # mean absolute difference of luma and chroma to the frame before, 8-bit units
CUT_HISTOGRAM = 0.2  # share of pixels that left their colour bin
CUT_RATIO = 1.6  # how far the change stands out of the motion around it
CALM_SHARE, CALM_RATIO = 0.5, 8.0  # half of both is a change where it stands out of near stillness
CUT_CORRELATION = 0.82  # correlation with the frame before, wherever it may have moved; a fast pan shows what was there
UNLIKE, UNLIKE_RATIO = 0.4, 1.3  # what has nothing in common with the frame before need not stand out as much
CUT_PERSISTENCE = 0.6  # share of the change still there between the frames around; a flash goes back
SURROUNDINGS = (2, 6)  # frames away from the change that count as around it; a blended frame may sit next to a cut
CONFIRM_FRAMES = 4
REACH = (6, 12)  # rows and columns of a thumbnail that a pan may move it between two frames
BLANK_STD, BLANK_DARK, BLANK_BRIGHT = 4.0, 24.0, 232.0  # luma of a faded-out frame, 8-bit units
BLANK_FRAMES = 3
LONGEST_RAMP = 75  # frames from blank to the whole picture
MIN_SHOT_S = 0.25

Boundary = Literal["cut", "fade", "dissolve", "end"]


@dataclass(frozen=True)
class Shot:
    """Frames `start` to `end` - 1; `boundary` says what ended it."""

    start: int
    end: int
    boundary: Boundary


def _floats() -> array:
    return array("f")


@dataclass
class ShotFeatures:
    """Per-frame evidence of boundaries, a few floats a frame."""

    pts_s: array = field(default_factory=lambda: array("d"))
    content: array = field(default_factory=_floats)  # against the frame before; 0 for the first
    histogram: array = field(default_factory=_floats)  # 0 where the content alone rules out a cut
    correlation: array = field(default_factory=_floats)  # to the frame before, moved at will; 1 where not looked at
    persistence: array = field(default_factory=_floats)  # least difference between the frames before and after
    luma_mean: array = field(default_factory=_floats)
    luma_std: array = field(default_factory=_floats)
    dissolves: DissolveWatch = field(default_factory=DissolveWatch)
    _before: deque[np.ndarray] = field(default_factory=lambda: deque(maxlen=CONFIRM_FRAMES))  # thumbnails
    _bins: tuple[int, np.ndarray] | None = None  # the last frame whose colours were counted, and their histogram
    _was_blank: bool = False
    _open: list[tuple[int, list[np.ndarray]]] = field(default_factory=list)  # changes still watched, what was before

    def add(self, pts_s: float, thumb: np.ndarray) -> bool:
        """Take the next frame's thumbnail, uint8 [36, 64, 3] (luma, blue and red difference).

        True when it may begin a new shot, or may just have begun one; the decision itself needs later frames.
        """
        import cv2

        index = len(self.pts_s)
        mean, std = cv2.meanStdDev(thumb)
        content, moved, like, large = 0.0, 0.0, 1.0, False
        if self._before:
            content = _difference(thumb, self._before[-1])
        if content >= CALM_SHARE * CUT_CONTENT:
            moved = self._moved(index, thumb)
            large = moved >= CALM_SHARE * CUT_HISTOGRAM
            if large:
                like = _correlation(thumb, self._before[-1])
                self._open.append((index, list(self._before)))
        self.pts_s.append(pts_s)
        self.content.append(content)
        self.histogram.append(moved)
        self.correlation.append(like)
        self.persistence.append(content)
        self.luma_mean.append(float(mean[0, 0]))
        self.luma_std.append(float(std[0, 0]))
        gradual = self._was_blank and not is_blank(mean[0, 0], std[0, 0])
        self._was_blank = is_blank(mean[0, 0], std[0, 0])
        gradual |= self.dissolves.add(index, pts_s, thumb)
        candidate = large and pts_s >= MIN_SHOT_S and _changes(self, index, self.content[_before(index)])
        if candidate:
            self.dissolves.cut()
        self._watch(index, thumb)
        self._before.append(thumb)
        return candidate or gradual

    def _moved(self, index: int, thumb: np.ndarray) -> float:
        """Share of the pixels that left their colour bin since the frame before."""
        import cv2

        counted = self._bins is not None and self._bins[0] == index - 1
        before = self._bins[1] if self._bins is not None and counted else _colours(self._before[-1])
        now = _colours(thumb)
        self._bins = index, now
        return float(1 - cv2.compareHist(now, before, cv2.HISTCMP_INTERSECT))

    def _watch(self, index: int, thumb: np.ndarray) -> None:
        self._open = [(at, before) for at, before in self._open if index - at <= CONFIRM_FRAMES]
        for at, before in self._open:
            self.persistence[at] = min(self.persistence[at], *(_difference(thumb, earlier) for earlier in before))


def is_blank(mean: float, std: float) -> bool:
    """Whether a frame of this luma shows nothing, as between a fade out and a fade in."""
    return std < BLANK_STD and not BLANK_DARK < mean < BLANK_BRIGHT


def _colours(thumb: np.ndarray) -> np.ndarray:
    """Histogram of luma and chroma, as shares."""
    import cv2

    counts = cv2.calcHist([thumb], [0, 1, 2], None, [12, 8, 8], [0, 256, 80, 176, 80, 176]).ravel()
    return counts / (thumb.shape[0] * thumb.shape[1])


def _difference(a: np.ndarray, b: np.ndarray) -> float:
    import cv2

    return sum(cv2.mean(cv2.absdiff(a, b))[:3]) / 3


def _correlation(thumb: np.ndarray, before: np.ndarray) -> float:
    """The best correlation of the middle of the picture before with any place of this one."""
    import cv2
    import numpy as np

    rows, columns = REACH
    middle = np.ascontiguousarray(before[rows:-rows, columns:-columns])
    return float(cv2.matchTemplate(thumb, middle, cv2.TM_CCOEFF_NORMED).max())


def find_shots(features: ShotFeatures) -> list[Shot]:
    """Shots that cover every frame once, in order; an empty list for no frames."""
    count = len(features.pts_s)
    if not count:
        return []
    boundaries: dict[int, tuple[float, Boundary]] = {at: (features.content[at], "cut") for at in _cuts(features)}
    fades = _fades(features)
    for start, end in fades:
        boundaries[(start + end) // 2] = (float("inf"), "fade")
    ramps = [(_ramp(features.luma_std, start, -1), _ramp(features.luma_std, end - 1, 1)) for start, end in fades]
    for dissolve in settled(features.dissolves.found):
        cut_inside = any(dissolve.start <= at <= dissolve.end for at in boundaries)
        if not cut_inside and not any(start <= dissolve.middle <= end for start, end in ramps):
            boundaries[dissolve.middle] = (CUT_CONTENT, "dissolve")
    marks = _apart(boundaries, features.pts_s)
    starts = [0, *marks]
    ends = [*marks, count]
    kinds: list[Boundary] = [*(boundaries[at][1] for at in marks), "end"]
    return [Shot(*parts) for parts in zip(starts, ends, kinds, strict=True)]


def _before(at: int) -> slice:
    """Frames around a change, on the side that is known when it happens."""
    near, far = SURROUNDINGS
    return slice(max(1, at - far), max(1, at - near + 1))


def _after(at: int) -> slice:
    near, far = SURROUNDINGS
    return slice(at + near, at + far + 1)


def _changes(features: ShotFeatures, at: int, around: Sequence[float]) -> bool:
    """Whether a change is large, changes the colours, stands out of the motion around, and is not a camera move."""
    content, ratio = features.content[at], features.content[at] / max([*around, 0.1])
    least = CALM_SHARE if ratio >= CALM_RATIO else 1.0
    return (
        content >= least * CUT_CONTENT
        and features.histogram[at] >= least * CUT_HISTOGRAM
        and features.correlation[at] <= CUT_CORRELATION
        and ratio >= (UNLIKE_RATIO if features.correlation[at] <= UNLIKE else CUT_RATIO)
    )


def _cuts(features: ShotFeatures) -> list[int]:
    content = features.content
    cuts = []
    for at in range(1, len(content)):
        around = [*features.persistence[_before(at)], *features.persistence[_after(at)]]  # flashes do not count
        if not _changes(features, at, around):
            continue
        # the second of two changes next to each other is the same cut over a blended frame
        strongest = content[at] >= max(content[max(1, at - 1) : at + 2])
        if strongest and features.persistence[at] >= CUT_PERSISTENCE * content[at]:
            cuts.append(at)
    return cuts


def _fades(features: ShotFeatures) -> list[tuple[int, int]]:
    """Every run of blank frames that has pictures on both sides: its first frame, and the one after its last."""
    blank = [is_blank(mean, std) for mean, std in zip(features.luma_mean, features.luma_std, strict=True)]
    runs, start = [], None
    for at, nothing in enumerate([*blank, False]):
        if nothing and start is None:
            start = at
        elif not nothing and start is not None:
            if start > 0 and at < len(blank) and at - start >= BLANK_FRAMES:
                runs.append((start, at))
            start = None
    return runs


def _ramp(contrast: Sequence[float], at: int, step: int) -> int:
    """The frame up to which contrast keeps rising from a blank frame: the picture is all there."""
    last = at
    while 0 <= last + step < len(contrast) and contrast[last + step] > contrast[last] and abs(last - at) < LONGEST_RAMP:
        last += step
    return last


def _apart(boundaries: dict[int, tuple[float, Boundary]], pts_s: Sequence[float]) -> list[int]:
    """Boundaries at least `MIN_SHOT_S` from each other and from both ends; the stronger of two stays."""
    step = (pts_s[-1] - pts_s[0]) / max(1, len(pts_s) - 1)
    kept: list[int] = []
    for at in sorted(boundaries, key=lambda at: (-boundaries[at][0], at)):
        inside = pts_s[at] >= MIN_SHOT_S and pts_s[-1] + step - pts_s[at] >= MIN_SHOT_S - 1e-6
        if inside and all(abs(pts_s[at] - pts_s[other]) >= MIN_SHOT_S for other in kept):
            kept.append(at)
    return sorted(kept)

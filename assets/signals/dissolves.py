"""Dissolves: stretches in which every frame is a mixture of the first and the last, more and more of the last.

For the two ends a and b of a stretch, each frame x between them is projected on b - a. In a dissolve the share of b
rises from 0 to 1 without jumps, little of x is left over, and the edges of both pictures fade to half; when the camera
or a subject moves instead, what is in between shows things that neither end has, as sharp as before, and the change was
under way before. Frames are
compared as 32 x 18 thumbnails, on which a little movement inside the two shots counts for little. They come one at a
time, and only the last `LONGEST` are kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

SPANS = (9, 13, 19, 27, 37, 51)  # frames between the two ends that are tried
BEFORE = 8  # frames ahead of the first end that are looked at
LONGEST = BEFORE + SPANS[-1] + 1
EVERY = 4  # frames between two trials
QUIET = 12  # frames before the next end is told: one dissolve seems to end many times
MOST_PER_S = 31.0  # frames that come faster are left out, so that spans mean the same at 60 frames a second
TINY = (32, 18)
MIN_CHANGE = 12.0  # root mean square difference of the two ends, 8-bit units
MAX_LEFTOVER, MEAN_LEFTOVER = 0.5, 0.4  # of that difference: in the worst frame, and on average
MAX_FALL = 0.15  # of the share of the last frame, from one frame to the next
MAX_JUMP = 0.3  # more in one frame is a cut
MAX_CORRELATION = 0.9  # correlation of the two ends' luma; one shot that grows darker stays itself
MAX_EDGES = 0.7  # edges in the even mixture, of the mean of the ends': two pictures at half their strength
LEAST_BEFORE = 4  # with fewer frames ahead of it nobody can tell whether a change began there
GOES_ON = 0.8  # of the stretch's own pace: what changed nearly as fast ahead of it is a moving camera
MIXED_EDGES = 1.5  # and of what mixing the ends' edges predicts; motion keeps edges at about twice that
BLANK_STD = 6.0  # luma of an end that is blank: that is a fade


@dataclass(frozen=True)
class Dissolve:
    """Frame indices of the ends and of the even mixture; `clear` from 0 to 1 says how little is left over."""

    start: int
    middle: int
    end: int
    clear: float


class DissolveWatch:
    """Collects dissolves from thumbnails in order."""

    def __init__(self) -> None:
        self.found: list[Dissolve] = []
        self._recent: np.ndarray | None = None  # float32 [LONGEST, values], a ring
        self._steps = np.zeros(LONGEST)  # how far each of them is from the one before, the same ring
        self._indices: list[int] = []
        self._taken = 0
        self._begun = 0  # where the shot began, as far as known
        self._reported = -QUIET
        self._last_s = float("-inf")

    def add(self, index: int, pts_s: float, thumb: np.ndarray) -> bool:
        """Take frame `index`; `thumb` is uint8 [36, 64, 3], luma first. True where one seems to end."""
        import cv2

        if pts_s - self._last_s < 1 / MOST_PER_S:
            return False
        self._last_s = pts_s
        tiny = cv2.resize(thumb, TINY, interpolation=cv2.INTER_AREA)
        if self._recent is None:
            self._recent = np.zeros((LONGEST, tiny.size), np.float32)
        place, before = self._taken % LONGEST, (self._taken - 1) % LONGEST
        self._recent[place] = tiny.ravel()
        self._steps[place] = cv2.norm(self._recent[place], self._recent[before])
        self._indices = [*self._indices[-LONGEST + 1 :], index]
        self._taken += 1
        if self._taken % EVERY or not self._try() or self._taken < self._reported + QUIET:
            return False
        self._reported = self._taken
        return True

    def cut(self) -> None:
        """The newest frame is of another shot: nothing dissolves across."""
        self._begun = max(0, self._taken - 1)

    def _try(self) -> bool:
        """Look for dissolves that end now."""
        assert self._recent is not None
        newest, any_now = self._taken - 1, False
        spans = [span for span in SPANS if span + LEAST_BEFORE <= newest and span <= newest - self._begun]
        if not spans:
            return False
        firsts = self._recent[(newest - np.array(spans)) % LONGEST]
        changes = self._recent[newest % LONGEST] - firsts
        sizes = np.einsum("ij,ij->i", changes, changes)
        for at in np.flatnonzero(sizes >= MIN_CHANGE**2 * firsts.shape[1]).tolist():
            span = spans[at]
            if self._was_under_way(newest - span, span):
                continue
            tried = self._recent[(newest - np.array([span // 4, span // 2, 3 * span // 4])) % LONGEST] - firsts[at]
            if _leftover(tried, changes[at], sizes[at])[1].max() > MAX_LEFTOVER:
                continue  # `mixture` would refuse these frames; it need not look at the others
            rows = np.arange(newest - span, newest + 1) % LONGEST
            mixed = mixture(self._recent[rows])
            if mixed is not None:
                middle, clear = mixed
                start = len(self._indices) - 1 - span
                first, even, last = (self._indices[at] for at in (start, start + middle, -1))
                self.found.append(Dissolve(first, even, last, clear))
                any_now = True
        return any_now

    def _was_under_way(self, first: int, span: int) -> bool:
        """Whether the frames ahead of place `first` changed nearly as fast as those of the stretch: a pan goes on."""
        ahead = min(BEFORE, first)
        steps = self._steps[np.arange(first - ahead + 1, first + span + 1) % LONGEST]
        return bool(steps[:ahead].mean() > GOES_ON * steps[ahead:].mean())


def _leftover(between: np.ndarray, change: np.ndarray, size: np.floating) -> tuple[np.ndarray, np.ndarray]:
    """(share of `change` in each row of `between`, length of the rest of the row over that of `change`).

    `size` is the squared length of `change`.
    """
    share = between @ change / size
    return share, np.sqrt(np.maximum(0, np.einsum("ij,ij->i", between, between) / size - share**2))


def mixture(frames: np.ndarray) -> tuple[int, float] | None:
    """(index of the even mixture, clearness) when float [n, values] dissolves from its first row to its last."""
    first, change = frames[0], frames[-1] - frames[0]
    luma = frames[:, ::3]
    if correlation(luma[0], luma[-1]) > MAX_CORRELATION or min(luma[0].std(), luma[-1].std()) < BLANK_STD:
        return None
    share, leftover = _leftover(frames - first, change, change @ change)
    steps = np.diff(share)
    if steps.min() < -MAX_FALL or steps.max() > MAX_JUMP:
        return None
    if leftover.max() > MAX_LEFTOVER or leftover[1:-1].mean() > MEAN_LEFTOVER:
        return None
    if not mixes_edges(luma.reshape(len(luma), TINY[1], TINY[0]), share):
        return None
    return int(np.searchsorted(share, 0.5)), float(1 - leftover.max())


def mixes_edges(luma: np.ndarray, share: np.ndarray) -> bool:
    """Whether the middle of float [n, h, w] has as few edges as a mixture of its ends must have."""
    middle = np.abs(share - 0.5) <= 0.2
    if not middle.any():
        return False
    looked = np.concatenate([luma[:1], luma[-1:], luma[middle]])
    first, last, *edges = (np.diff(looked, axis=1) ** 2).mean((1, 2)) + (np.diff(looked, axis=2) ** 2).mean((1, 2))
    share = share[middle]
    predicted = (1 - share) ** 2 * first + share**2 * last + 1e-6
    return bool(min(edges) <= MAX_EDGES * (first + last) / 2 and np.mean(np.array(edges) / predicted) <= MIXED_EDGES)


def correlation(first: np.ndarray, second: np.ndarray) -> float:
    """Correlation of two pictures; a flat one is like nothing."""
    first, second = first - first.mean(), second - second.mean()
    return float(first @ second / max(1e-6, np.linalg.norm(first) * np.linalg.norm(second)))


def settled(dissolves: Sequence[Dissolve]) -> list[Dissolve]:
    """One dissolve of every group that overlaps: the clearest."""
    kept: list[Dissolve] = []
    for dissolve in sorted(dissolves, key=lambda dissolve: -dissolve.clear):
        if all(dissolve.end <= other.start or dissolve.start >= other.end for other in kept):
            kept.append(dissolve)
    return sorted(kept, key=lambda dissolve: dissolve.start)

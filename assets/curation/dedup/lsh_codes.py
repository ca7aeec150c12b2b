"""The key frames of clips as codes of sign bits: what stands in a table of pictures, and what is looked up there.

What belongs here: making codes. A few key frames of each clip are described coarsely (`likeness.COARSE`); a code has
one bit a frequency, whether its coefficient is above zero. A key frame stands in the table with the code of its whole
and those of its windows, and looks for others with the code of its whole in every turn. A copy changes the signs of
small coefficients first, so a key frame also tries (`lookup`) with the bits of its smallest ones the other way. Every
clip has the same number of tries to spend: one before a fixed camera has a single key frame, which then tries as often
as six.
"""

from __future__ import annotations

from concurrent.futures import Executor
from dataclasses import dataclass

import numpy as np

from assets.curation.dedup.similarity import COARSE, TURNS, Film
from assets.signals.phash import unpack

KEY_FRAMES = 6  # of a clip, evenly spaced, less those that look like the one before
SAME_LOOK = 0.97  # coarse likeness of two frames from which on the second is no key frame of its own
POOL = 40  # bits of a code that are chosen from, those of the lowest frequencies: they change least
WEAK_KEPT = 10  # smallest coefficients of the pool that are kept
TRIES = 16  # patterns of weak bits that the key frames of a clip try together
STRONG = 0.45  # share of the root mean square from which on a coefficient's sign is trusted
CHUNK = 1 << 15  # frames that are described, or look for others, at a time

WINDOWS = len(COARSE.windows)
WEIGHTS = (1 << np.arange(64, dtype=np.uint64)).astype(np.uint64)


def packed(bits: np.ndarray) -> np.ndarray:
    """bool [..., c] to uint64 [...]."""
    padded = np.zeros((*bits.shape[:-1], 64), bool)
    padded[..., : bits.shape[-1]] = bits
    return np.packbits(padded, axis=-1, bitorder="little").view(np.uint64)[..., 0]


TURNED = packed(TURNS < 0)  # uint64 [4]: the bits that each turn changes


@dataclass(frozen=True)
class Codes:
    """Key frames [k] in the order of their clips. `seen` and `strong` are uint64 [k, WINDOWS]: the code of the whole
    and of each window, and which of its bits are trusted; `whole` [k] that of the whole once more; `weak` uint8
    [k, WEAK_KEPT]: bits of the whole's smallest coefficients, the smallest first; `tries` uint8 [k]: patterns of them
    that the frame tries."""

    clip: np.ndarray
    frame: np.ndarray
    seen: np.ndarray
    strong: np.ndarray
    weak: np.ndarray
    tries: np.ndarray
    whole: np.ndarray

    def __len__(self) -> int:
        return len(self.clip)


def key_codes(film: Film, pool: Executor) -> Codes:
    """The codes of all clips of `film`; the workers of `pool` take parts of them."""
    clip, frame = _key_frames(film, pool)
    seen, strong = (np.empty((len(frame), WINDOWS), np.uint64) for _ in range(2))
    weak = np.empty((len(frame), WEAK_KEPT), np.uint8)

    def describe(start: int) -> None:
        part = slice(start, start + CHUNK)
        luma = unpack(film.frames[frame[part]])[0]
        for window in reversed(range(WINDOWS)):  # the whole comes last
            found = luma @ COARSE.windows[window]
            seen[part, window] = packed(found > 0)
            size = np.abs(found)
            trusted = STRONG * np.sqrt(np.square(found).mean(axis=1, keepdims=True))
            strong[part, window] = packed(size > trusted)
        smallest = np.argpartition(size[:, :POOL], range(WEAK_KEPT), axis=1)[:, :WEAK_KEPT]
        weak[part] = smallest

    list(pool.map(describe, range(0, len(frame), CHUNK)))
    own = np.bincount(clip, minlength=len(film))[clip]
    tries = np.maximum(TRIES // np.maximum(own, 1), 1).astype(np.uint8)
    return Codes(clip, frame, seen, strong, weak, tries, np.ascontiguousarray(seen[:, 0]))


def _key_frames(film: Film, pool: Executor) -> tuple[np.ndarray, np.ndarray]:
    """(clip, frame) of the key frames, in that order."""

    def choose(start: int) -> tuple[np.ndarray, np.ndarray]:
        clips = np.arange(start, min(len(film), start + step))
        clips = clips[film.counts[clips] > 0]
        at = film.starts[clips, None] + np.arange(KEY_FRAMES) * film.counts[clips, None] // KEY_FRAMES
        seen = COARSE.described(unpack(film.frames[at])[0]).reshape(*at.shape, len(COARSE.frequencies))
        kept = np.zeros(at.shape, bool)
        last = np.zeros_like(seen[:, 0])
        for number in range(KEY_FRAMES):
            kept[:, number] = (seen[:, number] * last).sum(axis=1) < SAME_LOOK
            last = np.where(kept[:, number, None], seen[:, number], last)
        return np.repeat(clips, kept.sum(axis=1)), at[kept]

    step = CHUNK // KEY_FRAMES
    none = np.zeros(0, np.int64)
    chosen = list(pool.map(choose, range(0, len(film), step)))
    clips, frames = (np.concatenate([none, *part]) for part in zip((none, none), *chosen, strict=True))
    return clips, frames

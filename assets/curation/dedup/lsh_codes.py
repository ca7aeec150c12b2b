"""The key frames of clips as codes of sign bits, by which `lsh_index` hashes them.

A few key frames of each clip are described coarsely (`similarity.COARSE`); a code has one bit a frequency: whether its
coefficient is above zero. A key frame is in the table with the code of its whole and those of its windows, and searches
with the code of its whole in every turn. A copy changes the signs of small coefficients first, so a key frame also
tries codes with the bits of its smallest ones flipped. Every clip has the same number of tries: one before a fixed
camera has a single key frame, which then tries as often as six.
"""

from __future__ import annotations

from concurrent.futures import Executor
from dataclasses import dataclass

import numpy as np

from assets.curation.dedup.similarity import COARSE, TURNS, ClipHashes
from assets.signals.phash import unpack

KEY_FRAMES = 6  # of a clip, evenly spaced, less those that look like the one before
SAME_FRAME = 0.97  # coarse similarity of two frames from which on the second is no key frame of its own
POOL = 40  # bits of a code that are chosen from, those of the lowest frequencies: they change least
WEAK_KEPT = 10  # smallest coefficients of the pool that are kept
TRIES = 16  # patterns of weak bits that the key frames of a clip try together
STRONG = 0.45  # share of the root mean square from which on a coefficient's sign is trusted
CHUNK = 1 << 15  # frames that are described, or search, at a time

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
    """Key frames [k] in the order of their clips, and the codes of their windows, the first of which is the whole."""

    clip: np.ndarray
    frame: np.ndarray
    of_windows: np.ndarray  # uint64 [k, WINDOWS]
    trusted: np.ndarray  # uint64 [k, WINDOWS]: which bits of each code are trusted
    weak: np.ndarray  # uint8 [k, WEAK_KEPT]: bits of the whole's smallest coefficients, the smallest first
    tries: np.ndarray  # uint8 [k]: patterns of weak bits that the frame tries
    whole: np.ndarray  # uint64 [k]: the codes of the wholes once more

    def __len__(self) -> int:
        return len(self.clip)


def key_codes(hashes: ClipHashes, pool: Executor) -> Codes:
    """The codes of all clips; the workers of `pool` take parts of them."""
    clip, frame = _key_frames(hashes, pool)
    of_windows, trusted = (np.empty((len(frame), WINDOWS), np.uint64) for _ in range(2))
    weak = np.empty((len(frame), WEAK_KEPT), np.uint8)

    def describe(start: int) -> None:
        part = slice(start, start + CHUNK)
        luma = unpack(hashes.frames[frame[part]])[0]
        for window in reversed(range(WINDOWS)):  # the whole comes last
            coefficients = luma @ COARSE.windows[window]
            of_windows[part, window] = packed(coefficients > 0)
            size = np.abs(coefficients)
            least = STRONG * np.sqrt(np.square(coefficients).mean(axis=1, keepdims=True))
            trusted[part, window] = packed(size > least)
        weak[part] = np.argpartition(size[:, :POOL], range(WEAK_KEPT), axis=1)[:, :WEAK_KEPT]

    list(pool.map(describe, range(0, len(frame), CHUNK)))
    frames_of_clip = np.bincount(clip, minlength=len(hashes))[clip]
    tries = np.maximum(TRIES // np.maximum(frames_of_clip, 1), 1).astype(np.uint8)
    return Codes(clip, frame, of_windows, trusted, weak, tries, np.ascontiguousarray(of_windows[:, 0]))


def _key_frames(hashes: ClipHashes, pool: Executor) -> tuple[np.ndarray, np.ndarray]:
    """(clip, frame) of the key frames, in that order."""

    def choose(start: int) -> tuple[np.ndarray, np.ndarray]:
        clips = np.arange(start, min(len(hashes), start + step))
        clips = clips[hashes.counts[clips] > 0]
        at = hashes.starts[clips, None] + np.arange(KEY_FRAMES) * hashes.counts[clips, None] // KEY_FRAMES
        described = COARSE.described(unpack(hashes.frames[at])[0]).reshape(*at.shape, len(COARSE.frequencies))
        kept = np.zeros(at.shape, bool)
        last = np.zeros_like(described[:, 0])
        for number in range(KEY_FRAMES):
            kept[:, number] = (described[:, number] * last).sum(axis=1) < SAME_FRAME
            last = np.where(kept[:, number, None], described[:, number], last)
        return np.repeat(clips, kept.sum(axis=1)), at[kept]

    step = CHUNK // KEY_FRAMES
    none = np.zeros(0, np.int64)
    chosen = list(pool.map(choose, range(0, len(hashes), step)))
    clips, frames = (np.concatenate([none, *part]) for part in zip((none, none), *chosen, strict=True))
    return clips, frames

"""Whether two key frames whose codes are close show the same picture: a glance before their clips are compared in full.

What belongs here: looking at two pictures, compiled, since among a million clips many millions of codes are close by
chance. First coarsely, through the window that was found; then finely through the window of the fine band that is
nearest to it, and if that says perhaps, through those around it until one says yes. Comparing two clips in full costs
about a hundred times as much.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from assets.curation.dedup.lsh_codes import WINDOWS, Codes
from assets.curation.dedup.lsh_index import Finds
from assets.curation.dedup.similarity import COARSE, FINE, FINE_TURNS, TURNS, Film
from assets.signals.phash import LEVELS, LUMA_BYTES, SIDE

COARSELY = 0.75  # coarse likeness of two key frames from which on they are looked at finely
PERHAPS = 0.55  # fine likeness through the nearest window from which on those around it are tried
FINELY = (
    0.7  # fine likeness worth a comparison; below NEAR_LIKENESS, as one frame of a copy may be less alike than most
)
AROUND = 0.051  # of a side, in start and length: how far windows around another are from it
LANES = 8  # a compiled sum over coefficients is fast where their number is a multiple


def _padded(values: np.ndarray) -> np.ndarray:
    """With zeros after the last coefficients."""
    over = -values.shape[-1] % LANES
    return np.ascontiguousarray(np.pad(values, [(0, 0)] * (values.ndim - 1) + [(0, over)]))


def _around() -> np.ndarray:
    """int64 [w, n]: the fine windows around each coarse one, the nearest first; -1 where there are no more."""
    apart = np.abs(COARSE.places[:, None] - FINE.places[None])
    order = np.argsort(apart.sum(axis=2), axis=1, kind="stable")
    near = np.take_along_axis(apart.max(axis=2), order, axis=1) <= AROUND
    order = np.where(near, order, -1)
    return np.stack([np.r_[row[row >= 0], row[row < 0]] for row in order])[:, : near.sum(axis=1).max()]


_COARSE, _FINE = _padded(COARSE.windows), _padded(FINE.windows)
_TURNS, _FINE_TURNS = _padded(TURNS), _padded(FINE_TURNS)
_AROUND = _around()


@njit(nogil=True, cache=True)
def _unpack(frame, luma):
    """Levels of luma about 0; `phash.unpack` but for a factor, which no likeness knows."""
    for at in range(LUMA_BYTES):
        luma[2 * at] = np.float32(frame[at] >> 4) - np.float32(LEVELS / 2)
        luma[2 * at + 1] = np.float32(frame[at] & 15) - np.float32(LEVELS / 2)


@njit(nogil=True, cache=True, fastmath=True)
def _describe(luma, window, root, out):
    """`Band.described` of one picture, with exponent 1, or with 0.5 where `root`."""
    out[:] = 0
    for pixel in range(len(luma)):
        for at in range(len(out)):
            out[at] += luma[pixel] * window[pixel, at]
    square = np.float32(0)
    for at in range(len(out)):
        if root:
            out[at] = np.copysign(np.sqrt(np.abs(out[at])), out[at])
        square += out[at] * out[at]
    out /= max(np.sqrt(square), np.float32(1e-6))


@njit(nogil=True, cache=True, fastmath=True)
def _cosine(one, other, signs):
    total = np.float32(0)
    for at in range(len(one)):
        total += one[at] * other[at] * signs[at]
    return total


@njit(nogil=True, cache=True)
def _alike(pictures, frame_of, frames, turns, entries, coarse, fine, turns_coarse, turns_fine, around):
    found = np.zeros(len(frames), np.bool_)
    luma, other = np.empty(SIDE * SIDE, np.float32), np.empty(SIDE * SIDE, np.float32)
    own_coarse, seen_coarse = np.empty(coarse.shape[2], np.float32), np.empty(coarse.shape[2], np.float32)
    own_fine, seen_fine = np.empty(fine.shape[2], np.float32), np.empty(fine.shape[2], np.float32)
    described = fine_of = -1
    for at in range(len(frames)):
        frame, window = frames[at], entries[at] % WINDOWS
        if frame != described:
            _unpack(pictures[frame_of[frame]], luma)
            _describe(luma, coarse[0], False, own_coarse)
            described = frame
        _unpack(pictures[frame_of[entries[at] // WINDOWS]], other)
        _describe(other, coarse[window], False, seen_coarse)
        if _cosine(own_coarse, seen_coarse, turns_coarse[turns[at]]) < COARSELY:
            continue
        if frame != fine_of:
            _describe(luma, fine[0], True, own_fine)
            fine_of = frame
        for rank in range(around.shape[1]):
            if around[window, rank] < 0:
                break
            _describe(other, fine[around[window, rank]], True, seen_fine)
            likeness = _cosine(own_fine, seen_fine, turns_fine[turns[at]])
            if likeness >= FINELY:
                found[at] = True
                break
            if rank == 0 and likeness < PERHAPS:
                break
    return found


def look_alike(film: Film, codes: Codes, finds: Finds) -> np.ndarray:
    """bool [n]: whether the key frame, in its turn, and the entry of the table show the same picture."""
    return _alike(
        film.frames,
        codes.frame,
        finds.frame,
        finds.turn,
        finds.entry,
        _COARSE,
        _FINE,
        _TURNS,
        _FINE_TURNS,
        _AROUND,
    )

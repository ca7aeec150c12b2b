"""Whether two key frames whose codes are close show the same picture: a cheap test before their clips are compared.

It is compiled, since among a million clips many millions of codes are close by chance. Two pictures are compared
coarsely, through the window that was hit; then finely, through the window of the fine band that is nearest to it, and
if that is undecided, through those around it until one is similar enough. Comparing two clips in full costs about a
hundred times as much.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit

from assets.curation.dedup.lsh_codes import WINDOWS, Codes
from assets.curation.dedup.lsh_index import Hits
from assets.curation.dedup.similarity import COARSE, FINE, FINE_TURNS, TURNS, ClipHashes
from assets.signals.phash import LEVELS, LUMA_BYTES, SIDE

COARSE_LEAST = 0.75  # coarse similarity of two key frames from which on they are compared finely
FINE_MAYBE = 0.55  # fine similarity through the nearest window from which on those around it are tried
FINE_LEAST = 0.7  # fine similarity worth a comparison; below NEAR_SIMILARITY, as one frame of a copy may be less alike
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


class Bands(NamedTuple):
    """Windows and turns of both bands, padded; `around` says which fine windows to try for each coarse one."""

    coarse: np.ndarray
    coarse_turns: np.ndarray
    fine: np.ndarray
    fine_turns: np.ndarray
    around: np.ndarray


BANDS = Bands(_padded(COARSE.windows), _padded(TURNS), _padded(FINE.windows), _padded(FINE_TURNS), _around())


@njit(nogil=True, cache=True)
def _unpack(frame, luma):
    """Levels of luma about 0; `phash.unpack` but for a factor, which no similarity knows."""
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
def _cosine(first, second, signs):
    total = np.float32(0)
    for at in range(len(first)):
        total += first[at] * second[at] * signs[at]
    return total


@njit(nogil=True, cache=True)
def _same_picture(pictures, frame_of, hit_frames, turns, entries, bands):
    same = np.zeros(len(hit_frames), np.bool_)
    luma, other = np.empty(SIDE * SIDE, np.float32), np.empty(SIDE * SIDE, np.float32)
    coarse, other_coarse = np.empty(bands.coarse.shape[2], np.float32), np.empty(bands.coarse.shape[2], np.float32)
    fine, other_fine = np.empty(bands.fine.shape[2], np.float32), np.empty(bands.fine.shape[2], np.float32)
    coarse_of = fine_of = -1
    for at in range(len(hit_frames)):
        frame, window = hit_frames[at], entries[at] % WINDOWS
        if frame != coarse_of:
            _unpack(pictures[frame_of[frame]], luma)
            _describe(luma, bands.coarse[0], False, coarse)
            coarse_of = frame
        _unpack(pictures[frame_of[entries[at] // WINDOWS]], other)
        _describe(other, bands.coarse[window], False, other_coarse)
        if _cosine(coarse, other_coarse, bands.coarse_turns[turns[at]]) < COARSE_LEAST:
            continue
        if frame != fine_of:
            _describe(luma, bands.fine[0], True, fine)
            fine_of = frame
        for rank in range(bands.around.shape[1]):
            if bands.around[window, rank] < 0:
                break
            _describe(other, bands.fine[bands.around[window, rank]], True, other_fine)
            similarity = _cosine(fine, other_fine, bands.fine_turns[turns[at]])
            if similarity >= FINE_LEAST:
                same[at] = True
                break
            if rank == 0 and similarity < FINE_MAYBE:
                break
    return same


def same_picture(hashes: ClipHashes, codes: Codes, hits: Hits) -> np.ndarray:
    """bool [n]: whether the key frame, in its turn, and the entry of the table show the same picture."""
    return _same_picture(hashes.frames, codes.frame, hits.frame, hits.turn, hits.entry, BANDS)

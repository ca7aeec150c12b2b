"""How similar two clips are by the hashes of their frames: as they are, turned over, or one a part of the other's picture.

Pure functions of hashes. Which pairs are worth comparing is in `candidate_pairs`, what follows from a
similarity in `groups`.

A frame is described by frequencies of its picture's discrete cosine transform, each weighted by its frequency (pictures
have about as much power in every octave, so without it the slopes of the light would outvote all that is seen), scaled
to length 1; the similarity of two frames is the cosine between their descriptions. There are two bands. `COARSE`, of
low frequencies, survives crops and drifts of time, and says which turn to compare in. `FINE` has what tells one picture
from another of the same layout; its coefficients are compressed so that many small ones outvote a horizon, and it is
compared through closely spaced windows. A window is a part of a picture: its description is linear in the picture, so
a crop is found from the hash of the whole.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from assets.signals.phash import GRID, HASH_BYTES, SIDE, unpack

WORTH_WINDOWS = 0.3  # coarse similarity of whole pictures from which on it is worth comparing parts of them
COARSE_SIMILARITY = 0.7  # the least at which a pair is compared finely
NEAR_SIMILARITY = 0.79  # fine; how both were chosen is in tests/benchmarks/duplicates.py
NEAR_CHROMA = 10.0  # mean difference of colour, 8-bit units
PROBES = 8  # frames of the shorter clip that are searched for in the longer one
CROP = 0.9  # share of a side that the smallest windows keep
BLOCK_FRAMES = 1 << 13  # of the longer clips that are compared at a time

Pictures = tuple[np.ndarray, np.ndarray]  # luma [..., 144] and chroma [..., 32]
Window = tuple[float, float]  # start and length, as shares of a side


class Band:
    """Frequencies from `low` to `high`, in half periods across the picture, seen through windows.

    `windows` is [w, 144, c], from the luma of a picture to the weighted coefficients of a part of it, the first the
    whole, and `places` [w, 4] their starts and lengths, down and across; `frequencies` [c, 2] has the vertical and the
    horizontal one of each, the lowest first.
    """

    def __init__(self, low: float, high: float, windows: Sequence[tuple[Window, Window]], exponent: float) -> None:
        across = np.cos(np.pi * (2 * np.arange(SIDE) + 1) * np.arange(SIDE)[:, None] / (2 * SIDE)) * np.sqrt(2 / SIDE)
        across[0] /= np.sqrt(2)
        frequency = np.hypot(*np.indices((SIDE, SIDE)))
        kept = np.argwhere((frequency >= low) & (frequency <= high))
        self.frequencies = kept[np.argsort(frequency[tuple(kept.T)], kind="stable")]
        weights = [max(frequency[v, h], 0.5) * (0.5 if frequency[v, h] <= 1 else 1) for v, h in self.frequencies]
        waves = [np.outer(across[v], across[h]).ravel() for v, h in self.frequencies]
        transform = np.stack(waves, axis=1) * weights
        taken = [np.kron(_resampled(*down), _resampled(*across)).T @ transform for down, across in windows]
        self.windows = np.stack(taken).astype(np.float32)
        self.places = np.array(windows, np.float32).reshape(-1, 4)
        self.exponent = exponent

    def described(self, luma: np.ndarray, window: int = 0) -> np.ndarray:
        """Unit vectors [..., c] of what is in a window of the pictures [..., 144]."""
        vectors = luma @ self.windows[window]
        if self.exponent != 1:
            vectors = np.copysign(np.abs(vectors) ** self.exponent, vectors)
        vectors /= np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-6)
        return vectors


def _resampled(start: float, share: float) -> np.ndarray:
    """[12, 12]: a line of pixels to as many pixels over a part of it."""
    taken = np.zeros((SIDE, SIDE))
    for pixel in range(SIDE):
        for at in (np.arange(4) + 0.5) / 4:  # four samples a pixel
            place = (start + share * (pixel + at) / SIDE) * SIDE - 0.5
            low = int(np.floor(place))
            for neighbour, part in ((low, low + 1 - place), (low + 1, place - low)):
                taken[pixel, np.clip(neighbour, 0, SIDE - 1)] += part / 4
    return taken


_WHOLE: Window = (0.0, 1.0)


def _windows(step: float, *lengths: float) -> list[tuple[Window, Window]]:
    """The whole; crops of both sides to each of `lengths`, at every `step`; crops of one side to the last of them."""
    lines = [[(step * number, length) for number in range(round((1 - length) / step) + 1)] for length in lengths]
    both = [(down, across) for starts in lines for down in starts for across in starts]
    one_side = [pair for part in lines[-1] for pair in ((part, _WHOLE), (_WHOLE, part))]
    return [(_WHOLE, _WHOLE), *both, *one_side]


COARSE = Band(1, 8, _windows((1 - CROP) / 2, CROP), exponent=1)
FINE = Band(3, 11, _windows((1 - CROP) / 4, (1 + CROP) / 2, CROP), exponent=0.5)
# as it is, left to right, upside down, both: the order of pixels and cells, and the signs of coefficients
_AXES = ((False, False), (False, True), (True, False), (True, True))
TURNS, FINE_TURNS = (
    np.stack([(-1.0) ** (band.frequencies @ axes) for axes in _AXES]).astype(np.float32) for band in (COARSE, FINE)
)


def _turned(side: int, channels: int) -> np.ndarray:
    """[4, side * side * channels]: which value of a row-wise picture comes where."""
    cells = np.arange(side * side * channels).reshape(side, side, channels)
    return np.stack([cells[:: -1 if down else 1, :: -1 if over else 1].ravel() for down, over in _AXES])


_LUMA_TURNS, _CHROMA_TURNS = _turned(SIDE, 1), _turned(GRID, 2)


class ClipHashes:
    """The hashes of many clips: `frames` uint8 [f, 88], those of clip i from `starts[i]` on, `counts[i]` of them."""

    def __init__(self, packed: Sequence[bytes]) -> None:
        self.frames = np.frombuffer(b"".join(packed), np.uint8).reshape(-1, HASH_BYTES)
        self.counts = np.array([len(frames) // HASH_BYTES for frames in packed], np.int64)
        self.starts = np.cumsum(self.counts) - self.counts

    def __len__(self) -> int:
        return len(self.counts)

    def evenly(self, clips: np.ndarray, frames: int) -> Pictures:
        """Luma [n, frames, 144] and chroma [n, frames, 32] of frames spread evenly over each clip."""
        at = (2 * np.arange(frames) + 1) * self.counts[clips, None] // (2 * frames)
        luma, chroma = unpack(self.frames[self.starts[clips, None] + at])
        return luma.reshape(*at.shape, -1), chroma.reshape(*at.shape, -1)


@dataclass(frozen=True)
class Similarity:
    """What comparing pairs of clips gave, an array each. `structure` is 0 where they are not even coarsely alike."""

    structure: np.ndarray  # fine similarity
    chroma: np.ndarray  # mean difference of colour, 8-bit units

    @property
    def near(self) -> np.ndarray:
        return (self.structure >= NEAR_SIMILARITY) & (self.chroma <= NEAR_CHROMA)


def compare(hashes: ClipHashes, ones: np.ndarray, others: np.ndarray) -> Similarity:
    """The best agreement of clip `ones[i]` with clip `others[i]` over turns and windows. All must have hashes.

    Symmetric. Frames of the shorter clip, evenly spaced, are searched for anywhere in the longer one, and half of
    them have to be found: so a part of a clip is found wherever it stands, and at another speed.
    """
    swap = hashes.counts[ones] > hashes.counts[others]
    short, long = np.where(swap, others, ones), np.where(swap, ones, others)
    result = _in_blocks(hashes, short, long)
    even = np.flatnonzero(hashes.counts[short] == hashes.counts[long])
    back = _in_blocks(hashes, long[even], short[even])
    better = back.structure > result.structure[even]
    result.structure[even[better]] = back.structure[better]
    result.chroma[even[better]] = back.chroma[better]
    return result


def _in_blocks(hashes: ClipHashes, short: np.ndarray, long: np.ndarray) -> Similarity:
    """Pairs of about the same length together, as many at a time as fit into the cache."""
    result = Similarity(np.zeros(len(short), np.float32), np.full(len(short), np.inf, np.float32))
    spans = PROBES << np.ceil(np.log2(np.maximum(hashes.counts[long], PROBES) / PROBES)).astype(np.int64)
    for span in np.unique(spans).tolist():
        members = np.flatnonzero(spans == span)
        for block in np.array_split(members, -(-len(members) * span // BLOCK_FRAMES)):
            _compare(result, block, hashes.evenly(short[block], PROBES), hashes.evenly(long[block], span))
    return result


def _compare(result: Similarity, block: np.ndarray, short: Pictures, long: Pictures) -> None:
    similarity, turn = _coarsely(short[0], long[0])
    alike = np.flatnonzero(similarity >= COARSE_SIMILARITY)
    if not len(alike):
        return
    luma, chroma = (
        np.take_along_axis(picture[alike], turns[turn[alike]][:, None, :], axis=2)
        for picture, turns in zip(long, (_LUMA_TURNS, _CHROMA_TURNS), strict=True)
    )
    similarity, place = _finely(short[0][alike], luma)
    met = np.take_along_axis(chroma, place[..., None], axis=1)
    result.structure[block[alike]] = similarity
    result.chroma[block[alike]] = np.median(np.abs(met - short[1][alike]).mean(axis=2), axis=1)


def _coarsely(short: np.ndarray, long: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The best similarity over turns, and that turn [n]; through windows only where whole pictures agree a little."""
    whole = COARSE.described(short), COARSE.described(long)
    similarity, turn = _best_turn(*whole)
    open_ = np.flatnonzero((similarity >= WORTH_WINDOWS) & (similarity < COARSE_SIMILARITY))
    for window in range(1, len(COARSE.windows) if len(open_) else 0):
        for first, second in (
            (COARSE.described(short[open_], window), whole[1][open_]),
            (whole[0][open_], COARSE.described(long[open_], window)),
        ):
            value, turned = _best_turn(first, second)
            better = value > similarity[open_]
            similarity[open_[better]], turn[open_[better]] = value[better], turned[better]
    return similarity, turn


def _best_turn(short: np.ndarray, long: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of descriptions [n, 8, c] and [n, m, c]."""
    each = np.stack([_best_matches(short, long * turn)[0] for turn in TURNS])
    return each.max(axis=0), each.argmax(axis=0)


def _best_matches(short: np.ndarray, long: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The similarity that half of the probes find [n], and where each found its best [n, 8]."""
    cosines = short @ long.transpose(0, 2, 1)
    place = cosines.argmax(axis=2)
    each = np.take_along_axis(cosines, place[..., None], axis=2)[..., 0]
    return np.partition(each, PROBES // 2, axis=1)[:, PROBES // 2], place


def _finely(short: np.ndarray, long: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The best similarity over windows [n] and where the probes found it; only the whole where that is near already."""
    whole = FINE.described(short), FINE.described(long)
    similarity, place = _best_matches(*whole)
    open_ = np.flatnonzero(similarity < NEAR_SIMILARITY)
    for window in range(1, len(FINE.windows) if len(open_) else 0):
        for first, second in (
            (FINE.described(short[open_], window), whole[1][open_]),
            (whole[0][open_], FINE.described(long[open_], window)),
        ):
            value, at = _best_matches(first, second)
            better = value > similarity[open_]
            similarity[open_[better]], place[open_[better]] = value[better], at[better]
    return similarity, place

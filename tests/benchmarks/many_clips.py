"""As many clips' hashes as wanted, like those of real footage, with copies of known clips among them.

A synthetic frame is drawn from a normal distribution: half of its covariance is that of hashes of real frames, half that
of pictures in general (power falls with the square of the frequency), so bits of codes agree among different clips about
as often as real ones do. A clip's frames drift at its own pace, from a fixed camera to a fast pan. What is copied is
drawn at three times the size, so that a crop takes a part of what was there, and keeps what the frame was.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from assets.curation.dedup.similarity import ClipHashes
from assets.signals.phash import CHROMA_STEP, GRID, HASH_BYTES, LEVELS, SIDE, SPREAD, unpack

LONGEST, SHORTEST = 32, 8  # frames
PACES = (0.0005, 0.005, 0.02, 0.08)  # share of a frame that is new in the next one
LARGE = 3 * SIDE
BATCH = 4096
Picture = np.ndarray  # float32 [n, h, w]: frames of a clip


@dataclass(frozen=True)
class Planted:
    """`copies[k]` is a clip that was made from clip `originals[k]` by `kinds[k]`."""

    film: ClipHashes
    originals: np.ndarray
    copies: np.ndarray
    kinds: list[str]


def general_covariance(side: int) -> np.ndarray:
    """[side * side, side * side] of pictures whose power falls with the square of the frequency, of variance 1."""
    down, over = np.meshgrid(np.fft.fftfreq(2 * side), np.fft.fftfreq(2 * side), indexing="ij")
    power = 1 / (down**2 + over**2 + (0.25 / side) ** 2)
    power[0, 0] = 0
    together = np.fft.ifft2(power).real
    rows, columns = np.divmod(np.arange(side * side), side)
    covariance = together[rows[:, None] - rows, columns[:, None] - columns]
    return covariance / covariance[0, 0]


def root(covariance: np.ndarray) -> np.ndarray:
    values, vectors = np.linalg.eigh(covariance)
    return (vectors * np.sqrt(np.maximum(values, 0))).astype(np.float32)


def packed(luma: np.ndarray, chroma: np.ndarray) -> np.ndarray:
    """Hashes uint8 [n, 88] of luma [n, 144] and chroma [n, 32], as `frame_hash` makes them of pictures."""
    luma = (luma - luma.mean(axis=1, keepdims=True)) / np.maximum(luma.std(axis=1, keepdims=True), 1e-3)
    levels = np.clip(np.rint((luma / SPREAD + 1) * (LEVELS / 2)), 0, LEVELS).astype(np.uint8)
    steps = np.clip(np.rint(chroma / CHROMA_STEP) + 8, 0, LEVELS).astype(np.uint8)
    nibbles = np.concatenate([levels, steps], axis=1)
    return nibbles[:, 0::2] << 4 | nibbles[:, 1::2]


def clips(count: int, real: np.ndarray, rng: np.random.Generator) -> ClipHashes:
    """`count` different clips. `real` are hashes of real frames, uint8 [n, 88]."""
    luma = unpack(real)[0]
    shape = root(0.5 * np.cov(luma.T) + 0.5 * general_covariance(SIDE))
    frames, counts = [], []
    for start in range(0, count, BATCH):
        size = min(BATCH, count - start)
        lengths = rng.integers(SHORTEST, LONGEST + 1, size)
        kept = np.arange(LONGEST) < lengths[:, None]
        pictures = drifting(size, shape, rng)[kept]
        palette = rng.normal(0, 12, (size, 1, 32)) + rng.normal(0, 1, (size, LONGEST, 32))
        frames.append(packed(pictures + luma.mean(axis=0), palette[kept]))
        counts.append(lengths)
    return film_of(np.concatenate(frames), np.concatenate(counts))


def drifting(size: int, shape: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """float32 [size, LONGEST, pixels]: every frame is a little of something new."""
    new = np.sqrt(rng.choice(PACES, size)).astype(np.float32)[:, None]
    state = rng.standard_normal((size, shape.shape[1]), np.float32)
    frames = np.empty((LONGEST, size, len(shape)), np.float32)
    for frame in range(LONGEST):
        frames[frame] = state @ shape.T
        state = np.sqrt(1 - new**2) * state + new * rng.standard_normal(state.shape, np.float32)
    return frames.transpose(1, 0, 2)


def film_of(frames: np.ndarray, counts: np.ndarray) -> ClipHashes:
    film = ClipHashes([])
    film.frames, film.counts = frames.reshape(-1, HASH_BYTES), counts.astype(np.int64)
    film.starts = np.cumsum(film.counts) - film.counts
    return film


def _resized(pictures: Picture, down: slice, over: slice) -> Picture:
    import cv2

    return np.stack([cv2.resize(one[down, over], (SIDE, SIDE), interpolation=cv2.INTER_AREA) for one in pictures])


def _cropped(pictures: Picture, rng: np.random.Generator) -> Picture:
    kept = round(0.9 * LARGE)
    top, left = rng.integers(0, LARGE - kept + 1, 2)
    return _resized(pictures, slice(top, top + kept), slice(left, left + kept))


def _with_logo(pictures: Picture, rng: np.random.Generator) -> Picture:
    marked = pictures.copy()
    height, width = round(0.12 * LARGE), round(0.16 * LARGE)
    top, left = rng.choice([1, LARGE - height - 1]), rng.choice([1, LARGE - width - 1])
    marked[:, top : top + height, left : left + width] = rng.choice([-2, 2]) * pictures.std()
    return _whole(marked, rng)


def _whole(pictures: Picture, rng: np.random.Generator) -> Picture:
    return _resized(pictures, slice(None), slice(None))


def _trimmed(pictures: Picture, rng: np.random.Generator) -> Picture:
    kept = max(4, round(len(pictures) * rng.uniform(0.5, 0.8)))
    start = rng.integers(0, len(pictures) - kept + 1)
    return _whole(pictures[start : start + kept], rng)


COPIES: dict[str, Callable[[Picture, np.random.Generator], Picture]] = {
    "re-encode": _whole,
    "10 % crop": _cropped,
    "flip": lambda pictures, rng: _whole(pictures, rng)[:, :, ::-1],
    "upside down": lambda pictures, rng: _whole(pictures, rng)[:, ::-1],
    "trim": _trimmed,
    "speed": lambda pictures, rng: _whole(pictures, rng)[:: int(rng.integers(2, 4))],
    "logo": _with_logo,
}
NOISE = 0.06  # of a standard deviation: what coding again does to a pixel of a hash


def planted(count: int, copies: int, real: np.ndarray, seed: int) -> Planted:
    """`count` clips; `copies` of them are copies of as many others, all in random order."""
    rng = np.random.default_rng(seed)
    kinds = [list(COPIES)[number % len(COPIES)] for number in range(copies)]
    shape = root(general_covariance(LARGE))
    made: list[np.ndarray] = []
    for start in range(0, copies, 64):
        for kind, film in zip(kinds[start : start + 64], drifting(min(64, copies - start), shape, rng), strict=True):
            pictures = film[: rng.integers(SHORTEST, LONGEST + 1)].reshape(-1, LARGE, LARGE)
            palette = np.tile(rng.normal(0, 12, (1, 2)), GRID * GRID)  # of one colour, so that turning leaves it
            for shown in (_whole(pictures, rng), COPIES[kind](pictures, rng)):
                luma = shown.reshape(len(shown), -1)
                noisy = luma + NOISE * luma.std() * rng.standard_normal(luma.shape)
                made.append(packed(noisy, np.repeat(palette, len(shown), axis=0)))
    others = clips(count - 2 * copies, real, rng)
    counts = np.concatenate([others.counts, [len(one) for one in made]])
    everything = film_of(np.concatenate([others.frames, *made]), counts)
    order = rng.permutation(count)
    place = np.argsort(order)
    first = place[len(others) + 2 * np.arange(copies)]
    second = place[len(others) + 2 * np.arange(copies) + 1]
    return Planted(reordered(everything, order), first, second, kinds)


def reordered(film: ClipHashes, order: np.ndarray) -> ClipHashes:
    counts = film.counts[order]
    starts = np.cumsum(counts) - counts
    at = np.repeat(film.starts[order] - starts, counts) + np.arange(counts.sum())
    return film_of(film.frames[at], counts)

"""Perceptual hashes of frames, and how far apart two clips are by them.

A hash is 80 hexadecimal digits: 256 bits of structure (signs of the luma's 16 x 16 lowest DCT frequencies against their
median, after Zauner 2010, the 8 x 8 lowest first) and 64 bits of colour layout (mean chroma of a 4 x 4 grid in three
steps a channel). Two frames are near only when both parts are: scenes of flat colour often agree in one of them, and 64
bits of structure do not tell small shapes before one background apart.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

BLANK_STD = 2.0  # 8-bit units; below it there is no structure to hash
CHROMA_STEPS = (120, 136)  # 8-bit chroma: two thresholds give three steps: neutral lies well between them
MIN_OVERLAP = 4  # aligned frames that a comparison needs at least
STRUCTURE_BYTES, COLOUR_BYTES = 32, 8
HASH_BYTES = STRUCTURE_BYTES + COLOUR_BYTES
_LOWEST_FIRST = np.argsort((np.indices((16, 16)).max(axis=0) >= 8).ravel(), kind="stable")
# what turning a picture left to right does to its hash: odd horizontal frequencies change sign, grid columns swap
_ODD_ACROSS = np.packbits((np.indices((16, 16))[1].ravel()[_LOWEST_FIRST] + 1) % 2)
_SWAPPED_GRID = np.arange(COLOUR_BYTES * 8).reshape(len(CHROMA_STEPS), 4, 4, 2)[:, :, ::-1].ravel()
_POPCOUNT = np.array([bin(value).count("1") for value in range(256)], np.uint8)


def frame_hash(rgb: np.ndarray, gray: np.ndarray) -> str | None:
    """Hash of one small frame; None for a blank one, which looks like every other blank one."""
    import cv2

    if float(cv2.meanStdDev(gray)[1][0, 0]) < BLANK_STD:
        return None
    square = cv2.resize(gray, (64, 64), interpolation=cv2.INTER_AREA).astype(np.float32)
    low = cv2.dct(square)[1:17, 1:17].ravel()[_LOWEST_FIRST]  # without the mean and the plain slopes: they are light
    structure = low > np.median(low)
    grid = cv2.resize(rgb, (4, 4), interpolation=cv2.INTER_AREA)
    chroma = cv2.cvtColor(grid, cv2.COLOR_RGB2YCrCb)[..., 1:].ravel()
    colour = np.concatenate([chroma > step for step in CHROMA_STEPS])
    return np.packbits(np.concatenate([structure, colour])).tobytes().hex()


def unpack(hashes: Sequence[str]) -> np.ndarray:
    """uint8 [n, 40]: 32 bytes of structure, 8 of colour."""
    return np.frombuffer(bytes.fromhex("".join(hashes)), np.uint8).reshape(-1, HASH_BYTES)


def mirrored(hashes: np.ndarray) -> np.ndarray:
    """The unpacked hashes of the same frames turned left to right, but for a few bits about the median."""
    structure, colour = np.split(hashes, [STRUCTURE_BYTES], axis=-1)
    swapped = np.packbits(np.unpackbits(colour, axis=-1)[:, _SWAPPED_GRID], axis=-1)
    return np.concatenate([structure ^ _ODD_ACROSS, swapped], axis=-1)


def distance(first: np.ndarray, second: np.ndarray) -> tuple[float, float] | None:
    """Median (structure, colour) Hamming distance over aligned frames at the best offset, in bits.

    Both are unpacked hashes sampled at one rate. One may be a part of the other: every offset with enough overlap
    counts. None where the clips are too short to compare.
    """
    if len(first) > len(second):
        first, second = second, first
    overlap = max(min(MIN_OVERLAP, len(first)), (len(first) + 1) // 2)
    if not overlap:
        return None
    bits = _POPCOUNT[first[:, None, :] ^ second[None, :, :]]
    structure, colour = (part.sum(-1, dtype=np.int16) for part in np.split(bits, [STRUCTURE_BYTES], axis=-1))
    best = (float("inf"), float("inf"))
    for offset in range(overlap - len(first), len(second) - overlap + 1):
        found = float(np.median(structure.diagonal(offset))), float(np.median(colour.diagonal(offset)))
        best = min(best, found, key=sum)
    return best

"""An invisible watermark: 32 bits in the luma of every frame, found again with the key after re-encoding.

Improved spread spectrum (Malvar and Florencio 2003, doi:10.1109/TSP.2003.809385) over 8x8 DCT coefficients of low
middle frequency. The same pattern lies over all frames, so that a codec carries it along and reading averages the
pictures away. It survives re-encoding at the same size; it does not survive scaling, cropping or mirroring, and a
reader needs the key. Frames are `uint8 [T, H, W, 3]`; at least one 8x8 block for every payload bit is needed.

Detection (`find_mark`) asks whether pictures carry a mark of our key at all, whichever model made them, with a proven bound
on false alarms. Block spectra are enough for it, so the key stays out of the process that opened the file. A mark is a sum
of coefficients under signs that only the key gives. Of pictures made without the key the signs are independent coin
throws, so the sum of any values a under them exceeds t |a| with a chance of at most exp(-t^2/2), and the sum of 32 such
squares obeys the bound of a chi-squared variable with 32 degrees of freedom: no assumption about pictures enters.
References: Hoeffding 1963, doi:10.1080/01621459.1963.10500830; Laurent and Massart 2000, doi:10.1214/aos/1015957395 (the
Chernoff bound of chi-squared).
"""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

BITS = 32
ACCEPT = 29  # chance that another payload agrees in so many bits: 1.3e-6
BLOCK = 8
# rows and columns of the used coefficients: neither the block's mean and first slopes, nor what a codec drops first
ROWS, COLUMNS = (np.array(side) for side in zip(*[(u, s - u) for s in (2, 3, 4) for u in range(s + 1)], strict=True))
STRENGTHS = (5.0, 8.0, 12.0, 18.0)  # amplitude a coefficient in 8-bit units, about 41, 37, 34 and 30 dB PSNR
SOFT_LIMIT = 10.0  # 8-bit units: a coefficient far above a mark's amplitude says no more about it than this one
LUMA = np.array([0.299, 0.587, 0.114], np.float32)


class TooSmall(ValueError):
    """Frames with fewer blocks than the payload has bits."""


def watermark_key(folder: Path) -> bytes:
    """The platform's secret, kept in `folder` with mode 0600; created there on first use."""
    path = Path(folder) / "watermark.key"
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as out:
            out.write(os.urandom(32))
    except FileExistsError:
        pass
    return path.read_bytes()


def payload_of(model_id: str) -> int:
    """The 32 bits that name a model: the start of its identity's SHA-256."""
    return int.from_bytes(hashlib.sha256(model_id.encode()).digest()[: BITS // 8], "big")


def embed(frames: np.ndarray, payload: int, key: bytes, strength: float) -> np.ndarray:
    """Frames that carry `payload`: every bit's correlation over the clip is raised to at least `strength`."""
    group, chips = pattern(key, *_grid(frames))
    signs = signs_of(payload)
    missing = np.maximum(strength - signs * _correlations(frames, group, chips), 0) * signs  # [32]
    rows, columns = _grid(frames)
    coefficients = np.zeros((rows * columns, BLOCK, BLOCK), np.float32)
    coefficients[:, ROWS, COLUMNS] = (missing[group] * chips).reshape(rows * columns, -1)
    basis = dct()
    blocks = (basis.T @ coefficients @ basis).reshape(rows, columns, BLOCK, BLOCK)
    change = np.zeros(frames.shape[1:3], np.float32)
    change[: rows * BLOCK, : columns * BLOCK] = blocks.transpose(0, 2, 1, 3).reshape(rows * BLOCK, columns * BLOCK)
    # the same step in red, green and blue is that step in luma
    return np.clip(np.rint(frames + change[None, :, :, None]), 0, 255).astype(np.uint8)


def read(frames: np.ndarray, key: bytes) -> int:
    """The payload that the frames carry; noise when they carry none."""
    return _payload(_correlations(frames, *pattern(key, *_grid(frames))))


def _payload(sums: np.ndarray) -> int:
    return int("".join("1" if value > 0 else "0" for value in sums), 2)


def agreement(payload: int, other: int) -> int:
    """Bits, of 32, in which two payloads agree."""
    return BITS - (payload ^ other).bit_count()


def carries(frames: np.ndarray, payload: int, key: bytes) -> bool:
    """Whether the frames carry this payload beyond reasonable chance."""
    return agreement(read(frames, key), payload) >= ACCEPT


def signs_of(payload: int) -> np.ndarray:
    """The payload as 32 signs, its highest bit first."""
    return np.array([1.0 if payload >> (BITS - 1 - bit) & 1 else -1.0 for bit in range(BITS)], np.float32)


def _grid(frames: np.ndarray) -> tuple[int, int]:
    rows, columns = frames.shape[1] // BLOCK, frames.shape[2] // BLOCK
    if rows * columns < BITS:
        raise TooSmall(f"{frames.shape[2]}x{frames.shape[1]} has {rows * columns} blocks; a watermark needs {BITS}")
    return rows, columns


@lru_cache(maxsize=8)
def pattern(key: bytes, rows: int, columns: int) -> tuple[np.ndarray, np.ndarray]:
    """For every used coefficient of every block: which bit it carries (evenly shared out) and its sign.

    Derived with SHAKE-256 rather than a random generator, whose stream may change between library versions.
    """
    count = rows * columns * len(ROWS)
    stream = hashlib.shake_256(b"rushes.watermark/1" + key + f"{rows}x{columns}".encode()).digest(9 * count)
    order = np.argsort(np.frombuffer(stream, "<u8", count), kind="stable")
    group = np.empty(count, np.int64)
    group[order] = np.arange(count) % BITS
    chips = (np.frombuffer(stream, np.uint8, count, offset=8 * count) & 1).astype(np.float32) * 2 - 1
    return group, chips


@lru_cache(maxsize=1)
def dct() -> np.ndarray:
    """The orthonormal DCT-II matrix, [8, 8]."""
    k, n = np.arange(BLOCK)[:, None], np.arange(BLOCK)[None, :]
    basis = np.cos(np.pi * (2 * n + 1) * k / (2 * BLOCK)) * np.sqrt(2 / BLOCK)
    basis[0] /= np.sqrt(2)
    return basis.astype(np.float32)


def _correlations(frames: np.ndarray, group: np.ndarray, chips: np.ndarray) -> np.ndarray:
    """Mean of sign times coefficient for every bit, over blocks and frames, [32]."""
    rows, columns = _grid(frames)
    basis = dct()
    total = np.zeros((rows * columns, len(ROWS)), np.float64)
    for frame in frames:  # one at a time: a whole clip in floats would be large
        luma = frame[: rows * BLOCK, : columns * BLOCK].astype(np.float32) @ LUMA
        blocks = luma.reshape(rows, BLOCK, columns, BLOCK).transpose(0, 2, 1, 3).reshape(-1, BLOCK, BLOCK)
        total += (basis @ blocks @ basis.T)[:, ROWS, COLUMNS]
    weighted = np.bincount(group, weights=total.reshape(-1) * chips, minlength=BITS)
    return (weighted / np.bincount(group, minlength=BITS) / len(frames)).astype(np.float32)


@dataclass(frozen=True)
class Detection:
    """`log10_p` bounds the chance that unmarked pictures look as much like a mark of the key, over all that was tried.
    `payload` has the 32 bits of the stretch that looks most like one."""

    log10_p: float
    payload: int


def find_mark(
    windows: Sequence[np.ndarray],
    grid: tuple[int, int],
    corner: tuple[int, int],
    extent: tuple[int, int],
    key: bytes,
    payloads: Iterable[int] = (),
) -> Detection | None:
    """Look for a mark in mean block spectra, `float [blocks, coefficients]` a window, of `extent` blocks from `corner`
    of a picture of `grid` blocks (rows, columns each). Payloads that are known to be in use are found more surely.

    None if there is nothing to look at, or the picture is too small to carry a mark.
    """
    if not windows or grid[0] * grid[1] < BITS:
        return None
    rows, columns = (start + np.arange(size) for start, size in zip(corner, extent, strict=True))
    blocks = (rows[:, None] * grid[1] + columns[None, :]).reshape(-1)
    group, chips = (values.reshape(grid[0] * grid[1], -1)[blocks].reshape(-1) for values in pattern(key, *grid))
    signs = np.array([signs_of(payload) for payload in payloads]).reshape(-1, BITS)
    best = min((_detect(window, group, chips, signs) for window in windows), key=lambda detection: detection.log10_p)
    return Detection(round(min(0.0, best.log10_p + math.log10(2 * len(windows))), 3), best.payload)


def _detect(spectra: np.ndarray, group: np.ndarray, chips: np.ndarray, signs: np.ndarray) -> Detection:
    values = spectra.reshape(-1) / (np.abs(spectra.reshape(-1)) + SOFT_LIMIT)
    sums = np.bincount(group, weights=values * chips, minlength=BITS)
    squares = np.bincount(group, weights=values**2, minlength=BITS)
    logs = [_chi_squared_bound(float((sums**2 / np.maximum(squares, 1e-9)).sum()))]
    if len(signs):
        t = max(0.0, float((signs @ sums).max()) / math.sqrt(max(float(squares.sum()), 1e-9)))
        logs.append(-t * t / 2 + math.log(len(signs)))
    return Detection(min(logs) / math.log(10), _payload(sums))


def _chi_squared_bound(total: float) -> float:
    """Natural logarithm of a bound on the chance that a chi-squared variable of 32 degrees of freedom is so large."""
    return 0.0 if total <= BITS else BITS / 2 * math.log(total / BITS) - (total - BITS) / 2

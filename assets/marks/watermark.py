"""An invisible watermark: 32 bits in the luma of every frame, found again with the key after re-encoding.

Improved spread spectrum (Malvar and Florencio 2003, doi:10.1109/TSP.2003.809385) over 8x8 DCT coefficients of low
middle frequency. The same pattern lies over all frames, so that a codec carries it along and reading averages the
pictures away. It survives re-encoding at the same size; it does not survive scaling, cropping or mirroring, and a
reader needs the key. Frames are `uint8 [T, H, W, 3]`; at least one 8x8 block for every payload bit is needed.
"""

from __future__ import annotations

import hashlib
import os
from functools import lru_cache
from pathlib import Path

import numpy as np

BITS = 32
ACCEPT = 29  # chance that another payload agrees in so many bits: 1.3e-6
BLOCK = 8
# rows and columns of the used coefficients: neither the block's mean and first slopes, nor what a codec drops first
ROWS, COLUMNS = (np.array(side) for side in zip(*[(u, s - u) for s in (2, 3, 4) for u in range(s + 1)], strict=True))
STRENGTHS = (5.0, 8.0, 12.0, 18.0)  # amplitude a coefficient in 8-bit units, about 41, 37, 34 and 30 dB PSNR
LUMA = np.array([0.299, 0.587, 0.114], np.float32)


class TooSmall(ValueError):
    """Frames with fewer blocks than the payload has bits."""


def watermark_key(folder: Path) -> bytes:
    """The platform's secret, kept in `folder` with mode 0600; made there on first use."""
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
    found = _correlations(frames, *pattern(key, *_grid(frames))) > 0
    return int("".join("1" if bit else "0" for bit in found), 2)


def agreement(found: int, payload: int) -> int:
    """Bits, of 32, in which two payloads agree."""
    return BITS - (found ^ payload).bit_count()


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

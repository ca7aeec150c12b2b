"""The perceptual hash of a frame: what is kept of a picture so that another copy of it can be recognised later.

`assets.curation.dedup.similarity` compares them. A hash is the picture
inside its black borders at 12 x 12 pixels of luma, normalised and in sixteen levels, and at 4 x 4 of chroma: 88 bytes,
176 hexadecimal digits. It is a tiny picture rather than a code, so that every comparison (turned, cropped, with another
threshold) can be made later from what is stored. Hashes of other lengths are those of other versions of the pass.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from assets.signals.image_quality import letterbox_box

BLANK_STD = 2.0  # 8-bit units; below it there is no structure to hash
SIDE, GRID = 12, 4
SPREAD = 2.5  # standard deviations that the levels of luma reach up and down
LEVELS = 15  # the highest level
CHROMA_STEP, CHROMA_MIDDLE = 8, 128  # 8-bit units
LUMA_BYTES, CHROMA_BYTES = SIDE * SIDE // 2, GRID * GRID * 2 // 2
HASH_BYTES = LUMA_BYTES + CHROMA_BYTES
WHOLE = (0, 0, 0, 0)

Borders = tuple[int, int, int, int]


class StaleHash(ValueError):
    """A stored hash is not of this version: the day's signals have to be measured again."""


def frame_hash(rgb: np.ndarray, gray: np.ndarray, borders: Borders = WHOLE) -> str | None:
    """Hash of one small frame; None for a blank one, which looks like every other blank one.

    `rgb` is uint8 [h, w, 3], `gray` the luma at any size. `borders` are lines of black in `gray` at top, bottom, left
    and right, which are left out where they make a letterbox.
    """
    import cv2

    box = letterbox_box(*borders, *gray.shape[:2])
    gray, rgb = _inside(gray, box), _inside(rgb, box)
    luma = cv2.resize(gray, (SIDE, SIDE), interpolation=cv2.INTER_AREA).astype(np.float32)
    if float(cv2.meanStdDev(gray)[1][0, 0]) < BLANK_STD:
        return None
    luma = (luma - luma.mean()) / max(float(luma.std()), 0.5)
    levels = np.clip(np.rint((luma / SPREAD + 1) * LEVELS / 2), 0, LEVELS).astype(np.uint8)
    grid = cv2.cvtColor(cv2.resize(rgb, (GRID, GRID), interpolation=cv2.INTER_AREA), cv2.COLOR_RGB2YCrCb)[..., 1:]
    chroma = np.clip(np.rint((grid.astype(np.float32) - CHROMA_MIDDLE) / CHROMA_STEP) + 8, 0, LEVELS).astype(np.uint8)
    nibbles = np.concatenate([levels.ravel(), chroma.ravel()])
    return (nibbles[0::2] << 4 | nibbles[1::2]).tobytes().hex()


def common(first: Borders, second: Borders) -> Borders:
    """The borders that two frames of a shot share: what is dark in one of them alone belongs to the picture."""
    top, bottom, left, right = map(min, first, second)
    return top, bottom, left, right


def _inside(picture: np.ndarray, box: tuple[float, float, float, float]) -> np.ndarray:
    """The part of `picture` in `box` (left, top, width, height as shares), less the line that a border blurs."""
    left, top, width, height = box
    rows, columns = picture.shape[:2]
    down = slice(int(np.ceil(top * rows)) + (top > 0), int((top + height) * rows + 1e-6) - (height < 1 and top > 0))
    across = slice(
        int(np.ceil(left * columns)) + (left > 0), int((left + width) * columns + 1e-6) - (width < 1 and left > 0)
    )
    inside = picture[down, across]
    return inside if inside.size else picture


def pack(hashes: Iterable[str]) -> bytes:
    """`HASH_BYTES` a frame. Raises StaleHash where one is not of this version."""
    packed = []
    for digits in hashes:
        if len(digits) != 2 * HASH_BYTES:
            raise StaleHash(
                f"a frame's hash has {len(digits)} digits, not {2 * HASH_BYTES}: measure its day's signals again"
            )
        packed.append(bytes.fromhex(digits))
    return b"".join(packed)


def unpack(packed: bytes | np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Luma, float32 [n, 144], of mean near 0 and deviation near 1; and chroma, float32 [n, 32], in 8-bit units about 0.

    Both row by row; chroma has red before blue difference in every cell.
    """
    frames = np.frombuffer(packed, np.uint8) if isinstance(packed, bytes) else packed
    frames = frames.reshape(-1, HASH_BYTES)
    nibbles = np.stack([frames >> 4, frames & 15], axis=-1).reshape(len(frames), 2 * HASH_BYTES)
    luma, chroma = nibbles[:, : SIDE * SIDE].astype(np.float32), nibbles[:, SIDE * SIDE :].astype(np.float32)
    return (luma * (2 / LEVELS) - 1) * SPREAD, (chroma - 8) * CHROMA_STEP

"""How much of the picture is covered by letters: captions, titles, time codes.

Letters are thin strokes of one brightness before a differing ground, many side by side in a row. Strokes are what a
small opening or closing removes; rows are what a wide closing joins. No text is read, and letters that belong to the
scene (a street sign) count too: the signal ranks clips for people, and blocks nothing.
"""

from __future__ import annotations

import numpy as np

TEXT_VERSION = "strokes-2"
STROKE = 9  # pixels at 640 on the long side: thicker is no stroke
CONTRAST = 48  # 8-bit units between stroke and ground
JOIN = (17, 3)  # columns and rows that separate letters of one word at most
ROW_HEIGHT = (6, 64)  # pixels
MIN_LENGTH = 3.0  # width of a row of letters over its height
STROKE_SHARE = (0.15, 0.65)  # of a row's box
MIN_CHANGES = 1.3  # strokes begun along a row, for each of its heights of length
LASTS = 0.6  # share of a row's strokes that are still there in the next sample


def strokes(luma: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """bool [h, w] twice: thin bright and thin dark strokes of uint8 `luma` with 640 pixels on the long side."""
    import cv2

    kernel = np.ones((STROKE, STROKE), np.uint8)
    return (
        cv2.morphologyEx(luma, cv2.MORPH_TOPHAT, kernel) >= CONTRAST,
        cv2.morphologyEx(luma, cv2.MORPH_BLACKHAT, kernel) >= CONTRAST,
    )


def rows(strokes: np.ndarray) -> list[tuple[int, int, int, int]]:
    """(left, top, width, height) of what look like rows of letters among the thin `strokes`."""
    import cv2

    joined = cv2.morphologyEx(strokes.astype(np.uint8), cv2.MORPH_CLOSE, np.ones(JOIN[::-1], np.uint8))
    # outlines cost a tenth of labelled components; their boxes are the same
    outlines, _ = cv2.findContours(joined, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    boxes = []
    for left, top, width, height in map(cv2.boundingRect, outlines):
        if not ROW_HEIGHT[0] <= height <= ROW_HEIGHT[1] or width < MIN_LENGTH * height:
            continue
        inside = strokes[top : top + height, left : left + width]
        begun = np.count_nonzero(inside[:, 1:] & ~inside[:, :-1]) / height
        if STROKE_SHARE[0] <= inside.mean() <= STROKE_SHARE[1] and begun >= MIN_CHANGES * width / height:
            boxes.append((int(left), int(top), int(width), int(height)))
    return boxes


class TextMeter:
    """Compares each sample with the one before: letters stay in place while the pictures change."""

    def __init__(self) -> None:
        self._before: tuple[np.ndarray, np.ndarray] | None = None

    def cut(self) -> None:
        """What comes next is another shot."""
        self._before = None

    def share(self, luma: np.ndarray) -> float | None:
        """Share of the picture under rows of letters that were there before; None for a shot's first sample."""
        now = strokes(luma)
        before, self._before = self._before, now
        if before is None or before[0].shape != luma.shape:
            return None
        covered = np.zeros(luma.shape, bool)
        for current, previous in zip(now, before, strict=True):
            for left, top, width, height in rows(current):
                box = slice(top, top + height), slice(left, left + width)
                if np.count_nonzero(current[box] & previous[box]) >= LASTS * np.count_nonzero(current[box]):
                    covered[box] = True
        return float(covered.mean())

"""How many faces a frame shows, and where: YuNet through OpenCV. Boxes only; no embedding is computed or kept.

Wu et al., "YuNet: A Tiny Millisecond-level Face Detector", 2023 (MIT).
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import numpy as np

CONFIDENCE = 0.8


class FaceFinder:
    def __init__(self, model: Path) -> None:
        """Load the ONNX file; raises cv2.error where it is not one."""
        import cv2

        self._size = 320, 320
        self._detector = cv2.FaceDetectorYN.create(str(model), "", self._size, CONFIDENCE)

    def boxes(self, rgb: np.ndarray) -> list[list[float]]:
        """[left, top, width, height, confidence] a face, lengths as shares of the frame, most certain first."""
        import cv2

        height, width = rgb.shape[:2]
        if self._size != (width, height):  # setting it costs as much as a tenth of a search
            self._size = width, height
            self._detector.setInputSize(self._size)
        _, faces = self._detector.detect(cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR))
        if faces is None:
            return []
        scale = np.array([width, height, width, height], np.float64)
        rows = [[round(float(v), 4) for v in (*(face[:4] / scale), face[-1])] for face in faces]
        return sorted(rows, key=lambda row: -row[-1])


@lru_cache(maxsize=1)
def face_finder(model: Path) -> FaceFinder:
    """The detector of `model`, loaded once a process: loading costs as much as a second of film."""
    return FaceFinder(model)

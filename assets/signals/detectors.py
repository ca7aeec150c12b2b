"""What is looked for on the larger pictures of a clip: faces, letters, and what installed scorers say.

Faces: YuNet through OpenCV (Wu et al., "YuNet: A Tiny Millisecond-level Face Detector", 2023, MIT). Boxes only; no
embedding is computed or kept.

Letters are thin strokes of one brightness before a differing ground, many side by side in a row. Strokes are what a
small opening or closing removes; rows are what a wide closing joins. No text is read, and letters that belong to the
scene (a street sign) count too: the signal ranks clips for people, and blocks nothing.

Scorers (aesthetics, unsafe content) need weights that do not come with Rushes: an ONNX file and a card beside it
(`nsfw.onnx`, `nsfw.json`) in the folder of weights. The card names its version and licence, and says how a picture is
fed and which output is the score. OpenCV runs it; nothing in a model file is executed otherwise. Where the files are
absent the check is `not_yet`, which is never a pass.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Protocol

import numpy as np

from training.consent.canonical import file_sha256

# -- faces -----------------------------------------------------------------------------------------------------------


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


# -- letters ---------------------------------------------------------------------------------------------------------


TEXT_VERSION = "strokes-2"
STROKE = 9  # pixels at 640 on the long side: a thicker line is not a stroke
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


def letter_rows(strokes: np.ndarray) -> list[tuple[int, int, int, int]]:
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
            for left, top, width, height in letter_rows(current):
                box = slice(top, top + height), slice(left, left + width)
                if np.count_nonzero(current[box] & previous[box]) >= LASTS * np.count_nonzero(current[box]):
                    covered[box] = True
        return float(covered.mean())


# -- scorers with weights of their own -------------------------------------------------------------------------------


SCORERS = ("aesthetic", "nsfw")  # columns of table `signals`


class Scorer(Protocol):
    """Gives a picture a number."""

    name: str
    version: str

    def score(self, rgb: np.ndarray) -> float:
        """The score of uint8 [h, w, 3]."""
        ...


class BadScorer(ValueError):
    """The files of a scorer cannot be used. Says which and why."""


@dataclass(frozen=True)
class Card:
    """How a model is fed: `(channel - mean) / scale`, resized to `width` x `height`, in RGB or BGR order."""

    version: str
    licence: str
    width: int
    height: int
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    scale: float = 1.0
    bgr: bool = False
    output: int = 0  # which of the model's numbers is the score

    @classmethod
    def read(cls, path: Path) -> Card:
        try:
            values = json.loads(path.read_text())
            return cls(**values | {"mean": tuple(values.get("mean", (0.0, 0.0, 0.0)))})
        except (OSError, ValueError, TypeError, AttributeError) as error:
            raise BadScorer(f"{path}: no usable card beside the model ({error})") from error


class OnnxScorer:
    def __init__(self, name: str, model: Path) -> None:
        """Load `model` and its card; raises BadScorer."""
        import cv2

        self.name = name
        self.card = Card.read(model.with_suffix(".json"))
        self.version = f"{self.card.version}-{file_sha256(model)[:8]}"
        try:
            self._net = cv2.dnn.readNetFromONNX(str(model))
        except cv2.error as error:
            raise BadScorer(f"{model}: not an ONNX model that OpenCV reads ({error})") from error

    def score(self, rgb: np.ndarray) -> float:
        import cv2

        card = self.card
        blob = cv2.dnn.blobFromImage(rgb, 1 / card.scale, (card.width, card.height), card.mean, swapRB=card.bgr)
        self._net.setInput(blob)
        return float(np.asarray(self._net.forward()).ravel()[card.output])


def available_scorers(folder: Path) -> dict[str, Path]:
    """The models that are there, by name."""
    return {name: path for name in SCORERS if (path := folder / f"{name}.onnx").is_file()}


def load_scorers(models: dict[str, Path]) -> tuple[Scorer, ...]:
    """Raises BadScorer."""
    return tuple(OnnxScorer(name, path) for name, path in sorted(models.items()))

"""Scorers that need weights of their own: aesthetics, unsafe content. They are not part of Rushes.

A scorer is an ONNX file and a card beside it (`nsfw.onnx`, `nsfw.json`) in the folder of weights. The card names its
version and licence, and says how a picture is fed and which output is the score. OpenCV runs it; nothing in a model
file is executed otherwise. Where the files are absent the check is `not_yet`, which is never a pass.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

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
        self.version = f"{self.card.version}-{hashlib.sha256(model.read_bytes()).hexdigest()[:8]}"
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


def available(folder: Path) -> dict[str, Path]:
    """The models that are there, by name."""
    return {name: path for name in SCORERS if (path := folder / f"{name}.onnx").is_file()}


def load(models: dict[str, Path]) -> tuple[Scorer, ...]:
    """Raises BadScorer."""
    return tuple(OnnxScorer(name, path) for name, path in sorted(models.items()))

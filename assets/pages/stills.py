"""Frames of a clip for people, and the pages that show them.

Pictures are taken from the file, with their frame numbers and timestamps, so that everybody judges the same ones
whatever their browser makes of the video. Face boxes are computed for the page and kept nowhere. Pages lie below the
home's state folder, for its owner only, and not for long. What a page says is its stage's business.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np

from assets.decode.decoder import open_container, video_stream
from assets.home import Home
from assets.pages.plots import data_uri, webp
from assets.signals.detectors import FaceFinder
from assets.store import write_atomically

SIDE, QUALITY = 640, 72  # pixels on the long side
KEPT = timedelta(days=1)  # pages show people, so they are not left lying around


@dataclass(frozen=True)
class Still:
    """One frame of the file: its number, its time in seconds from the first frame (None where the file gives none), WebP
    bytes, and boxes of faces as [left, top, width, height, confidence] in shares of the frame (None without a detector)."""

    index: int
    pts_s: float | None
    webp: bytes
    faces: list[list[float]] | None

    @property
    def uri(self) -> str:
        return data_uri(self.webp)


def take_stills(home: Home, media_key: str, start_frame: int, end_frame: int, count: int) -> list[Still]:
    """Frames spread evenly over a clip, first and last included, decoded from the delivered file.

    Raises FileNotFoundError where the file is not there, or no longer.
    """
    from PIL import Image

    last = end_frame - 1
    count = max(1, min(count, last - start_frame + 1))
    step = (last - start_frame) / max(1, count - 1)
    wanted = {start_frame + round(step * place) for place in range(count)}
    finder = FaceFinder(home.face_detector) if home.face_detector.is_file() else None
    return [
        Still(index, pts_s, webp(Image.fromarray(rgb), QUALITY), finder.boxes(rgb) if finder else None)
        for index, pts_s, rgb in frames_at(home.store.fetch(media_key), wanted)
    ]


def keep_page(home: Home, clip_id: str, rest: str, html: str, now: datetime) -> Path:
    """Write a clip's page, named `<clip_id>-<rest>.html`; pages older than a day are removed on the way.

    A withdrawal removes whatever is named after the clip.
    """
    folder = home.scratch("sheets")
    folder.chmod(0o700)
    for old in folder.glob("*.html"):
        if old.stat().st_mtime < (now - KEPT).timestamp():
            old.unlink(missing_ok=True)
    path = folder / f"{clip_id}-{rest}.html"
    write_atomically(path, html.encode())
    path.chmod(0o600)
    return path


def frames_at(path: Path, wanted: set[int]) -> Iterator[tuple[int, float | None, np.ndarray]]:
    """(number, seconds since the first frame, upright RGB of `SIDE` at most) of the wanted frames, in order.

    Read from the front and never sought: a frame's number is then what every other stage calls it.
    """
    with open_container(path) as container:
        first: float | None = None
        for index, picture in enumerate(container.decode(video_stream(container))):
            first = picture.time if first is None else first
            if index in wanted:
                scale = min(1.0, SIDE / max(picture.width, picture.height))
                width, height = (max(2, round(side * scale)) for side in (picture.width, picture.height))
                rgb = picture.reformat(width, height, "rgb24", interpolation="AREA").to_ndarray()
                since = None if picture.time is None or first is None else picture.time - first
                yield index, since, np.ascontiguousarray(np.rot90(rgb, round(picture.rotation / 90) % 4))
            if index >= max(wanted):
                return

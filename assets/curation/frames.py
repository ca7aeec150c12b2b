"""One decode pass over a media file: small frames, timestamps and digests, one at a time.

What belongs here: opening, decoding, scaling. What does not: any measurement. The stream is read once from front to
back by one thread and never sought, and one frame is held at a time, so memory does not grow with the file's length.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from assets.ingestion.decoding import open_container, video_stream
from assets.ingestion.identity import frame_digest

if TYPE_CHECKING:
    import av
    import numpy as np

SMALL_SIDE = 256  # pixels on the long side of the frames that every scorer shares
LARGE_SIDE = 640  # for the few frames that faces are looked for in: at 256 they are too small to be seen


@dataclass(frozen=True)
class Frame:
    """One decoded picture, upright.

    `rgb` is uint8 [h, w, 3] with `SMALL_SIDE` on the long side and `gray` its luma; `larger()` scales the full picture
    to `LARGE_SIDE` (never up) and must be called before the next frame is asked for.
    """

    index: int
    pts_s: float
    digest: bytes
    rgb: np.ndarray
    gray: np.ndarray
    larger: Callable[[], np.ndarray]


def fitted(width: int, height: int, side: int) -> tuple[int, int]:
    """(width, height) scaled to `side` on the long side, no side below 2 pixels."""
    scale = side / max(width, height)
    return max(2, round(width * scale)), max(2, round(height * scale))


def read(path: Path) -> Iterator[Frame]:
    """The frames of the first video stream, in presentation order.

    Timestamps start at 0; a frame without one (or one that does not advance) is placed a nominal frame period after
    its predecessor. Raises av.error.FFmpegError or NoVideoStream where the file cannot be opened or decoded.
    """
    import cv2
    from av.video.reformatter import VideoReformatter

    small, large = VideoReformatter(), VideoReformatter()
    with open_container(path) as container:
        stream = video_stream(container)
        period = float(1 / (stream.average_rate or stream.guessed_rate or 25))
        first, previous = None, -period
        for index, picture in enumerate(container.decode(stream)):
            pts = None if picture.time is None else float(picture.time)
            first = pts if first is None else first
            now = previous + period if pts is None or first is None else pts - first
            now = now if now > previous else previous + period
            previous = now
            rgb = _scaled(small, picture, SMALL_SIDE)
            yield Frame(
                index=index,
                pts_s=now,
                digest=frame_digest(picture),
                rgb=rgb,
                gray=cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY),
                larger=lambda p=picture: _scaled(large, p, min(LARGE_SIDE, max(p.width, p.height))),  # type: ignore[misc]
            )


def _scaled(reformatter: av.video.reformatter.VideoReformatter, picture: av.VideoFrame, side: int) -> np.ndarray:
    """RGB at `side`, turned as the rotation metadata asks. Area averaging: no aliasing that would pass for detail."""
    import numpy as np

    width, height = fitted(picture.width, picture.height, side)
    rgb = reformatter.reformat(picture, width, height, "rgb24", interpolation="AREA").to_ndarray()
    turns = round(picture.rotation / 90) % 4
    return np.ascontiguousarray(np.rot90(rgb, turns)) if turns else rgb

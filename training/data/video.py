"""Video files in and out: H.264 in MP4 through PyAV, one thread, no other codec library.

Everything here speaks frames as `uint8 [T, H, W, 3]` RGB. Probing, bounding and judging foreign files belongs to
ingestion and curation; this module reads files that are already trusted and writes the ones the model makes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from training.process import atomically

Frames = np.ndarray  # uint8 [T, H, W, 3], RGB
# x264's macroblock tree gives other bytes for the same frames from one run to the next
REPEATABLE = "mbtree=0"


class VideoError(ValueError):
    """A file that cannot be read, or frames that cannot be written. Says which file and why."""


def write_mp4(path: str | Path, frames: Frames, fps: float, crf: int = 18) -> Path:
    """Write `frames` as H.264 (yuv420p) to `path`, atomically, and return the path.

    The same frames give the same bytes: one encoder thread, no time stamps of the machine in the file.
    Raises VideoError for anything but uint8 [T, H, W, 3] with T >= 1 and even sides (4:2:0 halves both).
    """
    import av

    path = Path(path)
    if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[3] != 3 or len(frames) == 0:
        raise VideoError(f"{path}: frames must be uint8 [T, H, W, 3], got {frames.dtype} {list(frames.shape)}")
    height, width = frames.shape[1:3]
    if height % 2 or width % 2:
        raise VideoError(f"{path}: sides must be even for 4:2:0 chroma, got {width}x{height}")
    if not fps > 0:
        raise VideoError(f"{path}: frames per second must be positive, got {fps}")

    options = {"fflags": "+bitexact", "movflags": "+faststart"}
    with atomically(path) as partial, av.open(str(partial), "w", format="mp4", options=options) as container:
        stream = container.add_stream("libx264", rate=Fraction(fps).limit_denominator(1001))
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.options = {"crf": str(crf), "preset": "medium", "flags": "+bitexact", "x264-params": REPEATABLE}
        stream.codec_context.thread_count = 1
        for picture in frames:
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def read_frames(
    path: str | Path,
    start: int = 0,
    end: int | None = None,
    max_side: int | None = None,
    pulse: Callable[[], None] = lambda: None,
) -> tuple[Frames, float]:
    """Decode frames `start` to `end` (exclusive; None: to the last) and return them with the file's frames per second.

    Frames are counted as decoded, never by time stamp, so a range means the same pictures for every reader; a cover
    picture is no film. With `max_side` the longer side is scaled down to it (area filter), aspect kept, sides even.
    `pulse` is called for every frame.
    Raises VideoError when the file does not open, has no video, or has no frame in the range.
    """
    pictures: list[np.ndarray] = []
    fps = 0.0
    for frame, rate in decoded(path, start, end, pulse):
        fps = rate
        width, height = fitted(frame.width, frame.height, max_side)
        pictures.append(frame.to_ndarray(format="rgb24", width=width, height=height, interpolation="AREA"))
    if not pictures:
        raise VideoError(f"{path}: no frame between {start} and {'the end' if end is None else end}")
    return np.stack(pictures), fps


def decoded(
    path: str | Path, start: int, end: int | None, pulse: Callable[[], None] = lambda: None
) -> Iterator[tuple[Any, float]]:
    """PyAV's frames of the range, one at a time, each with the file's frames per second. Otherwise as `read_frames`."""
    import av
    from av.stream import Disposition

    try:
        with av.open(str(path), metadata_errors="replace") as container:
            covers = Disposition.attached_pic
            films = [s for s in container.streams.video if s.codec_context and not s.disposition & covers]
            if not films:
                raise VideoError(f"{path}: no video stream")
            stream = films[0]
            stream.codec_context.thread_count = 1
            fps = float(stream.average_rate or stream.guessed_rate or 0)
            for index, frame in enumerate(container.decode(stream)):
                pulse()
                if end is not None and index >= end:
                    break
                if index >= start:
                    yield frame, fps
    except (av.FFmpegError, OSError) as error:
        raise VideoError(f"{path}: {error}") from error


def fitted(width: int, height: int, max_side: int | None) -> tuple[int, int]:
    """The size with the longer side at most `max_side`, aspect kept, sides even (at least 2)."""
    if max_side is None or max(width, height) <= max_side:
        return width, height
    scale = max_side / max(width, height)
    return max(2, round(width * scale / 2) * 2), max(2, round(height * scale / 2) * 2)

"""Small films that are encoded from a moment of real footage: any codec, clock, shape and further streams.

Small, fast and the same on every run.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

FOOTAGE = Path(__file__).resolve().parents[3] / ".vendor" / "footage"
WIDTH, HEIGHT, FRAMES, FPS = 160, 96, 16, 25

needs_footage = pytest.mark.skipif(not FOOTAGE.is_dir(), reason="the sample footage is not fetched")


@cache
def moment(name: str = "bikes.mp4", width: int = WIDTH, height: int = HEIGHT, frames: int = FRAMES) -> np.ndarray:
    """uint8 [frames, height, width, 3]: the beginning of a sample film, scaled."""
    import av

    with av.open(str(FOOTAGE / name)) as film:
        pictures = [
            p.reformat(width, height, "rgb24").to_ndarray()
            for p, _ in zip(film.decode(video=0), range(frames), strict=False)
        ]
    return np.stack(pictures)


def encode(
    path: Path,
    pictures: np.ndarray | None = None,
    codec: str = "libx264",
    pixel_format: str = "yuv420p",
    times: list[int] | None = None,
    muxer: dict[str, str] | None = None,
    colours: dict[str, int] | None = None,
    shape: Fraction | None = None,
    beside: Callable[[Any], Callable[[], None]] | None = None,
    **options: str,
) -> Path:
    """A film of `pictures`, one every 25th of a second or at `times` of a thousandth. `beside` adds further streams
    before the first packet, and returns what fills them afterwards."""
    import av

    pictures = moment() if pictures is None else pictures
    with av.open(str(path), "w", options=muxer or {}) as out:
        stream = out.add_stream(codec, rate=FPS)
        stream.height, stream.width, stream.pix_fmt = pictures.shape[1], pictures.shape[2], pixel_format
        usual = {"crf": "24", "g": "8", "preset": "ultrafast"} if codec == "libx264" else {}
        quiet = {"x265-params": "log-level=none:pools=none:frame-threads=1"} if codec == "libx265" else {}
        stream.options = {**usual, **quiet, **options}
        for name, value in (colours or {}).items():
            setattr(stream.codec_context, name, value)
        if shape is not None:
            stream.codec_context.sample_aspect_ratio = shape
        if times is not None:
            stream.codec_context.time_base = Fraction(1, 1000)
        fill = beside(out) if beside else None
        for index, picture in enumerate(pictures):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            if times is not None:
                frame.pts, frame.time_base = times[index], Fraction(1, 1000)
            out.mux(stream.encode(frame))
        out.mux(stream.encode())
        if fill:
            fill()
    return path


def faststart(folder: Path, name: str = "a.mp4", **options: Any) -> bytes:
    return encode(folder / name, muxer={"movflags": "faststart"}, **options).read_bytes()


def written(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def sound(out: Any, blocks: int = 8) -> Callable[[], None]:
    """Adds a tone of so many blocks of 64 ms; returns what writes it, to be called after the pictures."""
    import av

    stream = out.add_stream("aac", rate=16000)

    def fill() -> None:
        for block in range(blocks):
            wave = np.sin(np.arange(1024) / 9.0, dtype=np.float32)[None]
            samples = av.AudioFrame.from_ndarray(wave, format="fltp", layout="mono")
            samples.sample_rate, samples.pts, samples.time_base = 16000, block * 1024, Fraction(1, 16000)
            out.mux(stream.encode(samples))
        out.mux(stream.encode())

    return fill


def second_film(out: Any) -> Callable[[], None]:
    import av

    stream = out.add_stream("mpeg4", rate=FPS)
    stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"

    def fill() -> None:
        for picture in moment()[:4, ::2, ::2][:, :48, :64]:
            out.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")))
        out.mux(stream.encode())

    return fill


def cover(out: Any) -> Callable[[], None]:
    import av
    from av.stream import Disposition

    stream = out.add_stream("mjpeg", rate=1)
    stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuvj420p"
    stream.disposition = Disposition.attached_pic

    def fill() -> None:
        out.mux(stream.encode(av.VideoFrame.from_ndarray(moment()[0], format="rgb24")))
        out.mux(stream.encode())

    return fill


def raw_packets(codec: str, content: bytes) -> Callable[[Any], Callable[[], None]]:
    def add(out: Any) -> Callable[[], None]:
        import av

        stream = out.add_mux_stream(codec) if codec != "data" else out.add_data_stream()

        def fill() -> None:
            packet = av.Packet(content)
            packet.stream, packet.time_base = stream, Fraction(1, 1000)
            packet.pts = packet.dts = 0
            packet.duration = 400
            out.mux(packet)

        return fill

    return add


def sound_and_cover(folder: Path, with_cover: bool) -> Path:
    import av

    path = folder / "a.mp4"
    with av.open(str(path), "w") as out:
        fills = [sound(out)] + ([cover(out)] if with_cover else [])
        for fill in reversed(fills):
            fill()
    return path

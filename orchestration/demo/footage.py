"""Cuts clips out of the fetched footage, and damages files in the ways that deliveries go wrong.

Decoding and encoding use one thread each, so the same footage gives the same bytes.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

from orchestration.demo.deliveries import Cut
from orchestration.demo.fetch import PACKAGES
from training.data.video import REPEATABLE

if TYPE_CHECKING:
    import av.container
    import av.filter


def source_of(cut: Cut) -> dict[str, str]:
    """Title and licence of the footage a cut comes from, as a delivery declares them."""
    for package in PACKAGES:
        if any(member.target == f"footage/{cut.source}" for member in package.members):
            return {"name": f"{package.what} ({package.pin}, {cut.source})", "licence": package.licence}
    raise KeyError(f"no package brings {cut.source}")


def make_clips(vendor: Path, cuts: Iterable[Cut], into: Path, done: Callable[[str], None]) -> dict[str, Path]:
    """Encode the cuts as `into/<name>.mp4`, decoding every source once; calls `done` with each finished name."""
    wanted = list(cuts)
    for source in sorted({cut.source for cut in wanted}):
        cuts_of_source = [cut for cut in wanted if cut.source == source]
        _cut_source(vendor / "footage" / source, cuts_of_source, into)
        for cut in cuts_of_source:
            done(cut.name)
    return {cut.name: into / f"{cut.name}.mp4" for cut in wanted}


def _cut_source(path: Path, cuts: list[Cut], into: Path) -> None:
    import av

    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.codec_context.thread_count = 1
        writers: dict[str, _Writer] = {}
        last = max(cut.end for cut in cuts)
        for index, frame in enumerate(container.decode(stream)):
            if index >= last:
                break
            for cut in cuts:
                if cut.start <= index < cut.end:
                    writer = writers.get(cut.name) or writers.setdefault(cut.name, _Writer(cut, frame, into))
                    writer.add(frame)
                    if index == cut.end - 1:
                        writer.close()


class _Writer:
    """One clip being encoded: crop and scale in libavfilter, then H.264 in a faststart MP4."""

    def __init__(self, cut: Cut, first: av.VideoFrame, into: Path) -> None:
        import av
        import av.filter

        self.count, self.cut = 0, cut
        options = {"fflags": "+bitexact", "movflags": "+faststart"}
        self.container = av.open(str(into / f"{cut.name}.mp4"), "w", format="mp4", options=options)
        self.stream = self.container.add_stream("libx264", rate=cut.fps)
        self.stream.width, self.stream.height = cut.size
        self.stream.pix_fmt = "yuv420p"
        preset = "superfast" if cut.size[0] > 1920 else "veryfast"
        self.stream.options = {"crf": "23", "preset": preset, "flags": "+bitexact", "x264-params": REPEATABLE}
        self.stream.codec_context.thread_count = 1
        self.graph = av.filter.Graph()
        steps = [
            self.graph.add_buffer(
                width=first.width, height=first.height, format=first.format, time_base=Fraction(1, cut.fps)
            ),
            self.graph.add("crop", _window(cut, first.width, first.height)),
            self.graph.add("scale", f"{cut.size[0]}:{cut.size[1]}:flags=area+accurate_rnd+bitexact"),
            self.graph.add("format", "yuv420p"),
            self.graph.add("buffersink"),
        ]
        self.graph.link_nodes(*steps).configure()

    def add(self, frame: av.VideoFrame) -> None:
        import av

        frame.pts, frame.time_base = self.count, Fraction(1, self.cut.fps)
        self.graph.push(frame)
        picture = self.graph.pull()
        assert isinstance(picture, av.VideoFrame)
        picture.pict_type = 0  # the source's key frames are not ours
        self.container.mux(self.stream.encode(picture))
        self.count += 1

    def close(self) -> None:
        self.container.mux(self.stream.encode(None))
        self.container.close()


def _window(cut: Cut, width: int, height: int) -> str:
    """The crop filter's arguments in pixels; `n` counts frames."""
    x, y, w, h = cut.crop
    last_x, last_y = cut.to or (x, y)
    steps = max(1, cut.end - cut.start - 1)
    moving_x = f"{x * width:.3f}+n*{(last_x - x) * width / steps:.5f}"
    moving_y = f"{y * height:.3f}+n*{(last_y - y) * height / steps:.5f}"
    return f"w={round(w * width / 2) * 2}:h={round(h * height / 2) * 2}:x='{moving_x}':y='{moving_y}'"


# -- files that are not what they claim to be ---------------------------------------------------------------------------

_CONTAINERS = (b"moov", b"trak", b"mdia", b"minf", b"stbl")


class DamageError(ValueError):
    """The file is not built as the damage needs it."""


def truncated(data: bytes, share: float = 0.6) -> bytes:
    """The first part of an MP4 whose index comes first: it opens and plays, and then the pictures end."""
    if not 0 <= data.find(b"moov") < data.find(b"mdat"):
        raise DamageError("the index must come before the pictures, or nothing of the file would open")
    return data[: round(len(data) * share)]


def overdeclared(data: bytes, times: int = 2) -> bytes:
    """A whole MP4 whose time-to-sample table and durations promise `times` as many frames as are there."""
    out = bytearray(data)
    boxes = dict(_boxes(data, 0, len(data)))
    for name in (b"mvhd", b"tkhd", b"mdhd", b"stts"):
        if name not in boxes:
            raise DamageError(f"no {name.decode()} box")
    for name, offset in {b"mvhd": 16, b"tkhd": 20, b"mdhd": 16}.items():
        _multiply(out, boxes[name] + offset, times)  # durations of version 0
    entries = struct.unpack_from(">I", out, boxes[b"stts"] + 4)[0]
    for entry in range(entries):
        _multiply(out, boxes[b"stts"] + 8 + 8 * entry, times)
    return bytes(out)


def _multiply(data: bytearray, at: int, times: int) -> None:
    struct.pack_into(">I", data, at, struct.unpack_from(">I", data, at)[0] * times)


def _boxes(data: bytes, start: int, end: int) -> list[tuple[bytes, int]]:
    """(name, where its content begins) of every box, those inside the index's containers too."""
    boxes: list[tuple[bytes, int]] = []
    while start + 8 <= end:
        size, name = struct.unpack_from(">I4s", data, start)
        if size < 8:
            break  # sizes of 64 bits do not come up in files of this size
        boxes.append((name, start + 8))
        if name in _CONTAINERS:
            boxes += _boxes(data, start + 8, start + size)
        start += size
    return boxes

"""How a delivered file is opened: the one set of demuxer and decoder settings that clip identities rest on.

Whoever computes a frame digest opens the file here, so that the same bytes give the same pictures on every machine:
one thread, bit-exact transforms, strict about damage, local files only, and only containers that hold footage (a
playlist that names other files is refused, whatever its extension).
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from av import Packet
    from av.container import InputContainer
    from av.stream import Stream
    from av.video.stream import VideoStream

DEMUXERS = ("mov", "mp4", "matroska", "webm", "avi", "mpeg", "mpegts", "mpegvideo", "flv", "asf", "mxf", "dv", "ogg")
STRICT = "crccheck+bitstream+buffer+explode"  # a decoder that sees damage says so rather than painting over it


class NoVideoStream(ValueError):
    """The file holds no moving pictures; a cover picture beside a sound track is none."""


def open_container(path: Path, max_pixels: int | None = None, **more: str) -> InputContainer:
    """The demuxed file; `more` are options of the demuxer. Raises av.error.FFmpegError where it is no footage."""
    import av

    options = more | {"protocol_whitelist": "file", "format_whitelist": ",".join(DEMUXERS)}
    if max_pixels:
        options["max_pixels"] = str(max_pixels)
    return av.open(str(path), options=options, metadata_errors="replace")


def video_stream(container: InputContainer, max_pixels: int | None = None) -> VideoStream:
    """The first stream of moving pictures, its decoder set up. Raises NoVideoStream."""
    from av.codec.context import Flags
    from av.stream import Disposition

    for stream in container.streams.video:
        if stream.codec_context is not None and not stream.disposition & Disposition.attached_pic:
            stream.thread_type = "NONE"
            stream.codec_context.thread_count = 1
            stream.codec_context.flags |= Flags.bitexact
            bound = {"max_pixels": str(max_pixels)} if max_pixels else {}
            stream.codec_context.options = {"err_detect": STRICT, **bound}
            return stream
    raise NoVideoStream("no stream of moving pictures")


def is_of(packet: Packet, stream: Stream) -> bool:
    """Whether the packet belongs to the stream. The last packet of every stream, which flushes its decoder, carries the
    `stream_index` 0, whatever its stream."""
    return packet.stream.index == stream.index

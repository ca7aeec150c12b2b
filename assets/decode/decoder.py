"""Opening a delivered file, and one pass over its frames: digests, timestamps, damage, thumbnails, evidence of origin.

Clip identities rest on the settings of demuxer and decoder, so every frame digest is computed from a file opened here:
one thread, bit-exact transforms, strict about damage, local files only, and only containers that hold footage (a
playlist that names other files is refused, whatever its extension).

The pass measures and stops at the limits; `judgement` decides what that says about the file. Only the digest of a frame
is kept, so memory hardly grows with a file's length. Runs in the probe's worker process.
"""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from assets.decode.evidence import Evidence
from assets.decode.identity import DIGEST_BYTES, frame_digest
from assets.decode.process import Limits
from assets.decode.timeline import Timeline
from assets.reasons import Code

if TYPE_CHECKING:
    import av
    from av.container import InputContainer
    from av.stream import Stream
    from av.video.stream import VideoStream
    from PIL.Image import Image

DEMUXERS = ("mov", "mp4", "matroska", "webm", "avi", "mpeg", "mpegts", "mpegvideo", "flv", "asf", "mxf", "dv", "ogg")
STRICT = "crccheck+bitstream+buffer+explode"  # a decoder that sees damage says so rather than painting over it
THUMBNAIL_SIDE = 192
MAX_SIZES = 8  # different frame sizes that are remembered; one is normal
# what decoders that do not mark their frames as damaged say about damage, at the level of an error
DAMAGE = re.compile(
    r"\berror\b|damaged|concealing|invalid|corrupt|bad vlc|out of (range|components)|does not exist|alignment_bit"
    r"|mismatch|overread|too small",
    re.IGNORECASE,
)


# what demuxers say, at the same level, where parts of a container do not fit together: pictures may be skipped
STRUCTURE = re.compile(
    r"exceeds containing master|invalid as first byte|EBML number|Truncating packet|Invalid (EBML|element)|corrupt"
    r"|partial file|error reading",
    re.IGNORECASE,
)
TIMED_TOO = ("audio", "subtitle")  # streams that a header's length may be that of


class NoVideoStream(ValueError):
    """The file holds no moving pictures; a cover picture beside a sound track does not count."""


def open_container(path: Path, max_pixels: int | None = None, **more: str) -> InputContainer:
    """The demuxed file; `more` are options of the demuxer. Raises av.error.FFmpegError where it is not footage."""
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


def is_of(packet: av.Packet, stream: Stream) -> bool:
    """Whether the packet belongs to the stream. The last packet of every stream, which flushes its decoder, carries the
    `stream_index` 0, whatever its stream."""
    return packet.stream.index == stream.index


class Watcher(Protocol):
    """Measures what this pass decodes anyway. It raises nothing: its failures are not the file's fault."""

    def start(self, container: InputContainer, stream: VideoStream) -> None:
        """Called before the first packet; `stream` is that of the pictures."""

    def add_frame(self, picture: av.VideoFrame) -> None:
        """The next picture; valid until the next call."""

    def add_packet(self, packet: av.Packet) -> None:
        """The next packet of a stream of sound or subtitles."""


class TooMuch(Exception):
    """A limit on pictures was passed; carries the reason."""


@dataclass
class Complaints:
    """What the libraries said at the level of an error. Emptied as it is read: a hostile file says a lot."""

    lines: list[Any]
    damage: int = 0
    others: int = 0
    sample: str = ""
    structure: str = ""

    def read(self, decoder: str) -> None:
        """Sort and forget what was said since. Only the decoder's own words about pictures are damage."""
        for _, name, text in self.lines:
            if name == decoder and DAMAGE.search(text):
                self.damage += 1
            elif name != decoder and STRUCTURE.search(text):
                self.structure = self.structure or f"{name}: {text.strip()}"
            else:
                self.others += 1
                self.sample = self.sample or f"{name}: {text.strip()}"
        self.lines.clear()


@dataclass
class Decoded:
    """What one pass over the frames leaves behind."""

    complaints: Complaints
    digests: bytearray = field(default_factory=bytearray)  # `DIGEST_BYTES` a frame
    timeline: Timeline = field(default_factory=Timeline)
    evidence: Evidence = field(default_factory=Evidence)
    sizes: set[tuple[int, int]] = field(default_factory=set)
    format: str | None = None
    bits: int = 8
    rotation_deg: int = 0
    transfer: int = 0  # ITU-T H.273 transfer characteristics
    interlaced: int = 0  # frames that say so
    packets: int = 0
    until_s: float = 0.0  # where the last packet of any stream ends
    hidden: int = 0  # packets that an edit list says not to show
    errors: int = 0
    damaged: int = 0
    small: dict[int, Image] = field(default_factory=dict)  # candidates for thumbnails, by their frame

    @property
    def frames(self) -> int:
        return len(self.digests) // DIGEST_BYTES

    def take(self, frame: av.VideoFrame, middle: int) -> None:
        index = self.frames
        self.digests += frame_digest(frame)
        if len(self.sizes) < MAX_SIZES:
            self.sizes.add((frame.width, frame.height))
        self.damaged += bool(frame.is_corrupt)
        self.interlaced += bool(frame.interlaced_frame)
        if index == 0:
            self.format, self.rotation_deg = frame.format.name, round(frame.rotation) % 360
            self.bits = max(component.bits for component in frame.format.components)
            self.transfer = int(frame.color_trc or 0)
        base = frame.time_base or Fraction(0)
        self.timeline.add(None if frame.pts is None else frame.pts * base, (frame.duration or 0) * base)
        self.evidence.take(frame, self.timeline.now_s)
        # the length is not known yet: powers of two leave one near the middle when the header lies
        if index == middle or index & (index - 1) == 0:
            self.small[index] = small_picture(frame)

    def pictures(self) -> tuple[str, ...]:
        """The first frame and the kept one that is nearest to the middle, as WebP."""
        if not self.small:
            return ()
        middle = min(self.small, key=lambda index: abs(index - self.frames // 2))
        return tuple(base64.b64encode(webp(self.small[i])).decode() for i in sorted({0, middle}))


def small_picture(frame: av.VideoFrame) -> Image:
    """The frame with `THUMBNAIL_SIDE` on its long side, turned as its metadata asks."""
    scale = min(1.0, THUMBNAIL_SIDE / max(frame.width, frame.height))
    small = frame.reformat(max(2, round(frame.width * scale)), max(2, round(frame.height * scale)), "rgb24")
    turn = round(frame.rotation) % 360
    return small.to_image().rotate(turn, expand=True) if turn else small.to_image()


def webp(image: Image) -> bytes:
    out = io.BytesIO()
    image.save(out, "WEBP", quality=70)
    return out.getvalue()


def decode(
    container: InputContainer,
    stream: VideoStream,
    limits: Limits,
    log: list[Any],
    pulse: Callable[[], None],
    watcher: Watcher | None = None,
) -> Decoded:
    """Every packet through the decoder, in order. Raises TooMuch.

    `log` is where the libraries' complaints arrive; `pulse` is called for every frame, as a sign of life.
    """
    import av

    decoded, middle = Decoded(Complaints(log)), (stream.frames or 0) // 2
    if watcher:
        watcher.start(container, stream)
    log.clear()  # what was said while the file was opened concerns frames that are decoded again
    for packet in packets(container, stream, decoded, watcher):
        decoded.packets += bool(packet.size)
        decoded.hidden += bool(packet.is_discard)
        decoded.damaged += bool(packet.is_corrupt)
        try:
            frames = packet.decode()
        except (av.error.MemoryError, av.error.BlockingIOError) as error:
            raise TooMuch(out_of_memory(decoded)) from error
        except av.error.FFmpegError as error:
            # a codec may report a failed allocation as damage; then the file must not be blamed for it
            if not room_for(4 * stream.width * stream.height):
                raise TooMuch(out_of_memory(decoded)) from error
            refuse_unallocated([*log, error.log] if error.log else log, limits)
            decoded.errors += 1
            frames = []
        decoded.complaints.read(stream.codec_context.name)
        for frame in frames:
            refuse_excess(frame, decoded, limits)
            decoded.take(frame, middle)
            if watcher:
                watcher.add_frame(frame)
                log.clear()  # its complaints are none of this file's
            pulse()
    decoded.complaints.read(stream.codec_context.name)
    return decoded


def out_of_memory(decoded: Decoded) -> str:
    return Code.OUT_OF_MEMORY.because(f"the memory that one file may take is used up after {decoded.frames} frames")


def room_for(size: int) -> bool:
    """Whether this process may still take `size` bytes."""
    try:
        return len(bytearray(size)) == size
    except MemoryError:
        return False


def packets(
    container: InputContainer, stream: VideoStream, decoded: Decoded, watcher: Watcher | None = None
) -> Iterator[av.Packet]:
    """Demuxed packets of the pictures; those of sound and words are timed, and left to the watcher. A demuxer that gives
    up ends them, and counts as an error."""
    import av

    others = [other for other in container.streams if other.type in TIMED_TOO]
    source = container.demux(stream, *others)
    while True:
        try:
            packet = next(source)
        except StopIteration:
            return
        except av.error.FFmpegError:
            decoded.errors += 1
            return
        if packet.pts is not None and packet.time_base:
            end = float((packet.pts + (packet.duration or 0)) * packet.time_base)
            decoded.until_s = max(decoded.until_s, end)
        if is_of(packet, stream):
            yield packet
        elif watcher:
            decoded.complaints.read(stream.codec_context.name)
            watcher.add_packet(packet)
            decoded.complaints.lines.clear()  # a verdict is on the pictures: how the sound decodes does not count


def refuse_excess(frame: av.VideoFrame, decoded: Decoded, limits: Limits) -> None:
    if frame.width * frame.height > limits.pixels:
        raise TooMuch(too_many_pixels(f"{frame.width}x{frame.height}", limits))
    if decoded.frames >= limits.frames:
        raise TooMuch(Code.TOO_MANY_FRAMES.because(f"more than {limits.frames} frames"))
    if decoded.timeline.span_s > limits.duration_s:
        raise TooMuch(Code.TOO_LONG.because(f"frames after {limits.duration_s:g} s"))


def refuse_unallocated(log: list[Any], limits: Limits) -> None:
    """Raises TooMuch where the libraries themselves refused pictures over the limit, before any memory was taken."""
    for _, _, text in log:
        size = re.search(r"Picture size (\d+)x(\d+) (exceeds|is invalid)", text)
        if size and int(size[1]) * int(size[2]) > limits.pixels:
            raise TooMuch(too_many_pixels(f"{size[1]}x{size[2]}", limits))


def too_many_pixels(size: str, limits: Limits) -> str:
    return Code.TOO_MANY_PIXELS.because(f"{size}; at most {limits.pixels} pixels are taken")

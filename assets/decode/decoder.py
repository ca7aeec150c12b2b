"""One pass over every frame of an opened file: digest, timestamps, damage, thumbnails, evidence of its origin.

Measures, and stops at the limits; what the measurements say about the file is judged in `judgement`. Of a frame no more
is kept than its digest, so memory hardly grows with a file's length. Runs in the probe's worker.
"""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from typing import TYPE_CHECKING, Any, Protocol

from assets.decode.decoding import is_of
from assets.decode.evidence import Evidence
from assets.decode.identity import DIGEST_BYTES, frame_digest
from assets.decode.limits import Limits
from assets.decode.timeline import Timeline
from assets.reasons import Code

if TYPE_CHECKING:
    import av
    from av.container import InputContainer
    from av.video.stream import VideoStream
    from PIL.Image import Image

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


class Watcher(Protocol):
    """Whoever else looks at what this pass decodes. It raises nothing: a file is not judged by it."""

    def opened(self, container: InputContainer, stream: VideoStream) -> None:
        """Before the first packet; `stream` is that of the pictures."""

    def see(self, picture: av.VideoFrame) -> None:
        """The next picture; good until the next one comes."""

    def hear(self, packet: av.Packet) -> None:
        """The next packet of some stream of sound or words."""


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
    said: list[Any],
    pulse: Callable[[], None],
    watcher: Watcher | None = None,
) -> Decoded:
    """Every packet through the decoder, in order. Raises TooMuch.

    `said` is where the libraries' complaints arrive; `pulse` is called for every frame, as a sign of life.
    """
    import av

    found, middle = Decoded(Complaints(said)), (stream.frames or 0) // 2
    if watcher:
        watcher.opened(container, stream)
    said.clear()  # what was said while the file was opened concerns frames that are decoded again
    for packet in packets(container, stream, found, watcher):
        found.packets += bool(packet.size)
        found.hidden += bool(packet.is_discard)
        found.damaged += bool(packet.is_corrupt)
        try:
            frames = packet.decode()
        except (av.error.MemoryError, av.error.BlockingIOError) as error:
            raise TooMuch(out_of_memory(found)) from error
        except av.error.FFmpegError as error:
            # a codec may report a failed allocation as damage; then the file must not be blamed for it
            if not room_for(4 * stream.width * stream.height):
                raise TooMuch(out_of_memory(found)) from error
            refuse_unallocated([*said, error.log] if error.log else said, limits)
            found.errors += 1
            frames = []
        found.complaints.read(stream.codec_context.name)
        for frame in frames:
            refuse_excess(frame, found, limits)
            found.take(frame, middle)
            if watcher:
                watcher.see(frame)
                said.clear()  # its complaints are none of this file's
            pulse()
    found.complaints.read(stream.codec_context.name)
    return found


def out_of_memory(found: Decoded) -> str:
    return Code.OUT_OF_MEMORY.because(f"the memory that one file may take is used up after {found.frames} frames")


def room_for(size: int) -> bool:
    """Whether this process may still take `size` bytes."""
    try:
        return len(bytearray(size)) == size
    except MemoryError:
        return False


def packets(
    container: InputContainer, stream: VideoStream, found: Decoded, watcher: Watcher | None = None
) -> Iterator[av.Packet]:
    """Demuxed packets of the pictures; those of sound and words are timed, and left to the watcher. A demuxer that gives
    up ends them, and counts as an error."""
    import av

    others = [one for one in container.streams if one.type in TIMED_TOO]
    source = container.demux(stream, *others)
    while True:
        try:
            packet = next(source)
        except StopIteration:
            return
        except av.error.FFmpegError:
            found.errors += 1
            return
        if packet.pts is not None and packet.time_base:
            end = float((packet.pts + (packet.duration or 0)) * packet.time_base)
            found.until_s = max(found.until_s, end)
        if is_of(packet, stream):
            yield packet
        elif watcher:
            found.complaints.read(stream.codec_context.name)
            watcher.hear(packet)
            found.complaints.lines.clear()  # a verdict is on the pictures: how the sound decodes is no part of it


def refuse_excess(frame: av.VideoFrame, found: Decoded, limits: Limits) -> None:
    if frame.width * frame.height > limits.pixels:
        raise TooMuch(too_many_pixels(f"{frame.width}x{frame.height}", limits))
    if found.frames >= limits.frames:
        raise TooMuch(Code.TOO_MANY_FRAMES.because(f"more than {limits.frames} frames"))
    if found.timeline.span_s > limits.duration_s:
        raise TooMuch(Code.TOO_LONG.because(f"frames after {limits.duration_s:g} s"))


def refuse_unallocated(said: list[Any], limits: Limits) -> None:
    """Raises TooMuch where the libraries themselves refused pictures over the limit, before any memory was taken."""
    for _, _, text in said:
        size = re.search(r"Picture size (\d+)x(\d+) (exceeds|is invalid)", text)
        if size and int(size[1]) * int(size[2]) > limits.pixels:
            raise TooMuch(too_many_pixels(f"{size[1]}x{size[2]}", limits))


def too_many_pixels(size: str, limits: Limits) -> str:
    return Code.TOO_MANY_PIXELS.because(f"{size}; at most {limits.pixels} pixels are taken")

"""One pass over every frame of an opened file: digests, timestamps, damage, thumbnails. Runs in the probe's worker.

Measures, and stops at the limits; what the measurements say about the file is judged in `probe_worker`.
"""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from typing import TYPE_CHECKING

from assets.ingestion.identity import frame_digest
from assets.ingestion.probe import Limits
from assets.ingestion.reasons import Code

if TYPE_CHECKING:
    import av
    from av.container import InputContainer
    from av.video.stream import VideoStream

THUMBNAIL_SIDE = 192
# what decoders that do not mark their frames as damaged say about damage, at the level of an error
DAMAGE = re.compile(
    r"\berror\b|damaged|concealing|invalid|corrupt|bad vlc|out of (range|components)|does not exist|alignment_bit",
    re.IGNORECASE,
)


class TooMuch(Exception):
    """A limit on pictures was passed; carries the reason."""


@dataclass
class Decoded:
    """What one pass over the frames leaves behind."""

    digests: list[bytes] = field(default_factory=list)
    sizes: set[tuple[int, int]] = field(default_factory=set)
    format: str | None = None
    rotation_deg: int = 0
    first_s: Fraction | None = None
    last_s: Fraction | None = None
    last_length_s: Fraction = Fraction(0)
    packets: int = 0
    hidden: int = 0  # packets that an edit list says not to show
    errors: int = 0
    damaged: int = 0
    thumbnails: dict[int, bytes] = field(default_factory=dict)

    def take(self, frame: av.VideoFrame, middle: int) -> None:
        index = len(self.digests)
        self.digests.append(frame_digest(frame))
        self.sizes.add((frame.width, frame.height))
        self.damaged += bool(frame.is_corrupt)
        if index == 0:
            self.format, self.rotation_deg = frame.format.name, round(frame.rotation) % 360
        if frame.pts is not None and frame.time_base is not None:
            now = frame.pts * frame.time_base
            self.first_s = now if self.first_s is None else min(self.first_s, now)
            if self.last_s is None or now >= self.last_s:
                self.last_s, self.last_length_s = now, (frame.duration or 0) * frame.time_base
        # the length is not known yet: powers of two leave one near the middle when the header lies
        if index == middle or index & (index - 1) == 0:
            self.thumbnails[index] = thumbnail(frame)

    def pictures(self) -> tuple[str, ...]:
        """The first frame and the kept one that is nearest to the middle."""
        if not self.thumbnails:
            return ()
        middle = min(self.thumbnails, key=lambda index: abs(index - len(self.digests) // 2))
        return tuple(base64.b64encode(self.thumbnails[i]).decode() for i in sorted({0, middle}))

    def timing(self, nominal_fps: Fraction | None) -> tuple[float | None, float | None]:
        """(frames per second, seconds): from timestamps, or from the nominal rate where there are none."""
        count = len(self.digests)
        span = self.last_s - self.first_s if self.first_s is not None and self.last_s is not None else Fraction(0)
        fps = Fraction(count - 1) / span if span > 0 else nominal_fps
        if not count or not fps:
            return None, None
        if span <= 0:
            return round(float(fps), 6), round(float(count / fps), 6)
        return round(float(fps), 6), round(float(span + (self.last_length_s or 1 / fps)), 6)


def thumbnail(frame: av.VideoFrame) -> bytes:
    """A small WebP of the frame, turned as its metadata asks."""
    scale = min(1.0, THUMBNAIL_SIDE / max(frame.width, frame.height))
    small = frame.reformat(max(2, round(frame.width * scale)), max(2, round(frame.height * scale)), "rgb24")
    image = small.to_image()
    if turn := round(frame.rotation) % 360:
        image = image.rotate(turn, expand=True)
    out = io.BytesIO()
    image.save(out, "WEBP", quality=70)
    return out.getvalue()


def decode(container: InputContainer, stream: VideoStream, limits: Limits) -> Decoded:
    """Every packet through the decoder, in order. Raises TooMuch."""
    import av
    import av.logging

    found, middle = Decoded(), (stream.frames or 0) // 2
    with av.logging.Capture(local=False) as log:
        for packet in packets(container, stream, found):
            found.packets += bool(packet.size)
            found.hidden += bool(packet.is_discard)
            try:
                frames = packet.decode()
            except (av.error.MemoryError, av.error.BlockingIOError) as error:
                raise TooMuch(Code.OUT_OF_MEMORY.because(str(error))) from error
            except av.error.FFmpegError as error:
                # a codec may report a failed allocation as damage; then the file must not be blamed for it
                if not room_for(4 * stream.width * stream.height):
                    raise TooMuch(Code.OUT_OF_MEMORY.because(str(error))) from error
                found.errors += 1
                continue
            for frame in frames:
                refuse_excess(frame, len(found.digests) + 1, limits)
                found.take(frame, middle)
    if not found.errors + found.damaged:
        found.errors = sum(name == stream.codec_context.name and bool(DAMAGE.search(text)) for _, name, text in log)
    return found


def room_for(size: int) -> bool:
    """Whether this process may still take `size` bytes."""
    try:
        return len(bytearray(size)) == size
    except MemoryError:
        return False


def packets(container: InputContainer, stream: VideoStream, found: Decoded) -> Iterator[av.Packet]:
    """Demuxed packets; a demuxer that gives up ends them, and counts as an error."""
    import av

    source = container.demux(stream)
    while True:
        try:
            yield next(source)
        except StopIteration:
            return
        except av.error.FFmpegError:
            found.errors += 1
            return


def refuse_excess(frame: av.VideoFrame, count: int, limits: Limits) -> None:
    if frame.width * frame.height > limits.pixels:
        raise TooMuch(too_many_pixels(frame.width, frame.height, limits))
    if count > limits.frames:
        raise TooMuch(Code.TOO_MANY_FRAMES.because(f"more than {limits.frames} frames"))


def too_many_pixels(width: int, height: int, limits: Limits) -> str:
    return Code.TOO_MANY_PIXELS.because(f"{width}x{height}; at most {limits.pixels} pixels are taken")

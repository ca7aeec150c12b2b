"""The child process that decodes delivered files: `python -m assets.ingestion.probe_worker '<limits as JSON>'`.

Reads `{"path": ...}` lines, answers each with the JSON of a `ProbeResult`. It gives itself limits first, holds no
credentials, writes no file, and ends when its input does. Nothing else is imported here that a decode does not need.
"""

from __future__ import annotations

import base64
import io
import json
import os
import re
import resource
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from assets.ingestion.containers import promised_size
from assets.ingestion.decoding import NoVideoStream, open_container, video_stream
from assets.ingestion.identity import frame_digest, range_digest
from assets.ingestion.probe import READY, Limits, ProbeResult
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
HIDDEN_FRAMES = {"vp8", "libvpx"}  # packets of these codecs need not show anything


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
            except av.error.FFmpegError:
                found.errors += 1
                continue
            for frame in frames:
                refuse_excess(frame, len(found.digests) + 1, limits)
                found.take(frame, middle)
    if not found.errors + found.damaged:
        found.errors = sum(name == stream.codec_context.name and bool(DAMAGE.search(text)) for _, name, text in log)
    return found


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


def probe(path: Path, limits: Limits) -> ProbeResult:
    """The verdict on one file, as far as this process survives it."""
    import av

    reasons = []
    promised, size = promised_size(path), path.stat().st_size
    if promised is not None and promised > size:
        reasons.append(Code.TRUNCATED.because(f"the file ends at byte {size} of {promised}"))
    try:
        with open_container(path, limits.pixels) as container:
            return examine(path, container, limits, reasons)
    except NoVideoStream as error:
        reasons.append(Code.NO_VIDEO_STREAM.because(str(error)))
    except (av.error.MemoryError, av.error.BlockingIOError) as error:  # the latter: no memory for a thread
        reasons.append(Code.OUT_OF_MEMORY.because(str(error)))
    except av.error.FFmpegError as error:
        if reasons:  # the missing end explains it
            return ProbeResult(reasons=tuple(reasons))
        said = error.strerror or type(error).__name__
        reasons.append(Code.NOT_VIDEO.because(f"no footage container could be read ({said})"))
    return ProbeResult(reasons=tuple(reasons))


def examine(path: Path, container: InputContainer, limits: Limits, reasons: list[str]) -> ProbeResult:
    """Decode an opened file and compare what it holds with what it promises. Adds to `reasons`."""
    from assets.provenance import read_provenance

    stream = video_stream(container, limits.pixels)
    facts: dict[str, Any] = {
        "container": container.format.name,
        "codec": stream.codec_context.name,
        "frames_declared": stream.frames or None,
        "has_audio": bool(container.streams.audio),
    }
    width, height = stream.codec_context.width, stream.codec_context.height
    if width * height > limits.pixels:
        return ProbeResult(reasons=(*reasons, too_many_pixels(width, height, limits)), **facts)
    try:
        found = decode(container, stream, limits)
    except TooMuch as excess:
        return ProbeResult(reasons=(*reasons, str(excess)), **facts)
    fps, duration_s = found.timing(stream.average_rate or stream.guessed_rate)
    provenance = read_provenance(path)
    if found.digests:
        width, height = next(iter(found.sizes)) if len(found.sizes) == 1 else (width, height)
    reasons += damage(stream, found)
    if not reasons:  # a missing end or broken pictures explain what else is missing
        reasons += broken_promises(path, container, stream, found, duration_s)
    turned = found.rotation_deg % 180 == 90
    return ProbeResult(
        reasons=tuple(reasons),
        **facts,
        pixel_format=found.format,
        width=height if turned else width,
        height=width if turned else height,
        rotation_deg=found.rotation_deg,
        fps=fps,
        frames_decoded=len(found.digests),
        duration_s=duration_s,
        frames_sha256=range_digest(found.digests) if found.digests else None,
        decode_errors=found.errors + found.damaged,
        c2pa_state=provenance.state,
        c2pa_source_type=provenance.source_type,
        thumbnails=found.pictures(),
    )


def damage(stream: VideoStream, found: Decoded) -> Iterator[str]:
    """What a finished decode says against the pictures themselves."""
    if not found.digests:
        yield Code.NO_FRAMES.because("no frame decoded")
    elif found.packets - found.hidden - len(found.digests) > tolerated_gap(stream, found.packets):
        yield Code.FRAMES_MISSING.because(f"{len(found.digests)} frames came out of {found.packets} packets")
    if found.errors + found.damaged:
        yield Code.DECODE_ERRORS.because(f"{found.errors} packets failed to decode, {found.damaged} frames are damaged")
    if len(found.sizes) > 1:
        yield Code.SIZE_CHANGES.because("frames of " + ", ".join(f"{w}x{h}" for w, h in sorted(found.sizes)))


def tolerated_gap(stream: VideoStream, packets: int) -> int:
    """Packets that may show no frame of their own: a few at the start that lean on frames cut away, and where the
    container counts no frames a packet may be one of two fields."""
    if stream.codec_context.name in HIDDEN_FRAMES:
        return packets
    return max(8, packets // 50) if stream.frames else packets // 2 + 8


def broken_promises(
    path: Path, container: InputContainer, stream: VideoStream, found: Decoded, duration_s: float | None
) -> Iterator[str]:
    """What the header of a complete file promises beyond what is stored in it."""
    # what an edit list leaves out is stored, though it is neither demuxed nor shown
    if stream.frames > found.packets and (stored := stored_packets(path, stream.index)) < stream.frames:
        yield Code.OVERDECLARED_FRAMES.because(f"the header promises {stream.frames} frames; {stored} are stored")
    # the header's length is that of its longest stream: sound may go on
    declared_s = (container.duration or 0) / 1e6 if not container.streams.audio else 0.0
    if duration_s and declared_s > 1.1 * duration_s + 1.0:
        detail = f"the header promises {declared_s:.2f} s; {len(found.digests)} frames show {duration_s:.2f} s"
        yield Code.OVERDECLARED_DURATION.because(detail)


def stored_packets(path: Path, index: int) -> int:
    """Packets of a stream, those that an edit list hides too; nothing is decoded."""
    with open_container(path, ignore_editlist="1") as container:
        return sum(bool(packet.size) for packet in container.demux(container.streams[index]))


def limit_process(limits: Limits) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (limits.memory_bytes, limits.memory_bytes))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))


def limit_next_file(limits: Limits) -> None:
    """Processor time counts for the whole process, so each file moves the soft limit on."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    soft = int(used.ru_utime + used.ru_stime) + 1 + limits.cpu_s
    resource.setrlimit(resource.RLIMIT_CPU, (soft, resource.RLIM_INFINITY))


def silence() -> BinaryIO:
    """The descriptor for answers; nothing that a library prints can garble them, or fill a log, from here on."""
    answers = os.fdopen(os.dup(1), "wb", buffering=0)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for descriptor in (1, 2):
        os.dup2(nowhere, descriptor)
    return answers


def main() -> None:
    # an installation that lacks something fails here, in the open, before any file can be blamed for it
    import av.logging
    import c2pa  # noqa: F401

    limits = Limits(**json.loads(sys.argv[1]))
    av.logging.set_level(av.logging.ERROR)
    answers = silence()
    limit_process(limits)
    answers.write(READY + b"\n")
    for line in sys.stdin.buffer:
        limit_next_file(limits)
        try:
            result = probe(Path(json.loads(line)["path"]), limits)
        except MemoryError:
            result = ProbeResult.refused(Code.OUT_OF_MEMORY, f"more than {limits.memory_bytes} bytes were needed")
        except Exception as error:  # whatever a hostile file provokes in a library is a verdict on that file
            result = ProbeResult.refused(Code.CRASHED, f"{type(error).__name__}: {error}")
        answers.write(json.dumps(asdict(result)).encode() + b"\n")


if __name__ == "__main__":
    main()

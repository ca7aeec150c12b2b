"""What a finished decode says about a file: reasons against it, and traits to note. Measures nothing itself.

Damage comes first, then what the header promised beyond what is there: a missing end or broken pictures explain what
else is missing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from assets.decode.containers import Checksums, Index
from assets.reasons import Code

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.video.stream import VideoStream

    from assets.decode.decoder import Decoded

HIDDEN_FRAMES = {"vp8", "libvpx"}  # packets of these codecs need not show anything
STATE_LENGTH = {"mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm", "avi", "flv", "asf", "mxf"}
UNTIMED = {"mpegvideo"}  # coded pictures without a container: the demuxer counts them out at the nominal rate
HDR_TRANSFERS = {16: "PQ", 18: "HLG"}  # ITU-T H.273, table 3
LONG_EXTRA_S, LONG_FACTOR = 0.25, 1.05  # a header may promise a little more than there is: containers round


def damage(stream: VideoStream, decoded: Decoded, checksums: Checksums, cut: bool) -> Iterator[str]:
    """What speaks against the pictures themselves; that the file is `cut` off explains why its parts do not fit."""
    errors, damaged = decoded.errors, decoded.damaged
    if not decoded.frames:
        yield Code.NO_FRAMES.because(f"no frame decoded out of {decoded.packets} packets")
    elif decoded.packets - decoded.hidden - decoded.frames > tolerated_gap(stream, decoded.packets):
        yield Code.FRAMES_MISSING.because(f"{decoded.frames} frames came out of {decoded.packets} packets")
    if errors + damaged:
        yield Code.DECODE_ERRORS.because(f"{errors} packets failed to decode, {damaged} frames are damaged")
    elif decoded.complaints.damage:
        yield Code.DECODE_ERRORS.because(f"the decoder reports damage {decoded.complaints.damage} times")
    if decoded.complaints.structure and not cut:
        yield Code.BROKEN_STRUCTURE.because(decoded.complaints.structure)
    if checksums.broken_at is not None:
        yield Code.CHECKSUM.because(f"the part that begins at byte {checksums.broken_at} differs from its checksum")
    if len(decoded.sizes) > 1:
        yield Code.SIZE_CHANGES.because("frames of " + ", ".join(f"{w}x{h}" for w, h in sorted(decoded.sizes)))


def tolerated_gap(stream: VideoStream, packets: int) -> int:
    """Packets that may show no frame of their own: a few at the start that lean on frames cut away, and where the
    container counts no frames a packet may be one of two fields."""
    if stream.codec_context.name in HIDDEN_FRAMES:
        return packets
    return max(8, packets // 50) if stream.frames else packets // 2 + 8


def broken_promises(
    container: InputContainer,
    stream: VideoStream,
    decoded: Decoded,
    index: Index,
    stored: int,
    duration_s: float | None,
) -> Iterator[str]:
    """What the header of a complete file promises beyond what is in it. `stored` counts the stream's packets, those
    that an edit list leaves out too: they are there, though they are neither demuxed nor shown."""
    if stream.frames > stored:
        yield Code.OVERDECLARED_FRAMES.because(f"the header promises {stream.frames} frames; {stored} are stored")
    lasts = max(duration_s or 0.0, decoded.until_s) * max(1.0, stored / max(decoded.packets - decoded.hidden, 1))
    promised = promised_s(container, index)
    if stream.frames <= stored and duration_s and promised > LONG_FACTOR * lasts + LONG_EXTRA_S:
        detail = f"the header promises {promised:.2f} s; what is stored lasts {lasts:.2f} s"
        yield Code.OVERDECLARED_DURATION.because(detail)
    if decoded.frames == 1:
        yield Code.SINGLE_FRAME.because("the film is one picture")
    elif decoded.frames > 1 and not decoded.timeline.span_s and not decoded.timeline.untimed:
        yield Code.ZERO_DURATION.because(f"{decoded.frames} frames have one and the same time")


def promised_s(container: InputContainer, index: Index) -> float:
    """The length by the header: that of the longest stream. 0 where a container states none and it is a guess."""
    if container.format.name not in STATE_LENGTH:
        return 0.0
    return max(index.duration_s, (container.duration or 0) / 1e6)


def traits(
    container: InputContainer, stream: VideoStream, decoded: Decoded, index: Index, stored: int, foreign: int
) -> Iterator[tuple[Code, str]]:
    """What is unusual and no fault, each with its detail. `foreign` counts bytes after the container's end."""
    yield from _of_time(decoded, index, stored - decoded.packets + decoded.hidden)
    if container.format.name in UNTIMED:
        yield Code.MISSING_TIMESTAMPS, f"{container.format.name} stores none"
    yield from _of_pictures(stream, decoded)
    yield from _of_streams(container, stream)
    promised = promised_s(container, index)
    if promised and decoded.timeline.span_s > LONG_FACTOR * promised + LONG_EXTRA_S:
        yield (
            Code.UNDERDECLARED,
            f"the header promises {promised:.2f} s; pictures go on for {decoded.timeline.span_s:.2f} s",
        )
    if foreign:
        yield Code.FOREIGN_BYTES, f"{foreign} bytes after the container's end"
    if decoded.complaints.others:
        yield Code.COMPLAINTS, f"{decoded.complaints.others} times, first {decoded.complaints.sample}"


def _of_time(decoded: Decoded, index: Index, hidden: int) -> Iterator[tuple[Code, str]]:
    line = decoded.timeline
    if steps := line.irregular:
        yield Code.VARIABLE_FRAME_RATE, f"{steps[0]:.4f} to {steps[1]:.4f} s from frame to frame"
    if line.untimed:
        yield Code.MISSING_TIMESTAMPS, f"{line.untimed} of {line.count} frames carry no time"
    if line.backwards:
        yield Code.REPEATED_TIMESTAMPS, f"{line.backwards} frames are not later than the one before"
    if line.first_s is not None and line.first_s < 0:
        yield Code.NEGATIVE_TIMESTAMPS, f"the first frame is at {float(line.first_s):.3f} s"
    if hidden or index.edits > 1:
        yield Code.EDIT_LIST, f"{index.edits} entries hide {hidden} stored frames"


def _of_pictures(stream: VideoStream, decoded: Decoded) -> Iterator[tuple[Code, str]]:
    width, height = next(iter(decoded.sizes), (0, 0))
    if decoded.rotation_deg:
        yield Code.ROTATED, f"by {decoded.rotation_deg} degrees"
    if width % 2 or height % 2:
        yield Code.ODD_SIZE, f"{width}x{height}"
    ratio = stream.sample_aspect_ratio
    if ratio and ratio != 1:
        yield Code.NON_SQUARE_PIXELS, f"pixels of {ratio.numerator}:{ratio.denominator}"
    if decoded.interlaced:
        yield Code.INTERLACED, f"{decoded.interlaced} of {decoded.frames} frames are marked as two fields"
    if decoded.bits > 8:
        yield Code.HIGH_BIT_DEPTH, f"{decoded.bits} bits a sample"
    if decoded.transfer in HDR_TRANSFERS:
        yield Code.HDR, f"transfer function {HDR_TRANSFERS[decoded.transfer]}"


def _of_streams(container: InputContainer, stream: VideoStream) -> Iterator[tuple[Code, str]]:
    from av.stream import Disposition

    others = [other for other in container.streams.video if other.index != stream.index]
    covers = sum(bool(other.disposition & Disposition.attached_pic) for other in others)
    if len(others) > covers:
        yield Code.SEVERAL_VIDEO_STREAMS, f"{len(others) - covers} more streams of pictures"
    if covers:
        yield Code.COVER_PICTURE, f"{covers} cover pictures"
    kinds = Counter(other.type for other in container.streams)
    if count := kinds["subtitle"]:
        yield Code.SUBTITLES, f"{count} streams"
    if count := kinds["data"] + kinds["attachment"]:
        yield Code.DATA_STREAMS, f"{count} streams"


def sorted_traits(traits: Iterator[tuple[Code, str]], refused: tuple[str, ...]) -> tuple[list[str], list[str]]:
    """(reasons, notes): the policy's part in a verdict."""
    reasons: list[str] = []
    notes: list[str] = []
    for code, detail in traits:
        (reasons if code in refused else notes).append(code.because(detail))
    return reasons, notes


def no_pictures(container: InputContainer) -> str:
    """Why an opened file has no stream to decode."""
    streams: list[Any] = list(container.streams)
    if any(stream.type == "video" and stream.codec_context is None for stream in streams):
        return Code.UNKNOWN_CODEC.because("no decoder for the stream of pictures")
    if container.streams.video:
        return Code.COVER_PICTURE_ONLY.because("the only picture is a cover")
    if container.streams.audio:
        return Code.AUDIO_ONLY.because("sound and no picture")
    return Code.NO_VIDEO_STREAM.because(f"{len(streams)} streams, none of pictures")

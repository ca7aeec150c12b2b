"""The child process that decodes delivered files: `python -m assets.ingestion.probe_worker '<limits as JSON>'`.

Reads `{"path": ...}` lines, answers each with the JSON of a `ProbeResult`. It gives itself limits first, holds no
credentials, writes no file, and ends when its input does. Nothing else is imported here that a decode does not need.
"""

from __future__ import annotations

import json
import os
import resource
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from assets.ingestion.containers import promised_size
from assets.ingestion.decode_pass import Decoded, TooMuch, decode, too_many_pixels
from assets.ingestion.decoding import NoVideoStream, open_container, video_stream
from assets.ingestion.identity import range_digest
from assets.ingestion.probe import READY, Limits, ProbeResult
from assets.ingestion.reasons import Code

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.video.stream import VideoStream

HIDDEN_FRAMES = {"vp8", "libvpx"}  # packets of these codecs need not show anything


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
    if found.digests and min(width, height) < limits.side:
        reasons.append(Code.TOO_SMALL.because(f"{width}x{height}; a side has at least {limits.side} pixels"))
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

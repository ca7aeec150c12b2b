"""The child process that decodes delivered files: `python -m assets.ingestion.probe_worker '<limits as JSON>'`.

Reads `{"path": ...}` lines, answers each with the JSON of a `ProbeResult`. It gives itself limits first, holds no
credentials, writes no file, and ends when its input does. Nothing else is imported here that a decode does not need.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from assets.ingestion.containers import Index, extent, read_index
from assets.ingestion.decode_pass import TooMuch, decode, refuse_unallocated, too_many_pixels
from assets.ingestion.decoding import NoVideoStream, open_container, video_stream
from assets.ingestion.judgement import broken_promises, damage, no_pictures, sorted_traits, traits
from assets.ingestion.matroska import Checksums, compare_checksums
from assets.ingestion.probe import PULSE, PULSE_S, READY
from assets.ingestion.reasons import Code
from assets.ingestion.verdict import Limits, ProbeResult

if TYPE_CHECKING:
    from av.container import InputContainer


def probe(path: Path, limits: Limits, anchors: Path | None, pulse: Callable[[], None]) -> ProbeResult:
    """The verdict on one file, as far as this process survives it."""
    import av
    import av.logging

    reasons = []
    bounds, size = extent(path), path.stat().st_size
    if bounds is not None and bounds.promised > size:
        reasons.append(Code.TRUNCATED.because(f"the file ends at byte {size} of {bounds.promised}"))
    index = read_index(path)
    if index.locked:
        reasons.append(Code.ENCRYPTED.because("the index says that the pictures are encrypted"))
    if index.elsewhere:
        reasons.append(Code.EXTERNAL_DATA.because("the index refers to another file"))
    if index.locked or index.elsewhere:
        return ProbeResult(reasons=tuple(reasons))
    with av.logging.Capture(local=False) as said:
        try:
            with open_container(path, limits.pixels) as container:
                foreign = max(0, size - bounds.known) if bounds else 0
                return examine(path, container, limits, anchors, index, foreign, reasons, said, pulse)
        except TooMuch as excess:
            reasons.append(str(excess))
        except (av.error.MemoryError, av.error.BlockingIOError):  # the latter: no memory for a thread
            reasons.append(Code.OUT_OF_MEMORY.because("a header asks for more memory than one file may take"))
        except av.error.FFmpegError as error:
            if not reasons:  # else the missing end explains it
                reason = error.strerror or type(error).__name__
                reasons.append(Code.NOT_VIDEO.because(f"no footage container could be read ({reason})"))
    return ProbeResult(reasons=tuple(reasons))


def examine(
    path: Path,
    container: InputContainer,
    limits: Limits,
    anchors: Path | None,
    index: Index,
    foreign: int,
    reasons: list[str],
    said: list[Any],
    pulse: Callable[[], None],
) -> ProbeResult:
    """Decode an opened file and compare what it holds with what it promises. Adds to `reasons`.

    `index` is what an ISO file's index says; `foreign` counts bytes after the container's end; `said` receives what the
    libraries complain of.
    """
    from assets.provenance import read_provenance

    try:
        stream = video_stream(container, limits.pixels)
    except NoVideoStream:
        return ProbeResult(reasons=(*reasons, no_pictures(container)), container=container.format.name)
    facts: dict[str, Any] = {
        "container": container.format.name,
        "codec": stream.codec_context.name,
        "frames_declared": stream.frames or None,
        "has_audio": bool(container.streams.audio),
    }
    width, height = stream.codec_context.width, stream.codec_context.height
    if too := not_worth_decoding(width, height, stream.metadata, limits):
        return ProbeResult(reasons=(*reasons, too), **facts)
    try:
        refuse_unallocated(said, limits)
        found = decode(container, stream, limits, said, pulse)
    except TooMuch as excess:
        return ProbeResult(reasons=(*reasons, str(excess)), **facts)
    fps, duration_s = found.timeline.measured(stream.average_rate or stream.guessed_rate)
    provenance = read_provenance(path, anchors=anchors)
    if found.frames:
        width, height = next(iter(found.sizes)) if len(found.sizes) == 1 else (width, height)
    cut = bool(reasons)
    checksums = Checksums() if cut else compare_checksums(path)
    reasons += damage(stream, found, checksums, cut)
    stored = stored_packets(path, stream.index) if stream.frames > found.packets and not reasons else found.packets
    if not reasons:
        reasons += broken_promises(container, stream, found, index, stored, duration_s)
    if found.frames and min(width, height) < limits.side:
        reasons.append(too_small(width, height, limits))
    refused, notes = sorted_traits(traits(container, stream, found, index, stored, foreign), limits.refuse)
    turned = found.rotation_deg % 180 == 90
    return ProbeResult(
        reasons=(*reasons, *refused),
        notes=tuple(notes),
        **facts,
        pixel_format=found.format,
        width=height if turned else width,
        height=width if turned else height,
        rotation_deg=found.rotation_deg,
        fps=fps,
        frames_decoded=found.frames,
        duration_s=duration_s,
        frames_sha256=found.digest.hexdigest() if found.frames else None,
        decode_errors=found.errors + found.damaged + found.complaints.damage,
        integrity="checksums" if checksums.everywhere else "syntax",
        c2pa_state=provenance.state,
        c2pa_source_type=provenance.decisive_type,
        c2pa_detail=provenance.summary,
        spectral_peak_db=found.evidence.peak_db(),
        windows=tuple(asdict(window) for window in found.evidence.finish()),
        picture=(*found.evidence.grid, *found.evidence.corner, *found.evidence.extent),
        thumbnails=found.pictures(),
    )


def not_worth_decoding(width: int, height: int, metadata: Mapping[str, str], limits: Limits) -> str | None:
    """What the header says already, before memory is taken for any picture."""
    if width * height > limits.pixels:
        return too_many_pixels(f"{width}x{height}", limits)
    if width and height and min(width, height) < limits.side:
        return too_small(width, height, limits)
    if metadata.get("enc_key_id"):  # how the Matroska demuxer tells of encrypted contents
        return Code.ENCRYPTED.because("the stream of pictures names a decryption key")
    return None


def too_small(width: int, height: int, limits: Limits) -> str:
    return Code.TOO_SMALL.because(f"{width}x{height}; a side has at least {limits.side} pixels")


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
    limit_processor_time(limits.cpu_s)


def limit_processor_time(seconds: int) -> None:
    """How much more this process may use before it is ended."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    soft = int(used.ru_utime + used.ru_stime) + 1 + seconds
    resource.setrlimit(resource.RLIMIT_CPU, (soft, resource.RLIM_INFINITY))


def silence() -> BinaryIO:
    """The descriptor for answers; nothing that a library prints can garble them, or fill a log, from here on."""
    answers = os.fdopen(os.dup(1), "wb", buffering=0)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for descriptor in (1, 2):
        os.dup2(nowhere, descriptor)
    return answers


class Pulse:
    """Tells the parent, at most once in `PULSE_S`, that frames keep coming, and allows processor time for more."""

    def __init__(self, answers: BinaryIO, limits: Limits) -> None:
        self.answers, self.stall_cpu_s = answers, limits.stall_cpu_s
        self.start()

    def start(self) -> None:
        """A new file begins, or goes on."""
        self.last = time.monotonic()
        limit_processor_time(self.stall_cpu_s)

    def __call__(self) -> None:
        if time.monotonic() - self.last >= PULSE_S:
            self.answers.write(PULSE + b"\n")
            self.start()


def main() -> None:
    # an installation that lacks something fails here, in the open, before any file can be blamed for it
    import av.logging
    import c2pa  # noqa: F401

    limits = Limits.from_json(json.loads(sys.argv[1]))
    av.logging.set_level(av.logging.ERROR)
    av.logging.set_skip_repeated(False)  # else the last complaint about one file is told during the next
    answers = silence()
    limit_process(limits)
    answers.write(READY + b"\n")
    pulse = Pulse(answers, limits)
    for line in sys.stdin.buffer:
        pulse.start()
        try:
            request = json.loads(line)
            anchors = Path(request["anchors"]) if request.get("anchors") else None
            result = probe(Path(request["path"]), limits, anchors, pulse)
        except MemoryError:
            result = ProbeResult.refused(Code.OUT_OF_MEMORY, f"more than {limits.memory_bytes} bytes were needed")
        except Exception as error:  # whatever a hostile file provokes in a library is a verdict on that file
            result = ProbeResult.refused(Code.CRASHED, f"{type(error).__name__}: {error}")
        answers.write(json.dumps(asdict(result)).encode() + b"\n")


if __name__ == "__main__":
    main()

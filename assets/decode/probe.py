"""The child process that decodes delivered files: `python -m assets.decode.probe '<limits as JSON>'`.

Reads `{"path": ...}` lines and answers each with the JSON of a `ProbeResult`. `process` bounds it. Nothing is
imported here that a decode does not need.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from assets.decode.containers import Checksums, Index, compare_checksums, extent, read_index
from assets.decode.decoder import (
    Decoded,
    NoVideoStream,
    TooMuch,
    Watcher,
    decode,
    open_container,
    refuse_unallocated,
    too_many_pixels,
    video_stream,
)
from assets.decode.identity import range_digest
from assets.decode.judgement import broken_promises, damage, no_pictures, sorted_traits, traits
from assets.decode.probe_pool import ProbeResult
from assets.decode.process import Limits, serve
from assets.marks.c2pa import read_provenance
from assets.reasons import Code, printable

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.video.stream import VideoStream

POSITION_LENGTH = 120  # characters; ISO 6709 takes half


@dataclass(frozen=True)
class OpenedFile:
    """A file whose container was opened, with what is known of it before its frames are decoded."""

    path: Path
    container: InputContainer
    index: Index  # of an ISO file
    foreign_bytes: int  # after the container's end
    reasons: list[str]  # against it so far; filled on
    log: list[Any]  # receives what the libraries complain of


def probe(
    path: Path, limits: Limits, anchors: Path | None, pulse: Callable[[], None], watcher: Watcher | None = None
) -> ProbeResult:
    """The verdict on one file, as far as this process survives it. `watcher` is given what is decoded for it."""
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
    with av.logging.Capture(local=False) as log:
        try:
            with open_container(path, limits.pixels) as container:
                foreign_bytes = max(0, size - bounds.end) if bounds else 0
                file = OpenedFile(path, container, index, foreign_bytes, reasons, log)
                return examine(file, limits, anchors, pulse, watcher)
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
    file: OpenedFile, limits: Limits, anchors: Path | None, pulse: Callable[[], None], watcher: Watcher | None
) -> ProbeResult:
    """Decode an opened file and compare what it holds with what it promises."""
    container = file.container
    try:
        stream = video_stream(container, limits.pixels)
    except NoVideoStream:
        return ProbeResult(reasons=(*file.reasons, no_pictures(container)), container=container.format.name)
    header = _header_facts(container, stream)
    codec = stream.codec_context
    if refusal := not_worth_decoding(codec.width, codec.height, stream.metadata, limits):
        return ProbeResult(reasons=(*file.reasons, refusal), **header)
    try:
        refuse_unallocated(file.log, limits)
        decoded = decode(container, stream, limits, file.log, pulse, watcher)
    except TooMuch as excess:
        return ProbeResult(reasons=(*file.reasons, str(excess)), **header)
    provenance = read_provenance(file.path, anchors=anchors)
    width, height = next(iter(decoded.sizes)) if len(decoded.sizes) == 1 else (codec.width, codec.height)
    fps, duration_s = decoded.timeline.measured(stream.average_rate or stream.guessed_rate)
    checksums, stored = _compare(file, stream, decoded, duration_s)
    if decoded.frames and min(width, height) < limits.side:
        file.reasons.append(too_small(width, height, limits))
    found_traits = traits(container, stream, decoded, file.index, stored, file.foreign_bytes)
    refused, notes = sorted_traits(found_traits, limits.refuse)
    turned = decoded.rotation_deg % 180 == 90
    return ProbeResult(
        reasons=(*file.reasons, *refused),
        notes=tuple(notes),
        **header,
        **_decoded_facts(decoded),
        width=height if turned else width,
        height=width if turned else height,
        fps=fps,
        duration_s=duration_s,
        integrity="checksums" if checksums.everywhere else "syntax",
        c2pa_state=provenance.state,
        c2pa_source_type=provenance.decisive_type,
        c2pa_detail=provenance.summary,
    )


def _compare(
    file: OpenedFile, stream: VideoStream, decoded: Decoded, duration_s: float | None
) -> tuple[Checksums, int]:
    """Adds what speaks against the file; gives what its own checksums say, and how many packets are stored."""
    cut_off = bool(file.reasons)
    checksums = Checksums() if cut_off else compare_checksums(file.path)
    file.reasons.extend(damage(stream, decoded, checksums, cut_off))
    stored = decoded.packets
    if not file.reasons:
        if stream.frames > stored:
            stored = stored_packets(file.path, stream.index)
        file.reasons.extend(broken_promises(file.container, stream, decoded, file.index, stored, duration_s))
    return checksums, stored


def _header_facts(container: InputContainer, stream: VideoStream) -> dict[str, Any]:
    return {
        "container": container.format.name,
        "codec": stream.codec_context.name,
        "frames_declared": stream.frames or None,
        "has_audio": bool(container.streams.audio),
        "position": own_position(container.metadata),
    }


def _decoded_facts(decoded: Decoded) -> dict[str, Any]:
    evidence = decoded.evidence
    return {
        "pixel_format": decoded.format,
        "rotation_deg": decoded.rotation_deg,
        "frames_decoded": decoded.frames,
        "frames_sha256": range_digest(decoded.digests) if decoded.frames else None,
        "decode_errors": decoded.errors + decoded.damaged + decoded.complaints.damage,
        "spectral_peak_db": evidence.peak_db(),
        "windows": tuple(asdict(window) for window in evidence.finish()),
        "picture": (*evidence.grid, *evidence.corner, *evidence.extent),
        "thumbnails": decoded.pictures(),
        "frame_digests": base64.b64encode(decoded.digests).decode(),
    }


def not_worth_decoding(width: int, height: int, metadata: Mapping[str, str], limits: Limits) -> str | None:
    """What the header says already, before memory is taken for any picture."""
    if width * height > limits.pixels:
        return too_many_pixels(f"{width}x{height}", limits)
    if width and height and min(width, height) < limits.side:
        return too_small(width, height, limits)
    if metadata.get("enc_key_id"):  # how the Matroska demuxer tells of encrypted contents
        return Code.ENCRYPTED.because("the stream of pictures names a decryption key")
    return None


def own_position(metadata: Mapping[str, str]) -> str | None:
    """Where the container says that it was filmed, as it words it; what that means is judged with what was declared."""
    named = {name.lower(): text for name, text in metadata.items()}
    languages = sorted(name for name in named if name.startswith("location-"))
    for name in ("com.apple.quicktime.location.iso6709", "location", "recording_location", *languages):
        if text := named.get(name, "").strip():
            return printable(text, POSITION_LENGTH)
    return None


def too_small(width: int, height: int, limits: Limits) -> str:
    return Code.TOO_SMALL.because(f"{width}x{height}; a side has at least {limits.side} pixels")


def stored_packets(path: Path, index: int) -> int:
    """Packets of a stream, those that an edit list hides too; nothing is decoded."""
    with open_container(path, ignore_editlist="1") as container:
        return sum(bool(packet.size) for packet in container.demux(container.streams[index]))


def judge(
    request: Mapping[str, Any], limits: Limits, pulse: Callable[[], None], watcher: Watcher | None = None
) -> ProbeResult:
    """The verdict that is asked for; whatever a hostile file provokes in a library is a verdict on that file."""
    try:
        anchors = Path(request["anchors"]) if request.get("anchors") else None
        return probe(Path(request["path"]), limits, anchors, pulse, watcher)
    except MemoryError:
        return ProbeResult.refused(Code.OUT_OF_MEMORY, f"more than {limits.memory_bytes} bytes were needed")
    except Exception as error:
        return ProbeResult.refused(Code.CRASHED, f"{type(error).__name__}: {error}")


def answer(request: dict[str, Any], limits: Limits, pulse: Callable[[], None]) -> dict[str, Any]:
    """The JSON of a ProbeResult."""
    return asdict(judge(request, limits, pulse))


def prepare() -> None:
    """Set the libraries up as verdicts need them."""
    # an installation that lacks something fails here, in the open, before any file can be blamed for it
    import av.logging
    import c2pa  # noqa: F401

    av.logging.set_level(av.logging.ERROR)
    av.logging.set_skip_repeated(False)  # else the last complaint about one file is told during the next


def main() -> None:
    prepare()
    serve(answer)


if __name__ == "__main__":
    main()

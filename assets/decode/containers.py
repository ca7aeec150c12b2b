"""What a file's outer structure says by itself, before anything is decoded: its length, what its index admits, and checksums.

Knows ISO base media (mp4, mov), RIFF (avi), Matroska/WebM and transport streams; of others nothing is known. Every walk
is bounded; checksums are the only part that reads more than headers.
References: ISO/IEC 14496-12 sections 4.2, 8.2.2, 8.5.2, 8.6.6, 8.7.2; ISO/IEC 23001-7 section 4; ISO/IEC 13818-1 section
2.4.3; Microsoft RIFF; RFC 8794 sections 4 and 11.3.1; RFC 9559 section 5.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

MAX_BOXES = 100_000
FIRST_BOXES = {b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip", b"styp"}
NESTED_BOXES = {b"moov", b"trak", b"edts", b"mdia", b"minf", b"dinf", b"stbl"}
LOCKED_ENTRIES = {b"encv", b"drmi"}  # sample entries of encrypted pictures: common encryption, and an older scheme
SYNCHRONOUS = 5  # packets that must begin as transport packets do


@dataclass(frozen=True)
class Extent:
    """`promised`: bytes that the outer structure asks for; where the file has fewer, its end is missing.
    `end`: where the container ends; bytes after it belong to something else."""

    promised: int
    end: int


@dataclass(frozen=True)
class Index:
    """What an ISO file's index says: pictures are `locked`, are in another file, or are shown by `edits` entries, and
    the whole lasts `duration_s` (demuxers believe their own count rather than this)."""

    locked: bool = False
    elsewhere: bool = False
    edits: int = 0
    duration_s: float = 0.0


def extent(path: Path) -> Extent | None:
    """None where the container is unknown or promises nothing (a live recording)."""
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(12)
        if head[4:8] in FIRST_BOXES:
            return _iso_media(file, size)
        if head[:4] == b"RIFF" and len(head) >= 8:
            return _riff(file, size)
        if head[:4] == EBML:
            end = segment(file)[1]
            return None if end is None else Extent(end, end)
        if length := _packet_length(file):  # a transport stream has no length of its own, but whole packets
            return Extent(-(-size // length) * length, size)
    return None


def _packet_length(file: BinaryIO) -> int | None:
    """Bytes of a packet where the file begins as a transport stream does, plain or with time codes."""
    for length, start in ((188, 0), (192, 4), (204, 0)):
        file.seek(0)
        head = file.read(SYNCHRONOUS * length)
        if len(head) == SYNCHRONOUS * length and all(head[at] == 0x47 for at in range(start, len(head), length)):
            return length
    return None


def read_index(path: Path) -> Index:
    """The index of an ISO file; nothing said for any other."""
    size = path.stat().st_size
    locked = elsewhere = False
    edits, duration_s = 0, 0.0
    with path.open("rb") as file:
        if file.read(8)[4:] not in FIRST_BOXES:
            return Index()
        for kind, start, end in _boxes(file, 0, size):
            file.seek(start)
            content = file.read(min(end - start, 4096))
            if kind == b"stsd":
                locked |= content[12:16] in LOCKED_ENTRIES
            elif kind == b"dref" and len(content) >= 20:  # the entry's flags: 1 means "in this file"
                elsewhere |= content[12:16] in (b"url ", b"alis") and not content[19] & 1
            elif kind == b"elst" and len(content) >= 8:
                edits = max(edits, struct.unpack_from(">I", content, 4)[0])
            elif kind == b"mvhd" and len(content) >= 32:
                duration_s = _movie_seconds(content)
    return Index(locked, elsewhere, edits, duration_s)


def _movie_seconds(header: bytes) -> float:
    """The length in a movie header; 0 where it says that it is not known."""
    form, unknown = (">IQ", (1 << 64) - 1) if header[0] == 1 else (">II", (1 << 32) - 1)
    scale, length = struct.unpack_from(form, header, 20 if header[0] == 1 else 12)
    return 0.0 if length == unknown or not scale else length / scale


def _boxes(file: BinaryIO, start: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """(kind, where its content begins, where it ends) of every box that is reached by way of `NESTED_BOXES`."""
    waiting = [(start, end)]
    for _ in range(MAX_BOXES):
        if not waiting:
            return
        offset, limit = waiting.pop()
        file.seek(offset)
        header = file.read(16)
        if offset + 8 > limit or len(header) < 8:
            continue
        length, kind, skip = struct.unpack(">I", header[:4])[0], header[4:8], 8
        if length == 1 and len(header) == 16:
            length, skip = struct.unpack(">Q", header[8:])[0], 16
        until = limit if length == 0 else min(offset + length, limit)
        if until < offset + skip:
            continue
        yield kind, offset + skip, until
        waiting.append((until, limit))
        if kind in NESTED_BOXES:
            waiting.append((offset + skip, until))


def _riff(file: BinaryIO, size: int) -> Extent | None:
    """The end of the last list: files over a gigabyte have several. An unfinished recording leaves 0 or all ones; a
    last pad byte may be missing."""
    offset = 0
    for _ in range(MAX_BOXES):
        file.seek(offset)
        head = file.read(8)
        if head[:4] != b"RIFF" or len(head) < 8:
            break
        length = struct.unpack("<I", head[4:])[0]
        if length in (0, 0xFFFFFFFF):
            return None
        offset += 8 + length
        if offset >= size:
            break
        offset += offset % 2
    promised = size if offset == size + 1 else offset
    return Extent(promised, promised)


def _iso_media(file: BinaryIO, size: int) -> Extent:
    """The end of the last box. A box of size 0 runs to the end of the file; a header that is cut asks for its rest."""
    offset = 0
    for _ in range(MAX_BOXES):
        if offset >= size:
            return Extent(offset, offset)
        file.seek(offset)
        header = file.read(16)
        if len(header) < 8:
            return Extent(offset + 8, offset + 8)
        length = struct.unpack(">I", header[:4])[0]
        if length == 0:
            return Extent(size, size)
        if length == 1:
            if len(header) < 16:
                return Extent(offset + 16, offset + 16)
            length = struct.unpack(">Q", header[8:])[0]
        if length < 8 or not all(32 <= byte < 127 for byte in header[4:8]):  # not a box: left to the demuxer
            return Extent(size, offset)
        offset += length
    return Extent(size, offset)


# -- Matroska and WebM -----------------------------------------------------------------------------------------------


EBML, SEGMENT = b"\x1a\x45\xdf\xa3", b"\x18\x53\x80\x67"
CRC32 = 0xBF  # an element's checksum; the first of its children
CLUSTER, TRACKS = 0x1F43B675, 0x1654AE6B  # the parts that hold pictures, and what is needed to read them
CHECKED = {CLUSTER, TRACKS}
MAX_PARTS = 100_000
MAX_HEADER = 1 << 20  # bytes; real ones have about forty
CHUNK = 1 << 20


@dataclass(frozen=True)
class Checksums:
    """Whether checksums cover all pictures (`everywhere`), and where a part begins that does not match its own."""

    everywhere: bool = False
    broken_at: int | None = None


def compare_checksums(path: Path) -> Checksums:
    """Read what a file's own checksums cover and compare.

    Of all containers this one alone keeps any: a CRC-32 over each of the segment's parts, where the writer put one.
    """
    size, covered, clusters = path.stat().st_size, 0, 0
    with path.open("rb") as file:
        offset, end = segment(file) if file.read(4) == EBML else (None, None)
        if offset is None:
            return Checksums()
        end = min(size, end or size)
        for _ in range(MAX_PARTS):
            if offset >= end:
                break
            file.seek(offset)
            identity, length = _element_id(file), _variable_integer(file)
            start = file.tell()
            if identity is None or length is None or start >= end:
                break
            offset = start + length
            clusters += identity == CLUSTER
            if identity not in CHECKED or offset > end or _element_id(file) != CRC32 or _variable_integer(file) != 4:
                continue
            stored = struct.unpack("<I", file.read(4))[0]
            covered += identity == CLUSTER
            if _crc32(file, offset - file.tell()) != stored:
                return Checksums(broken_at=start)
    return Checksums(everywhere=0 < clusters == covered and offset >= end)


def _crc32(file: BinaryIO, length: int) -> int:
    value = 0
    while length > 0 and (data := file.read(min(length, CHUNK))):
        value, length = zlib.crc32(data, value), length - len(data)
    return value


def segment(file: BinaryIO) -> tuple[int | None, int | None]:
    """(where the Matroska segment's content begins, where it ends); None for what is not known."""
    file.seek(4)
    header = _variable_integer(file)
    if header is None or header > MAX_HEADER:
        return None, None
    file.seek(header, 1)
    if file.read(4) != SEGMENT:
        return None, None
    length = _variable_integer(file)
    return file.tell(), None if length is None else file.tell() + length


def _element_id(file: BinaryIO) -> int | None:
    """An EBML element's identity, its length marker included; None where it is cut or malformed."""
    first = file.read(1)
    if not first or first[0] < 0x10:
        return None
    rest = file.read(8 - first[0].bit_length())
    return int.from_bytes(first + rest, "big")


def _variable_integer(file: BinaryIO) -> int | None:
    """An EBML variable-size integer; None where it is cut, malformed or says `unknown`."""
    first = file.read(1)
    if not first or not first[0]:
        return None
    extra = 8 - first[0].bit_length()
    rest = file.read(extra)
    if len(rest) < extra:
        return None
    bits = 7 * (extra + 1)
    value = int.from_bytes(bytes([first[0] & ((1 << (7 - extra)) - 1)]) + rest, "big")
    return None if value == (1 << bits) - 1 else value

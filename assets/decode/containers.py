"""What a file's outer structure says by itself, before anything is decoded: its length, and what its index admits.

Knows ISO base media (mp4, mov), RIFF (avi), Matroska/WebM and transport streams; of others nothing is known. Every walk
is bounded and reads headers only.
References: ISO/IEC 14496-12 sections 4.2, 8.2.2, 8.5.2, 8.6.6, 8.7.2; ISO/IEC 23001-7 section 4; ISO/IEC 13818-1 section
2.4.3; Microsoft RIFF.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from assets.decode.matroska import EBML, segment

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

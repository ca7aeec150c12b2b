"""Matroska and WebM from the outside: where the segment ends, and the checksums that a writer put over its parts.

References: RFC 8794 sections 4 and 11.3.1; RFC 9559 section 5.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

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

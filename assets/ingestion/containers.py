"""How long a file says it is, by its outermost boxes alone: what tells a truncated file before anything is decoded.

Knows ISO base media (mp4, mov), RIFF (avi) and Matroska/WebM; other containers promise no length.
References: ISO/IEC 14496-12 section 4.2; RFC 8794 section 4; Microsoft RIFF.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import BinaryIO

MAX_BOXES = 100_000
FIRST_BOXES = {b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip", b"styp"}
EBML, SEGMENT = b"\x1a\x45\xdf\xa3", b"\x18\x53\x80\x67"


def promised_size(path: Path) -> int | None:
    """Bytes that the file's outer structure asks for; more than there are means that the end is missing.

    None where the container is unknown or promises nothing (a live stream).
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(12)
        if head[4:8] in FIRST_BOXES:
            return _iso_media(file, size)
        if head[:4] == b"RIFF" and len(head) >= 8:
            return _riff(struct.unpack("<I", head[4:8])[0], size)
        if head[:4] == EBML:
            return _matroska(file)
    return None


def _riff(length: int, size: int) -> int | None:
    """The end of the first list. An unfinished recording leaves 0 or all ones; a last pad byte may be missing."""
    if length in (0, 0xFFFFFFFF):
        return None
    return size if 8 + length == size + 1 else 8 + length


def _iso_media(file: BinaryIO, size: int) -> int:
    """The end of the last box. A box of size 0 runs to the end of the file; a header that is cut asks for its rest."""
    offset = 0
    for _ in range(MAX_BOXES):
        if offset >= size:
            return offset
        file.seek(offset)
        header = file.read(16)
        if len(header) < 8:
            return offset + 8
        length = struct.unpack(">I", header[:4])[0]
        if length == 0:
            return size
        if length == 1:
            if len(header) < 16:
                return offset + 16
            length = struct.unpack(">Q", header[8:])[0]
        if length < 8 or not all(32 <= byte < 127 for byte in header[4:8]):  # not a box: left to the demuxer
            return size
        offset += length
    return offset


def _matroska(file: BinaryIO) -> int | None:
    """The end of the segment, where its size is known."""
    file.seek(4)
    header = _variable_integer(file)
    if header is None:
        return None
    file.seek(header, 1)
    if file.read(4) != SEGMENT:
        return None
    length = _variable_integer(file)
    return None if length is None else file.tell() + length


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

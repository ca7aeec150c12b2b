"""Files that are not what they claim to be: cut off, or with a header that promises more than they hold."""

from __future__ import annotations

import struct

_CONTAINERS = (b"moov", b"trak", b"mdia", b"minf", b"stbl")


class DamageError(ValueError):
    """The file is not built as the damage needs it."""


def truncated(data: bytes, share: float = 0.6) -> bytes:
    """The first part of an MP4 whose index comes first: it opens and plays, and then the pictures end."""
    if not 0 <= data.find(b"moov") < data.find(b"mdat"):
        raise DamageError("the index must come before the pictures, or nothing of the file would open")
    return data[: round(len(data) * share)]


def overdeclared(data: bytes, times: int = 2) -> bytes:
    """A whole MP4 whose time-to-sample table and durations promise `times` as many frames as are there."""
    out = bytearray(data)
    boxes = dict(_boxes(data, 0, len(data)))
    for name in (b"mvhd", b"tkhd", b"mdhd", b"stts"):
        if name not in boxes:
            raise DamageError(f"no {name.decode()} box")
    for name, offset in {b"mvhd": 16, b"tkhd": 20, b"mdhd": 16}.items():
        _multiply(out, boxes[name] + offset, times)  # durations of version 0
    entries = struct.unpack_from(">I", out, boxes[b"stts"] + 4)[0]
    for entry in range(entries):
        _multiply(out, boxes[b"stts"] + 8 + 8 * entry, times)
    return bytes(out)


def _multiply(data: bytearray, at: int, times: int) -> None:
    struct.pack_into(">I", data, at, struct.unpack_from(">I", data, at)[0] * times)


def _boxes(data: bytes, start: int, end: int) -> list[tuple[bytes, int]]:
    """(name, where its content begins) of every box, those inside the index's containers too."""
    found: list[tuple[bytes, int]] = []
    while start + 8 <= end:
        size, name = struct.unpack_from(">I4s", data, start)
        if size < 8:
            break  # sizes of 64 bits do not come up in files of this size
        found.append((name, start + 8))
        if name in _CONTAINERS:
            found += _boxes(data, start + 8, start + size)
        start += size
    return found

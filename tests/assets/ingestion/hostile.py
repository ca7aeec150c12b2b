"""Files of every broken, hostile and merely unusual kind: `KINDS` names each with the verdict that it must get."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np

from assets.reasons import Code
from orchestration.demo.world import overdeclared, truncated
from tests.assets.ingestion import surgery
from tests.assets.ingestion.films import (
    FRAMES,
    cover,
    encode,
    faststart,
    moment,
    raw_packets,
    second_film,
    sound_and_cover,
    written,
)


@dataclass(frozen=True)
class Kind:
    """How a file is made, the reasons it must get (none: accepted), and the notes it must get among others."""

    make: Callable[[Path], Path]
    reasons: frozenset[Code] = frozenset()
    notes: frozenset[Code] = frozenset()


def refused(make: Callable[[Path], Path], *codes: Code) -> Kind:
    return Kind(make, reasons=frozenset(codes))


def noted(make: Callable[[Path], Path], *codes: Code) -> Kind:
    return Kind(make, notes=frozenset(codes))


KINDS: dict[str, Kind] = {
    "good": noted(lambda f: encode(f / "a.mp4")),
    "truncated": refused(lambda f: written(f / "b.mp4", truncated(faststart(f))), Code.TRUNCATED, Code.DECODE_ERRORS),
    "box beyond the end": refused(
        lambda f: written(f / "b.mp4", faststart(f) + struct.pack(">I4sQ", 1, b"mdat", 1 << 62)), Code.TRUNCATED
    ),
    "over-declared frames": refused(
        lambda f: written(f / "b.mp4", overdeclared(faststart(f, bf="0"))), Code.OVERDECLARED_FRAMES
    ),
    "endless duration header": refused(surgery.endless_header, Code.OVERDECLARED_DURATION),
    "endless timestamps": refused(lambda f: surgery.stretched(f, 1 << 30), Code.TOO_LONG),
    "all frames at once": refused(lambda f: surgery.stretched(f, 0), Code.ZERO_DURATION),
    "single frame": refused(lambda f: encode(f / "a.mp4", moment()[:1]), Code.SINGLE_FRAME),
    "bits flipped": refused(
        lambda f: written(f / "b.mkv", surgery.flipped(encode(f / "a.mp4").read_bytes(), 0.3, 0.5, 20)),
        Code.DECODE_ERRORS,
    ),
    "bit flipped under a checksum": refused(surgery.damaged_mkv, Code.CHECKSUM),
    "zero bytes": refused(lambda f: written(f / "a.mp4", b""), Code.EMPTY),
    "archive named as film": refused(surgery.zip_file, Code.NOT_VIDEO),
    "playlist named as film": refused(
        lambda f: written(f / "a.mp4", b"#EXTM3U\n#EXTINF:1,\nfile:///etc/hostname\n"), Code.NOT_VIDEO
    ),
    "film under another name": noted(
        lambda f: encode(f / "a.mkv", codec="mpeg4").rename(f / "a.mp4"),
    ),
    "encrypted": refused(surgery.encrypted, Code.ENCRYPTED),
    "encrypted Matroska": refused(surgery.encrypted_mkv, Code.ENCRYPTED),
    "pictures in another file": refused(surgery.elsewhere, Code.EXTERNAL_DATA),
    "unknown codec": refused(surgery.unknown_codec, Code.UNKNOWN_CODEC),
    "sound alone": refused(lambda f: sound_and_cover(f, with_cover=False), Code.AUDIO_ONLY),
    "sound with a cover": refused(lambda f: sound_and_cover(f, with_cover=True), Code.COVER_PICTURE_ONLY),
    "huge pictures": refused(surgery.bomb, Code.TOO_MANY_PIXELS),
    "thousands of tiny frames": refused(
        lambda f: encode(f / "a.avi", np.zeros((3000, 8, 8, 3), np.uint8), codec="mjpeg", pixel_format="yuvj420p"),
        Code.TOO_SMALL,
    ),
    "two sizes": refused(surgery.two_sizes, Code.SIZE_CHANGES, Code.DECODE_ERRORS),
    "variable frame rate": noted(
        lambda f: encode(f / "a.mkv", codec="mpeg4", times=[i * 40 + (i % 3) * 15 for i in range(FRAMES)]),
        Code.VARIABLE_FRAME_RATE,
    ),
    "missing timestamps": noted(surgery.bare_stream, Code.MISSING_TIMESTAMPS),
    "negative timestamps": noted(surgery.before_zero, Code.NEGATIVE_TIMESTAMPS),
    "repeated part": noted(surgery.repeated_part, Code.REPEATED_TIMESTAMPS),
    "edit list": noted(surgery.edited, Code.EDIT_LIST),
    "seek head that names itself": noted(surgery.looping),
    "rotated": noted(surgery.rotated, Code.ROTATED),
    "odd size": noted(
        lambda f: encode(f / "a.mp4", moment(width=161, height=97), pixel_format="yuv444p"), Code.ODD_SIZE
    ),
    "non-square pixels": noted(lambda f: encode(f / "a.mp4", shape=Fraction(4, 3)), Code.NON_SQUARE_PIXELS),
    "interlaced": noted(lambda f: encode(f / "a.mp4", **{"x264-params": "tff=1"}), Code.INTERLACED),
    "ten bits": noted(
        lambda f: encode(f / "a.mov", codec="prores_ks", pixel_format="yuv422p10le"), Code.HIGH_BIT_DEPTH
    ),
    "high dynamic range": noted(
        lambda f: encode(
            f / "a.mp4",
            codec="libx265",
            pixel_format="yuv420p10le",
            colours={"color_primaries": 9, "color_trc": 16, "colorspace": 9},
        ),
        Code.HDR,
        Code.HIGH_BIT_DEPTH,
    ),
    "several streams of pictures": noted(lambda f: encode(f / "a.mkv", beside=second_film), Code.SEVERAL_VIDEO_STREAMS),
    "film with a cover": noted(lambda f: encode(f / "a.mp4", beside=cover), Code.COVER_PICTURE),
    "subtitles": noted(lambda f: encode(f / "a.mkv", beside=raw_packets("subrip", b"words")), Code.SUBTITLES),
    "data stream": noted(lambda f: encode(f / "a.ts", beside=raw_packets("data", b"words")), Code.DATA_STREAMS),
    "parts that do not fit": refused(surgery.misfit, Code.BROKEN_STRUCTURE),
    "more than is promised": noted(surgery.several_times, Code.UNDERDECLARED),
    "transport stream cut within a packet": refused(
        lambda f: written(f / "b.ts", encode(f / "a.ts", codec="mpeg2video").read_bytes()[:-100]), Code.TRUNCATED
    ),
    "archive behind a film": noted(
        lambda f: written(f / "b.mp4", faststart(f) + b"PK\x03\x04\x00\x00\xff\xfe" * 32), Code.FOREIGN_BYTES
    ),
}

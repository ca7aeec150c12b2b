"""Files of every broken, hostile and merely unusual kind: `KINDS` names each with the verdict that it must get.

Makers damage films in the bytes that a container or a codec rests on; each writes one file into a folder and returns its
path.
"""

from __future__ import annotations

import random
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np

from assets.reasons import Code
from orchestration.demo.footage import overdeclared, truncated
from tests.assets.ingestion.films import (
    FPS,
    FRAMES,
    HEIGHT,
    WIDTH,
    cover,
    encode,
    faststart,
    moment,
    raw_packets,
    second_film,
    sound_and_cover,
    written,
)

# -- films damaged on purpose ----------------------------------------------------------------------------------------


def box(data: bytes, kind: bytes) -> int:
    """Offset of the first box of `kind`, its size field."""
    return data.index(kind) - 4


def patched(data: bytes, at: int, form: str, *values: int) -> bytes:
    out = bytearray(data)
    struct.pack_into(form, out, at, *values)
    return bytes(out)


def flipped(data: bytes, start: float, end: float, flips: int, seed: int = 7) -> bytes:
    """`data` with random bits flipped between two shares of its length."""
    out, rng = bytearray(data), random.Random(seed)
    for _ in range(flips):
        out[rng.randrange(int(len(out) * start), int(len(out) * end))] ^= 1 << rng.randrange(8)
    return bytes(out)


def encrypted(folder: Path) -> Path:
    key = {"encryption_scheme": "cenc-aes-ctr", "encryption_key": "00" * 16, "encryption_kid": "11" * 16}
    return encode(folder / "a.mp4", muxer=key)


def encrypted_mkv(folder: Path) -> Path:
    """A track entry that says that its contents are encrypted, and with which key."""

    def element(identity: str, content: bytes) -> bytes:
        return bytes.fromhex(identity) + bytes([0x80 | len(content)]) + content

    cipher = element("5035", element("47e1", b"\x05") + element("47e2", b"\x11" * 16))
    coding = element("5031", b"\x00") + element("5032", b"\x01") + element("5033", b"\x01") + cipher
    extra = element("6d80", element("6240", coding))
    data = encode(folder / "a.webm", codec="libvpx-vp9", **{"cpu-used": "8"}).read_bytes()
    tracks = data.rindex(b"\x16\x54\xae\x6b")  # the seek head names it before
    entry = data.index(b"\xae", tracks + 4)
    for at in (entry + 1, tracks + 4, data.index(b"\x18\x53\x80\x67") + 4):
        width = 9 - data[at].bit_length()
        size = int.from_bytes(data[at : at + width], "big") + len(extra)
        data = data[:at] + size.to_bytes(width, "big") + data[at + width :]
    start = entry + 1 + 9 - data[entry + 1].bit_length()
    return written(folder / "b.webm", data[:start] + extra + data[start:])


def rotated(folder: Path) -> Path:
    data = faststart(folder)
    return written(
        folder / "b.mp4", patched(data, box(data, b"tkhd") + 48, ">9i", 0, 1 << 16, 0, -(1 << 16), 0, 0, 0, 0, 1 << 30)
    )


def endless_header(folder: Path) -> Path:
    data = faststart(folder)
    for kind, offset in ((b"mvhd", 24), (b"tkhd", 28), (b"mdhd", 24)):
        data = patched(data, box(data, kind) + offset, ">I", 0xFFFFFFF0)
    return written(folder / "b.mp4", data)


def stretched(folder: Path, step: int) -> Path:
    """Every frame lasts `step` units of the time scale: none, or so many that the film never ends."""
    data = faststart(folder, bf="0").replace(b"edts", b"free")
    return written(folder / "b.mp4", patched(data, box(data, b"stts") + 20, ">I", step))


def bomb(folder: Path) -> Path:
    """Motion JPEG whose pictures say, in their own headers, that they are of 4 gigapixels."""
    data = encode(folder / "a.avi", codec="mjpeg", pixel_format="yuvj420p", q="4").read_bytes()
    return written(folder / "b.avi", data.replace(struct.pack(">HH", HEIGHT, WIDTH), struct.pack(">HH", 65500, 65500)))


def elsewhere(folder: Path) -> Path:
    """The index says that the pictures are in another file."""
    data = faststart(folder)
    return written(folder / "b.mp4", patched(data, box(data, b"url ") + 8, ">I", 0))


def looping(folder: Path) -> Path:
    """Every place that the Matroska seek head names is the seek head itself."""
    data = bytearray(encode(folder / "a.webm", codec="libvpx-vp9", **{"cpu-used": "8"}).read_bytes())
    at = data.index(b"\x53\xac")
    while at >= 0:
        length = data[at + 2] & 0x7F
        data[at + 3 : at + 3 + length] = bytes(length)
        at = data.find(b"\x53\xac", at + 3)
    return written(folder / "b.webm", bytes(data))


def before_zero(folder: Path) -> Path:
    """Every frame is shown before its own decoding time, the first ones before zero."""
    data = faststart(folder, bf="2").replace(b"edts", b"free")
    at = box(data, b"ctts") + 8
    data = patched(data, at, ">I", 1 << 24)  # version 1: signed
    for entry in range(struct.unpack_from(">I", data, at + 4)[0]):
        offset = at + 12 + 8 * entry
        data = patched(data, offset, ">i", struct.unpack_from(">i", data, offset)[0] - 8192)
    return written(folder / "b.mp4", data)


def repeated_part(folder: Path) -> Path:
    """The same stretch of coded film twice, with its times."""
    data = encode(folder / "a.webm", codec="libvpx-vp9", **{"cpu-used": "8"}).read_bytes()
    start = data.index(b"\x1f\x43\xb6\x75")
    end = data.index(b"\x1c\x53\xbb\x6b", start)
    segment = data.index(b"\x18\x53\x80\x67") + 4
    twice = data[:end] + data[start:end] + data[end:]
    size = int.from_bytes(data[segment : segment + 8], "big") + end - start
    return written(folder / "b.webm", twice[:segment] + size.to_bytes(8, "big") + twice[segment + 8 :])


def misfit(folder: Path) -> Path:
    """A Matroska cluster that ends within a picture that it holds."""
    data = encode(folder / "a.webm", codec="libvpx-vp9", **{"cpu-used": "8"}).read_bytes()
    at = data.index(b"\x1f\x43\xb6\x75") + 4
    width = 9 - data[at].bit_length()
    size = int.from_bytes(data[at : at + width], "big") - 40
    return written(folder / "b.webm", data[:at] + size.to_bytes(width, "big") + data[at + width :])


def several_times(folder: Path) -> Path:
    """The pictures of an AVI file thirty times, under a header that knows of one."""
    data = encode(folder / "a.avi", codec="mjpeg", pixel_format="yuvj420p", q="5").read_bytes()
    start, end = data.index(b"movi") - 8, data.index(b"idx1")
    return written(folder / "b.avi", data[:end] + data[start:end] * 30)


def edited(folder: Path) -> Path:
    """An edit list that starts after the first eight frames."""
    data = faststart(folder)
    at, scale = box(data, b"elst") + 16, struct.unpack_from(">I", data, box(data, b"mdhd") + 20)[0]
    length, start = struct.unpack_from(">Ii", data, at)
    return written(folder / "b.mp4", patched(data, at, ">Ii", length // 2, start + scale * 8 // FPS))


def damaged_mkv(folder: Path) -> Path:
    """A single bit of coded film in a Matroska file that keeps checksums, where the decoder sees nothing."""
    data = encode(folder / "a.mkv", codec="prores_ks", pixel_format="yuv422p10le").read_bytes()
    return written(folder / "b.mkv", flipped(data, 0.5, 0.6, 1))


def two_sizes(folder: Path) -> Path:
    first = encode(folder / "a.ts", codec="mpeg2video").read_bytes()
    second = encode(folder / "b.ts", moment(width=128, height=64), codec="mpeg2video").read_bytes()
    return written(folder / "c.ts", first + second)


def unknown_codec(folder: Path) -> Path:
    data = faststart(folder)
    return written(folder / "b.mp4", data.replace(b"avc1", b"zzzz").replace(b"avcC", b"zzzC"))


def bare_stream(folder: Path) -> Path:
    """Coded pictures without any container."""
    return encode(folder / "a.m2v", codec="mpeg2video")


def zip_file(folder: Path) -> Path:
    return written(folder / "a.mp4", b"PK\x03\x04" + zlib.compress(b"not a film" * 1000))


# -- every kind ------------------------------------------------------------------------------------------------------


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
    "endless duration header": refused(endless_header, Code.OVERDECLARED_DURATION),
    "endless timestamps": refused(lambda f: stretched(f, 1 << 30), Code.TOO_LONG),
    "all frames at once": refused(lambda f: stretched(f, 0), Code.ZERO_DURATION),
    "single frame": refused(lambda f: encode(f / "a.mp4", moment()[:1]), Code.SINGLE_FRAME),
    "bits flipped": refused(
        lambda f: written(f / "b.mkv", flipped(encode(f / "a.mp4").read_bytes(), 0.3, 0.5, 20)),
        Code.DECODE_ERRORS,
    ),
    "bit flipped under a checksum": refused(damaged_mkv, Code.CHECKSUM),
    "zero bytes": refused(lambda f: written(f / "a.mp4", b""), Code.EMPTY),
    "archive named as film": refused(zip_file, Code.NOT_VIDEO),
    "playlist named as film": refused(
        lambda f: written(f / "a.mp4", b"#EXTM3U\n#EXTINF:1,\nfile:///etc/hostname\n"), Code.NOT_VIDEO
    ),
    "film under another name": noted(
        lambda f: encode(f / "a.mkv", codec="mpeg4").rename(f / "a.mp4"),
    ),
    "encrypted": refused(encrypted, Code.ENCRYPTED),
    "encrypted Matroska": refused(encrypted_mkv, Code.ENCRYPTED),
    "pictures in another file": refused(elsewhere, Code.EXTERNAL_DATA),
    "unknown codec": refused(unknown_codec, Code.UNKNOWN_CODEC),
    "sound alone": refused(lambda f: sound_and_cover(f, with_cover=False), Code.AUDIO_ONLY),
    "sound with a cover": refused(lambda f: sound_and_cover(f, with_cover=True), Code.COVER_PICTURE_ONLY),
    "huge pictures": refused(bomb, Code.TOO_MANY_PIXELS),
    "thousands of tiny frames": refused(
        lambda f: encode(f / "a.avi", np.zeros((3000, 8, 8, 3), np.uint8), codec="mjpeg", pixel_format="yuvj420p"),
        Code.TOO_SMALL,
    ),
    "two sizes": refused(two_sizes, Code.SIZE_CHANGES, Code.DECODE_ERRORS),
    "variable frame rate": noted(
        lambda f: encode(f / "a.mkv", codec="mpeg4", times=[i * 40 + (i % 3) * 15 for i in range(FRAMES)]),
        Code.VARIABLE_FRAME_RATE,
    ),
    "missing timestamps": noted(bare_stream, Code.MISSING_TIMESTAMPS),
    "negative timestamps": noted(before_zero, Code.NEGATIVE_TIMESTAMPS),
    "repeated part": noted(repeated_part, Code.REPEATED_TIMESTAMPS),
    "edit list": noted(edited, Code.EDIT_LIST),
    "seek head that names itself": noted(looping),
    "rotated": noted(rotated, Code.ROTATED),
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
    "parts that do not fit": refused(misfit, Code.BROKEN_STRUCTURE),
    "more than is promised": noted(several_times, Code.UNDERDECLARED),
    "transport stream cut within a packet": refused(
        lambda f: written(f / "b.ts", encode(f / "a.ts", codec="mpeg2video").read_bytes()[:-100]), Code.TRUNCATED
    ),
    "archive behind a film": noted(
        lambda f: written(f / "b.mp4", faststart(f) + b"PK\x03\x04\x00\x00\xff\xfe" * 32), Code.FOREIGN_BYTES
    ),
}

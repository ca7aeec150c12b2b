"""Mutants of real films: a small moment of footage in ten containers and codecs, changed by eleven kinds of damage.

Mutant `n` is the same bytes in every run: its number is the seed, and chooses film and damage.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.assets.ingestion.films import encode

SHOWN = {"movflags": "faststart"}
FILMS: dict[str, dict[str, object]] = {
    "h264.mp4": {"muxer": SHOWN},
    "h264.mkv": {},
    "h264.ts": {},
    "hevc.mp4": {"codec": "libx265", "crf": "26"},
    "vp9.webm": {"codec": "libvpx-vp9", "cpu-used": "8", "crf": "34", "b": "0"},
    "av1.mp4": {"codec": "libsvtav1", "preset": "12", "crf": "38", "muxer": SHOWN},
    "mpeg4.avi": {"codec": "mpeg4", "q": "4"},
    "mjpeg.avi": {"codec": "mjpeg", "pixel_format": "yuvj420p", "q": "5"},
    "prores.mov": {"codec": "prores_ks", "pixel_format": "yuv422p10le"},
    "mpeg2.mpg": {"codec": "mpeg2video", "q": "4"},
}
MARKERS = (b"moov", b"trak", b"stbl", b"stsz", b"stts", b"stsc", b"stco", b"mdat", b"avcC", b"hvcC", b"elst")
MARKERS += (b"LIST", b"idx1", b"movi", b"strh", b"\x1f\x43\xb6\x75", b"\x16\x54\xae\x6b", b"\x1c\x53\xbb\x6b")
MARKERS += (b"\x00\x00\x01\xba", b"\x00\x00\x01\xb3", b"\x00\x00\x01\xe0", b"\x47\x40", b"\xff\xc0", b"icpf")

Damage = Callable[[bytes, random.Random], bytes]


def _flip(data: bytes, rng: random.Random, start: float, end: float, flips: int) -> bytes:
    out = bytearray(data)
    for _ in range(flips):
        out[rng.randrange(int(len(out) * start), max(1, int(len(out) * end)))] ^= 1 << rng.randrange(8)
    return bytes(out)


def _marker(data: bytes, rng: random.Random) -> int:
    """Where some part begins; anywhere in a film that has none of the usual ones."""
    places = [at for kind in MARKERS for at in [data.find(kind)] if at >= 0]
    return rng.choice(places) if places else rng.randrange(len(data))


def _length(data: bytes, rng: random.Random) -> bytes:
    at = max(0, _marker(data, rng) - rng.choice((4, 0)))
    value = rng.choice((0, 1, 7, 8, 0x7FFFFFFF, 0xFFFFFFFF, rng.getrandbits(32), rng.getrandbits(12)))
    return data[:at] + value.to_bytes(4, rng.choice(("big", "little"))) + data[at + 4 :]


def _run(data: bytes, rng: random.Random) -> tuple[int, int]:
    start = rng.randrange(len(data))
    return start, min(len(data), start + rng.randrange(1, 1 + len(data) // 8))


def _swap(data: bytes, rng: random.Random) -> bytes:
    (a, b), (c, d) = sorted((_run(data, rng), _run(data, rng)))
    return data if b > c else data[:a] + data[c:d] + data[b:c] + data[a:b] + data[d:]


def _repeat(data: bytes, rng: random.Random) -> bytes:
    start = max(0, _marker(data, rng) - 4)
    part = data[start : start + rng.choice((8, 64, 1024, len(data)))]
    return data[:start] + part * rng.choice((2, 3, 50)) + data[start + len(part) :]


def _garbage(data: bytes, rng: random.Random) -> bytes:
    start, end = _run(data, rng)
    return data[:start] + rng.randbytes(end - start) + data[end:]


def _zeros(data: bytes, rng: random.Random) -> bytes:
    start, end = _run(data, rng)
    return data[:start] + bytes(end - start) + data[end:]


def _remove(data: bytes, rng: random.Random) -> bytes:
    start, end = _run(data, rng)
    return data[:start] + data[end:]


DAMAGES: dict[str, Damage] = {
    "one bit anywhere": lambda data, rng: _flip(data, rng, 0, 1, 1),
    "bits of the first tenth": lambda data, rng: _flip(data, rng, 0, 0.1, rng.randrange(1, 6)),
    "bits of the pictures": lambda data, rng: _flip(data, rng, 0.3, 0.9, rng.randrange(1, 6)),
    "bits of the last tenth": lambda data, rng: _flip(data, rng, 0.9, 1, rng.randrange(1, 6)),
    "cut off": lambda data, rng: data[: rng.randrange(1, len(data))],
    "a length": _length,
    "two parts exchanged": _swap,
    "a part repeated": _repeat,
    "a part of noise": _garbage,
    "a part of zeros": _zeros,
    "a part missing": _remove,
}


@dataclass(frozen=True)
class Mutant:
    number: int
    film: str
    damage: str

    def bytes(self, films: dict[str, bytes]) -> bytes:
        return DAMAGES[self.damage](films[self.film], random.Random(self.number))


def make_films(folder: Path) -> dict[str, bytes]:
    return {name: encode(folder / name, **options).read_bytes() for name, options in FILMS.items()}  # type: ignore[arg-type]


def mutants(count: int) -> list[Mutant]:
    """Every film meets every damage in turn."""
    names, damages = list(FILMS), list(DAMAGES)
    return [Mutant(n, names[n % len(names)], damages[n // len(names) % len(damages)]) for n in range(count)]

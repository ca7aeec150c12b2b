"""What a probe may cost, and what it says: the two records that travel between the platform and its decoding workers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from assets.reasons import Code


@dataclass(frozen=True)
class Limits:
    """What one file may cost. 8192 x 4608 pixels are 8K; 864,000 frames are four hours at 60 a second.

    `side` is the shortest side that shows anything, in pixels. `cpu_s` and `wall_s` bound a whole file, so that a long
    film may take long; `stall_cpu_s` and `stall_s` bound the time between two signs of life, which only decoded frames
    give, so that one that hangs may not. `refuse` names the traits (`reasons.TRAITS`) that are refused, not noted.
    """

    file_bytes: int = 64 << 30
    pixels: int = 8192 * 4608
    side: int = 16
    frames: int = 864_000
    duration_s: float = 4 * 3600.0
    memory_bytes: int = 3 << 30
    cpu_s: int = 8 * 3600
    wall_s: float = 8 * 3600.0
    stall_cpu_s: int = 120
    stall_s: float = 300.0
    refuse: tuple[str, ...] = ()

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Limits:
        return cls(**{**values, "refuse": tuple(values["refuse"])})


@dataclass(frozen=True)
class ProbeResult:
    """Measured facts of one file; a field is None where it could not be measured. `reasons` empty means accepted.

    `notes` are traits of a file that are no fault. `integrity` says what would show a changed bit: `checksums` of the
    container's own over all pictures, or `syntax` alone, which many changes of a bit or two respect. `decode_errors`
    counts packets that failed and frames that are damaged. `windows` and `picture` are evidence for the watermark's
    reader (`evidence.Window`; picture is grid, corner and extent in blocks) and are not kept. `thumbnails` are WebP
    pictures (base64) of the first and a middle frame, for people. `frame_digests` (base64) name every frame
    (`identity.frame_digest`), one after the other; they are kept beside the verdict, not in it.
    """

    reasons: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    container: str | None = None
    codec: str | None = None
    pixel_format: str | None = None
    width: int | None = None
    height: int | None = None
    rotation_deg: int | None = None
    fps: float | None = None
    frames_declared: int | None = None
    frames_decoded: int | None = None
    duration_s: float | None = None
    frames_sha256: str | None = None
    has_audio: bool | None = None
    decode_errors: int | None = None
    integrity: str | None = None
    c2pa_state: str | None = None
    c2pa_source_type: str | None = None
    c2pa_detail: str | None = None
    spectral_peak_db: float | None = None
    watermark_log10_p: float | None = None
    watermark_payload: str | None = None
    position: str | None = None
    windows: tuple[dict[str, Any], ...] = field(default=(), repr=False)
    picture: tuple[int, ...] = field(default=(), repr=False)
    thumbnails: tuple[str, ...] = field(default=(), repr=False)
    frame_digests: str = field(default="", repr=False)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> ProbeResult:
        lists = {name: tuple(values[name]) for name in ("reasons", "notes", "windows", "picture", "thumbnails")}
        return cls(**{**values, **lists})

    @classmethod
    def refused(cls, code: Code, detail: str) -> ProbeResult:
        return cls(reasons=(code.because(detail),))

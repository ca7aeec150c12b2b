"""What a file really is: full decodes in bounded worker processes, remembered by content.

A worker that dies or hangs is replaced and its file gets a verdict. Results are kept in the store under the file's
SHA-256, so nothing is decoded twice. The processes are in `process`, the decoding itself is in `probe`.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

from assets.decode.identity import IDENTITY_VERSION
from assets.decode.process import ChildFailed, Children, Limits
from assets.reasons import Code, code_of
from assets.store import Store


@dataclass(frozen=True)
class ProbeResult:
    """Measured facts of one file; a field is None where it could not be measured. `reasons` empty means accepted.

    `notes` are traits, which refuse nothing. `integrity` says what would show a changed bit: `checksums` of the
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


PROBE_VERSION = "5"
COMMAND = (sys.executable, "-m", "assets.decode.probe")
MACHINE_MADE = {Code.CRASHED, Code.OUT_OF_MEMORY}
GARBLED = (KeyError, TypeError, AttributeError)  # what reading an answer raises when a file took the process over


class Beside(Protocol):
    """What else is taken from a file while it is decoded for its verdict, by a worker that does both."""

    @property
    def command(self) -> tuple[str, ...]:
        """Its worker answers `{"probe": <JSON of a ProbeResult>, "beside": <what it found> or null}`."""

    def request(self) -> Mapping[str, Any]:
        """What a request says besides the file."""

    def is_missing(self, store: Store, sha256: str) -> bool:
        """Whether the store has no result for this content yet."""

    def keep(self, store: Store, sha256: str, result: Mapping[str, Any]) -> None:
        """Store the result for accepted content."""


@dataclass(frozen=True)
class Examined:
    """The verdict on a file, and what was found beside it where that was asked for and the file is accepted."""

    result: ProbeResult
    beside: Mapping[str, Any] | None = None


class ProbePool(Children):
    """Probes files through workers that start when they are first needed. Use as a context manager."""

    def __init__(
        self,
        limits: Limits | None = None,
        workers: int | None = None,
        anchors: Path | None = None,
        beside: Beside | None = None,
    ) -> None:
        """`anchors` is a PEM file with the roots whose signatures under a file's provenance are trusted."""
        super().__init__(beside.command if beside else COMMAND, limits or Limits())
        self.anchors, self.beside = anchors, beside
        self.size = workers or min(os.cpu_count() or 1, 8)
        self.probed = 0  # files that a worker was asked about

    @property
    def version(self) -> str:
        """Names the probe in the cache: other limits and other trusted roots can give other verdicts."""
        roots = self.anchors.read_bytes() if self.anchors else b""
        if self.limits == Limits() and not roots:
            return PROBE_VERSION
        return f"{PROBE_VERSION}-{hashlib.sha256(repr(self.limits).encode() + roots).hexdigest()[:8]}"

    def probe(self, path: Path) -> ProbeResult:
        """The verdict on one file; never raises for what is in it."""
        return self.examine(path, alone=True).result

    def examine(self, path: Path, alone: bool = False) -> Examined:
        """The verdict, and unless it is asked for `alone`, what this pool takes beside it.

        The verdict is the same in either case: where a worker does not survive both, the file is probed alone.
        """
        if not (size := path.stat().st_size):
            return Examined(ProbeResult.refused(Code.EMPTY, "the file has no bytes"))
        if size > self.limits.file_bytes:
            much = f"{size} bytes; at most {self.limits.file_bytes} are taken"
            return Examined(ProbeResult.refused(Code.TOO_LARGE, much))
        with self._lock:
            self.probed += 1
        request = {"path": str(path), "anchors": str(self.anchors) if self.anchors else None}
        if self.beside and not alone:
            try:
                return self._read(self.ask({**request, **self.beside.request()}))
            except (ChildFailed, *GARBLED):
                pass
        try:
            return self._read(self.ask(request))
        except ChildFailed as failure:
            return Examined(ProbeResult.refused(failure.code, str(failure)))
        except GARBLED:
            return Examined(ProbeResult.refused(Code.CRASHED, "the decoder's answer is not a verdict"))

    def _read(self, answer: Any) -> Examined:
        if self.beside is None:
            return Examined(ProbeResult.from_json(answer))
        return Examined(ProbeResult.from_json(answer["probe"]), answer["beside"])


def cache_key(sha256: str, version: str) -> str:
    return f"cache/probe/{version}/{sha256[:2]}/{sha256}.json"


def remembered(store: Store, sha256: str, version: str) -> ProbeResult | None:
    """The verdict on content that this version of the probe saw before."""
    key = cache_key(sha256, version)
    return ProbeResult.from_json(json.loads(store.get(key))) if store.exists(key) else None


def remember(store: Store, sha256: str, version: str, result: ProbeResult) -> None:
    """Keep a verdict, unless the machine rather than the file may be to blame for it.

    Whoever cuts an accepted file into clips names them by the frames' digests that are kept with it.
    """
    if machine_made(result):
        return
    if result.frame_digests and not result.reasons:
        store.put(digests_key(sha256), base64.b64decode(result.frame_digests))
    kept = replace(result, frame_digests="")
    store.put(cache_key(sha256, version), json.dumps(asdict(kept), sort_keys=True).encode())


def machine_made(result: ProbeResult) -> bool:
    """Whether the machine rather than the file may be to blame for a verdict."""
    return bool(MACHINE_MADE & {code_of(reason) for reason in result.reasons})


def digests_key(sha256: str) -> str:
    """Where the digests of a file's frames are (`identity.frame_digest`), one after the other, as bytes."""
    return f"cache/frames/{IDENTITY_VERSION}/{sha256[:2]}/{sha256}.bin"

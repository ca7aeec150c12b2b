"""What a file really is: full decodes in bounded worker processes, remembered by content.

A worker that dies or hangs is replaced and its file gets a verdict. Results are kept in the store under the file's
SHA-256, so nothing is decoded twice. The processes are in `assets.workers`, the decoding itself is in `probe_worker`.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import sys
from dataclasses import asdict, replace
from pathlib import Path

from assets.ingestion.identity import IDENTITY_VERSION
from assets.ingestion.reasons import Code, code_of
from assets.ingestion.verdict import Limits, ProbeResult
from assets.store import Store
from assets.workers.child import ChildFailed, Children

PROBE_VERSION = "4"
COMMAND = (sys.executable, "-m", "assets.ingestion.probe_worker")
MACHINE_MADE = {Code.CRASHED, Code.OUT_OF_MEMORY}


class ProbePool(Children):
    """Probes files through workers that start when they are first needed. Use as a context manager."""

    def __init__(self, limits: Limits | None = None, workers: int | None = None, anchors: Path | None = None) -> None:
        """`anchors` is a PEM file with the roots whose signatures under a file's provenance are trusted."""
        super().__init__(COMMAND, limits or Limits())
        self.anchors = anchors
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
        if not (size := path.stat().st_size):
            return ProbeResult.refused(Code.EMPTY, "the file has no bytes")
        if size > self.limits.file_bytes:
            return ProbeResult.refused(Code.TOO_LARGE, f"{size} bytes; at most {self.limits.file_bytes} are taken")
        with self._lock:
            self.probed += 1
        request = {"path": str(path), "anchors": str(self.anchors) if self.anchors else None}
        try:
            return ProbeResult.from_json(self.ask(request))
        except ChildFailed as failure:
            return ProbeResult.refused(failure.code, str(failure))
        except (KeyError, TypeError, AttributeError):  # a file took the process over
            return ProbeResult.refused(Code.CRASHED, "the decoder's answer is no verdict")


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
    if MACHINE_MADE & {code_of(reason) for reason in result.reasons}:
        return
    if result.frame_digests and not result.reasons:
        store.put(digests_key(sha256), base64.b64decode(result.frame_digests))
    kept = replace(result, frame_digests="")
    store.put(cache_key(sha256, version), json.dumps(asdict(kept), sort_keys=True).encode())


def digests_key(sha256: str) -> str:
    """Where the digests of a file's frames are (`identity.frame_digest`), one after the other, as bytes."""
    return f"cache/frames/{IDENTITY_VERSION}/{sha256[:2]}/{sha256}.bin"

"""What a file really is: full decodes in bounded worker processes, remembered by content.

Files are hostile until proven otherwise, so none is opened in this process. A worker decodes one file after another
under limits of memory, processor time and wall time; a worker that dies or hangs is replaced and its file gets a
verdict. Results are kept in the store under the file's SHA-256, so nothing is decoded twice. The decoding itself is
in `probe_worker`.
"""

from __future__ import annotations

import hashlib
import json
import os
import select
import signal
import subprocess
import sys
import threading
import time
from dataclasses import asdict
from pathlib import Path

from assets.ingestion.reasons import Code, code_of
from assets.ingestion.verdict import Limits, ProbeResult
from assets.store import Store

PROBE_VERSION = "3"
FILES_PER_WORKER = 200  # then a fresh one: what a decoder leaks stays small
START_S = 120.0
MACHINE_MADE = {Code.CRASHED, Code.OUT_OF_MEMORY}
READY = b"ready"  # a worker's first line
PULSE, PULSE_S = b"pulse", 2.0  # the line of a worker that is still decoding, and how often it comes
PASSED_ON = ("PATH", "PYTHONPATH", "LANG", "LC_ALL", "TMPDIR", "HOME")  # no credentials reach a worker


class WorkerFailed(Exception):
    """The worker died or hung over a file; `code` says which."""

    def __init__(self, code: Code, detail: str) -> None:
        super().__init__(detail)
        self.code = code


class ProbeUnavailable(RuntimeError):
    """No worker starts: the installation is at fault, not a file, so nothing gets a verdict."""


class Worker:
    """One child process that probes one file at a time."""

    def __init__(self, limits: Limits) -> None:
        self.limits, self.files = limits, 0
        self.process = launch(limits)
        self.buffer = b""
        try:
            if self._line(START_S) == READY:
                return
        except WorkerFailed as failure:
            self.close()
            raise ProbeUnavailable(f"the probe's worker process does not start: {failure}") from failure
        raise ProbeUnavailable("the probe's worker process does not speak its protocol")

    def probe(self, path: Path, anchors: Path | None = None) -> ProbeResult:
        """Raises WorkerFailed; the worker is then of no more use."""
        self.files += 1
        assert self.process.stdin is not None
        request = {"path": str(path), "anchors": str(anchors) if anchors else None}
        end = time.monotonic() + self.limits.wall_s
        try:
            self.process.stdin.write(json.dumps(request).encode() + b"\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            raise self._death() from None
        while (line := self._line(min(self.limits.stall_s, end - time.monotonic()))) == PULSE:
            pass
        return ProbeResult.from_json(json.loads(line))

    def _line(self, seconds: float) -> bytes:
        """The next line that the worker writes. Raises WorkerFailed after `seconds`."""
        assert self.process.stdout is not None
        deadline = time.monotonic() + seconds
        while b"\n" not in self.buffer:
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([self.process.stdout], [], [], left)[0]:
                raise WorkerFailed(Code.TIMEOUT, f"no sign of life for {seconds:.1f} s")
            chunk = os.read(self.process.stdout.fileno(), 1 << 16)
            if not chunk:
                raise self._death()
            self.buffer += chunk
        line, self.buffer = self.buffer.split(b"\n", 1)
        return line

    def _death(self) -> WorkerFailed:
        status = self.process.wait()
        if status == -signal.SIGXCPU:
            return WorkerFailed(Code.TIMEOUT, f"no frame within {self.limits.stall_cpu_s} s of processor time")
        how = f"signal {signal.Signals(-status).name}" if status < 0 else f"exit status {status}"
        return WorkerFailed(Code.CRASHED, f"the decoder ended with {how}")

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                pipe.close()


def launch(limits: Limits) -> subprocess.Popen[bytes]:
    """Start a worker; it limits itself, and ends when this process does.

    It inherits stderr until it has started, so that a failed start can be read in the run's log.
    """
    environment = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
    return subprocess.Popen(
        [sys.executable, "-m", "assets.ingestion.probe_worker", json.dumps(asdict(limits))],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=environment | {"OMP_NUM_THREADS": "1"},
        bufsize=0,
    )


class ProbePool:
    """Probes files through workers that start when they are first needed. Use as a context manager."""

    def __init__(self, limits: Limits | None = None, workers: int | None = None, anchors: Path | None = None) -> None:
        """`anchors` is a PEM file with the roots whose signatures under a file's provenance are trusted."""
        self.limits, self.anchors = limits or Limits(), anchors
        self.size = workers or min(os.cpu_count() or 1, 8)
        self.probed = 0  # files that a worker was asked about
        self._idle: list[Worker] = []
        self._alive: set[Worker] = set()
        self._closed = False
        self._lock = threading.Lock()

    @property
    def version(self) -> str:
        """Names the probe in the cache: other limits and other trusted roots can give other verdicts."""
        roots = self.anchors.read_bytes() if self.anchors else b""
        if self.limits == Limits() and not roots:
            return PROBE_VERSION
        return f"{PROBE_VERSION}-{hashlib.sha256(repr(self.limits).encode() + roots).hexdigest()[:8]}"

    def __enter__(self) -> ProbePool:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End all workers, busy ones too; whoever waits for one gets ProbeUnavailable."""
        with self._lock:
            self._closed = True
            for worker in self._alive:
                worker.process.kill()
        while self._idle:
            self._idle.pop().close()

    def probe(self, path: Path) -> ProbeResult:
        """The verdict on one file; never raises for what is in it.

        A crash is tried once more in a fresh worker, because the file before may have caused it.
        """
        if not (size := path.stat().st_size):
            return ProbeResult.refused(Code.EMPTY, "the file has no bytes")
        if size > self.limits.file_bytes:
            return ProbeResult.refused(Code.TOO_LARGE, f"{size} bytes; at most {self.limits.file_bytes} are taken")
        with self._lock:
            self.probed += 1
        for last in (False, True):
            worker = self._take()
            try:
                result = worker.probe(path, self.anchors)
            except WorkerFailed as failure:
                self._end(worker)
                if self._closed:
                    raise ProbeUnavailable("the probe was closed") from failure
                if last or failure.code is Code.TIMEOUT:
                    return ProbeResult.refused(failure.code, str(failure))
            except BaseException:
                self._end(worker)
                raise
            else:
                self._give_back(worker)
                return result
        raise AssertionError("unreachable: the second failure returns")

    def _take(self) -> Worker:
        with self._lock:
            if self._closed:
                raise ProbeUnavailable("the probe was closed")
            if self._idle:
                return self._idle.pop()
        worker = Worker(self.limits)
        with self._lock:
            self._alive.add(worker)
        return worker

    def _give_back(self, worker: Worker) -> None:
        if worker.files >= FILES_PER_WORKER:
            self._end(worker)
            return
        with self._lock:
            self._idle.append(worker)

    def _end(self, worker: Worker) -> None:
        with self._lock:
            self._alive.discard(worker)
        worker.close()


def cache_key(sha256: str, version: str) -> str:
    return f"cache/probe/{version}/{sha256[:2]}/{sha256}.json"


def remembered(store: Store, sha256: str, version: str) -> ProbeResult | None:
    """The verdict on content that this version of the probe saw before."""
    key = cache_key(sha256, version)
    return ProbeResult.from_json(json.loads(store.get(key))) if store.exists(key) else None


def remember(store: Store, sha256: str, version: str, result: ProbeResult) -> None:
    """Keep a verdict, unless the machine rather than the file may be to blame for it."""
    if not MACHINE_MADE & {code_of(reason) for reason in result.reasons}:
        store.put(cache_key(sha256, version), json.dumps(asdict(result), sort_keys=True).encode())

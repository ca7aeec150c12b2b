"""A small pool of processes that measure files, so that no file can hurt this process or its neighbours.

What belongs here: starting, asking, timing and replacing workers. A file whose worker dies is tried once more in a
fresh one (the file before may have caused it), then given up with a reason, as one that takes too long is at once.
"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from assets.ingestion.probe import PASSED_ON, Limits

WORKERS = 2


@dataclass(frozen=True)
class Job:
    """One file to measure; `key` names it in the answers."""

    key: str
    path: Path
    faces: Path | None
    plugins: Mapping[str, Path] = field(default_factory=dict)


class WorkerLost(RuntimeError):
    """The process died or did not answer in time. It is of no more use."""

    def __init__(self, what: str, hung: bool = False) -> None:
        super().__init__(what)
        self.hung = hung


class Worker:
    def __init__(self, limits: Limits, command: tuple[str, ...]) -> None:
        self._wall_s = limits.wall_s
        environment = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
        self._process = subprocess.Popen(
            [*command, json.dumps(asdict(limits))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
            bufsize=0,
        )
        self._buffer = b""

    def ask(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """The answer to one request; raises WorkerLost."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(request).encode() + b"\n")
        except BrokenPipeError:
            raise self._death() from None
        return json.loads(self._line())

    def _line(self) -> bytes:
        assert self._process.stdout is not None
        deadline = time.monotonic() + self._wall_s
        while b"\n" not in self._buffer:
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([self._process.stdout], [], [], left)[0]:
                raise WorkerLost(f"not measured within {self._wall_s:g} s", hung=True)
            chunk = os.read(self._process.stdout.fileno(), 1 << 16)
            if not chunk:
                raise self._death()
            self._buffer += chunk
        line, self._buffer = self._buffer.split(b"\n", 1)
        return line

    def _death(self) -> WorkerLost:
        status = self._process.wait()
        how = f"signal {signal.Signals(-status).name}" if status < 0 else f"exit status {status}"
        return WorkerLost(f"the measuring process ended with {how}")

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()


class Pool:
    """Measures jobs in `size` processes. Use as a context manager; workers start when they are first needed."""

    def __init__(
        self,
        limits: Limits | None = None,
        size: int = WORKERS,
        command: tuple[str, ...] = (sys.executable, "-m", "assets.curation.worker"),
    ) -> None:
        self._limits, self._size, self._command = limits or Limits(), size, command
        self._idle: list[Worker] = []
        self._lock = threading.Lock()

    def __enter__(self) -> Pool:
        return self

    def __exit__(self, *_: object) -> None:
        while self._idle:
            self._idle.pop().close()

    def measure_all(self, jobs: Iterable[Job]) -> Iterator[tuple[str, dict[str, Any]]]:
        """(key, answer) as they come; a lost worker's answer is `{"error": ...}`."""
        with ThreadPoolExecutor(self._size) as threads:
            asked = {threads.submit(self.measure, job): job.key for job in jobs}
            try:
                for done in as_completed(asked):
                    yield asked[done], done.result()
            finally:
                for future in asked:
                    future.cancel()

    def measure(self, job: Job) -> dict[str, Any]:
        request = {
            "path": str(job.path),
            "faces": str(job.faces) if job.faces else None,
            "plugins": {name: str(model) for name, model in job.plugins.items()},
        }
        problem = ""
        for _ in range(2):
            worker = self._take()
            try:
                found = worker.ask(request)
            except WorkerLost as lost:
                worker.close()
                problem = str(lost)
                if lost.hung:
                    break
            except BaseException:
                worker.close()
                raise
            else:
                with self._lock:
                    self._idle.append(worker)
                return found
        return {"error": problem}

    def _take(self) -> Worker:
        with self._lock:
            if self._idle:
                return self._idle.pop()
        return Worker(self._limits, self._command)

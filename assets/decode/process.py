"""Child processes that open hostile files, so that no file can hurt this process or its neighbours: the parent's side.

What belongs here: starting, asking, timing and replacing children. Files are hostile until proven otherwise, so none is
opened in this process. A child takes one file after another under limits of memory, processor time and wall time. It
may take long over a long file, and says that it is alive while it does; one that is silent is stuck. The child's own
side is in `worker`.
"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import threading
import time
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, Self

from assets.decode.limits import Limits
from assets.reasons import Code

FILES_PER_CHILD = 200  # then a fresh one: what a decoder leaks stays small
START_S = 120.0
ANSWER_BYTES = 256 << 20
READY = b"ready"  # a child's first line
PULSE, PULSE_S = b"pulse", 2.0  # the line of a child that is still decoding, and how often it comes
PASSED_ON = ("PATH", "PYTHONPATH", "LANG", "LC_ALL", "TMPDIR", "HOME")  # no credentials reach a child


class ChildFailed(Exception):
    """The child died or hung over a file; `code` says which."""

    def __init__(self, code: Code, detail: str) -> None:
        super().__init__(detail)
        self.code = code

    @property
    def reason(self) -> str:
        return self.code.because(str(self))


class Unavailable(RuntimeError):
    """No child starts, or the pool was closed: the installation is at fault, not a file, so nothing gets a verdict."""


class Child:
    """One process that is asked about one file at a time."""

    def __init__(self, command: tuple[str, ...], limits: Limits) -> None:
        self.limits, self.files = limits, 0
        self.process = launch(command, limits)
        self._buffer = bytearray()
        try:
            if self._line(START_S) == READY:
                return
        except ChildFailed as failure:
            self.close()
            raise Unavailable(f"{' '.join(command[1:])}: the worker process does not start: {failure}") from failure
        self.close()
        raise Unavailable(f"{' '.join(command[1:])}: the worker process does not speak its protocol")

    def ask(self, request: Mapping[str, Any]) -> Any:
        """The answer, as JSON has it. Raises ChildFailed; the child is then of no more use."""
        self.files += 1
        assert self.process.stdin is not None
        end = time.monotonic() + self.limits.wall_s
        try:
            self.process.stdin.write(json.dumps(request).encode() + b"\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            raise self._death() from None
        while (line := self._line(min(self.limits.stall_s, end - time.monotonic()))) == PULSE:
            pass
        try:
            return json.loads(line)
        except ValueError:  # a file took the process over
            raise ChildFailed(Code.CRASHED, "the decoder's answer cannot be read") from None

    def _line(self, seconds: float) -> bytes:
        """The next line that the child writes. Raises ChildFailed after `seconds`."""
        assert self.process.stdout is not None
        deadline = time.monotonic() + seconds
        answers = select.poll()  # not select(), which takes no descriptor from 1,024 on
        answers.register(self.process.stdout, select.POLLIN)
        searched = 0
        while (end := self._buffer.find(b"\n", searched)) < 0:
            searched = len(self._buffer)
            left = deadline - time.monotonic()
            if left <= 0 or not answers.poll(left * 1000):
                raise ChildFailed(Code.TIMEOUT, f"no sign of life for {seconds:.1f} s")
            chunk = os.read(self.process.stdout.fileno(), 1 << 16)
            if not chunk:
                raise self._death()
            self._buffer += chunk
            if len(self._buffer) > ANSWER_BYTES:
                raise ChildFailed(Code.CRASHED, "the decoder's answer does not end")
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 1]
        return line

    def _death(self) -> ChildFailed:
        status = self.process.wait()
        if status == -signal.SIGXCPU:
            limits = self.limits
            spent = f"{limits.stall_cpu_s} s for one frame or {limits.cpu_s} s for all"
            return ChildFailed(Code.TIMEOUT, f"more processor time than {spent}")
        how = f"signal {signal.Signals(-status).name}" if status < 0 else f"exit status {status}"
        return ChildFailed(Code.CRASHED, f"the decoder ended with {how}")

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                pipe.close()


def launch(command: tuple[str, ...], limits: Limits) -> subprocess.Popen[bytes]:
    """Start a child; it limits itself, and ends when this process does.

    It inherits stderr until it has started, so that a failed start can be read in the run's log.
    """
    environment = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
    return subprocess.Popen(
        [*command, json.dumps(asdict(limits))],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=environment | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
        bufsize=0,
    )


class Children:
    """Child processes that start when they are first needed. Use as a context manager, from as many threads as wanted."""

    def __init__(self, command: tuple[str, ...], limits: Limits) -> None:
        self.command, self.limits = command, limits
        self._idle: list[Child] = []
        self._alive: set[Child] = set()
        self._closed = False
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End all children, busy ones too; whoever waits for one gets Unavailable."""
        with self._lock:
            self._closed = True
            for child in self._alive:
                child.process.kill()
        while self._idle:
            self._idle.pop().close()

    def ask(self, request: Mapping[str, Any]) -> Any:
        """The answer of some child. Raises ChildFailed where the request is given up, and Unavailable.

        A crash is tried once more in a fresh child, because the file before may have caused it.
        """
        for last in (False, True):
            child = self._take()
            try:
                answer = child.ask(request)
            except ChildFailed as failure:
                self._end(child)
                if self._closed:
                    raise Unavailable("the worker processes were ended") from failure
                if last or failure.code is Code.TIMEOUT:
                    raise
            except BaseException:
                self._end(child)
                raise
            else:
                self._give_back(child)
                return answer
        raise AssertionError("unreachable: the second failure is raised")

    def _take(self) -> Child:
        with self._lock:
            if self._closed:
                raise Unavailable("the worker processes were ended")
            if self._idle:
                return self._idle.pop()
        child = Child(self.command, self.limits)
        with self._lock:
            if not self._closed:
                self._alive.add(child)
                return child
        child.close()
        raise Unavailable("the worker processes were ended")

    def _give_back(self, child: Child) -> None:
        if child.files >= FILES_PER_CHILD:
            self._end(child)
            return
        with self._lock:
            self._idle.append(child)

    def _end(self, child: Child) -> None:
        with self._lock:
            self._alive.discard(child)
        child.close()

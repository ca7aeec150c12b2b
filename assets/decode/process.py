"""Child processes that open hostile files, so that no file can hurt this process or its neighbours.

Files are hostile until proven otherwise, so none is opened in the parent. A child takes one file after another under
limits of memory, processor time and wall time. It may take long over a long file, and says that it is alive while it
does; one that is silent is stuck.

`python -m <module of the work> ... '<limits as JSON>'` reads one JSON request a line and answers each with one JSON line.
It gives itself limits first, holds no credentials, writes no file, and ends when its input does.
"""

from __future__ import annotations

import json
import os
import resource
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, BinaryIO, Self

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


# -- the parent's side -----------------------------------------------------------------------------------------------


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


# -- the child's side ------------------------------------------------------------------------------------------------


def serve(answer: Callable[[dict[str, Any], Limits, Callable[[], None]], Any]) -> None:
    """Answer requests until there are no more.

    `answer` is given a request, the limits, and a pulse to call after every frame. It gives plain JSON values, and
    raises nothing for what is in a file.
    """
    limits = Limits.from_json(json.loads(sys.argv[-1]))
    answers = silence()
    limit_process(limits)
    answers.write(READY + b"\n")
    pulse = Pulse(answers, limits)
    for line in sys.stdin.buffer:
        pulse.start_file()
        answers.write(json.dumps(answer(json.loads(line), limits, pulse)).encode() + b"\n")


def limit_process(limits: Limits) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (limits.memory_bytes, limits.memory_bytes))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))


def silence() -> BinaryIO:
    """The descriptor for answers; nothing that a library prints can garble them, or fill a log, from here on."""
    answers = os.fdopen(os.dup(1), "wb", buffering=0)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for descriptor in (1, 2):
        os.dup2(nowhere, descriptor)
    return answers


class Pulse:
    """Tells the parent, at most once in `PULSE_S`, that frames keep coming, and allows processor time for more.

    Processor time counts for the whole process, so every file, and every pulse within it, moves the soft limit on.
    """

    def __init__(self, answers: BinaryIO, limits: Limits) -> None:
        self.answers, self.limits = answers, limits
        self.start_file()

    def start_file(self) -> None:
        self._file_ends = cpu_seconds() + self.limits.cpu_s
        self._go_on()

    def _go_on(self) -> None:
        self._last = time.monotonic()
        soft = 1 + min(cpu_seconds() + self.limits.stall_cpu_s, self._file_ends)
        resource.setrlimit(resource.RLIMIT_CPU, (soft, resource.RLIM_INFINITY))

    def __call__(self) -> None:
        if time.monotonic() - self._last < PULSE_S:
            return
        try:
            self.answers.write(PULSE + b"\n")
        except BrokenPipeError:  # nobody waits for the answer any more
            os._exit(1)
        self._go_on()


def cpu_seconds() -> int:
    """What this process has used, rounded down."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return int(used.ru_utime + used.ru_stime)

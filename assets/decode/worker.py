"""What a child process does besides its work: it limits itself, answers line by line, and says that it is alive.

`python -m <module of the work> ... '<limits as JSON>'` reads one JSON request a line and answers each with one JSON line.
It gives itself limits first, holds no credentials, writes no file, and ends when its input does. The parent's side is
in `process`; nothing is imported here that a decode does not need.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import time
from collections.abc import Callable
from typing import Any, BinaryIO

from assets.decode.limits import Limits
from assets.decode.process import PULSE, PULSE_S, READY


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

"""What a piece of work costs: processor time and memory of this process and its children. Standard library alone: the
processes of peers import this too."""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any


def cpu_s() -> float:
    """Of this process and of its children that have ended."""
    return sum(
        used.ru_utime + used.ru_stime
        for used in (resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN))
    )


def peak_mib() -> float:
    """The most memory that this process or one of its children ever held. Not `ru_maxrss` for this process: that
    begins with what its parent held."""
    own = next(line.split()[1] for line in Path("/proc/self/status").read_text().splitlines() if "VmHWM" in line)
    return round(max(int(own), resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss) / 1024, 1)


def timed(work: Callable[[], Any]) -> tuple[Any, dict[str, float]]:
    """What the work gave, and the seconds of the processor and of the clock that it took in this process."""
    cpu, wall = time.process_time(), time.perf_counter()
    found = work()
    return found, {"cpu_s": round(time.process_time() - cpu, 2), "wall_s": round(time.perf_counter() - wall, 2)}


def answer(work: Callable[[], Any]) -> None:
    """Do the work, and print as the last line what it cost and what it found; what was imported before is not counted."""
    cpu, wall = cpu_s(), time.monotonic()
    found = work()
    spent = {"cpu_s": round(cpu_s() - cpu, 3), "wall_s": round(time.monotonic() - wall, 3)}
    sys.stdout.flush()
    print("\n" + json.dumps(spent | {"cpu_with_imports_s": round(cpu_s(), 3), "peak_mib": peak_mib(), "found": found}))

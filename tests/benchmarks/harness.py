"""What a piece of work costs: processor time, wall time and memory.

Standard library alone: the processes of peers, which run under another interpreter, import this too.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any


def cpu_s() -> float:
    """Processor seconds of this process and of its children that have ended."""
    used = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in used)


def peak_mib() -> float:
    """The most memory that this process or one of its children ever held.

    `ru_maxrss` of this process would not do: it begins with what its parent held.
    """
    own = next(line.split()[1] for line in Path("/proc/self/status").read_text().splitlines() if "VmHWM" in line)
    return round(max(int(own), resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss) / 1024, 1)


def load_average() -> float:
    return round(os.getloadavg()[1], 1)


def timed(work: Callable[[], Any]) -> tuple[Any, dict[str, float]]:
    """The result of the work, and the seconds of the processor and of the clock that it took in this process."""
    cpu, wall = time.process_time(), time.perf_counter()
    result = work()
    return result, {"cpu_s": round(time.process_time() - cpu, 3), "wall_s": round(time.perf_counter() - wall, 3)}


def cpu_of(work: Callable[[], Any]) -> float:
    """Processor seconds that the work took in this process."""
    started = time.process_time()
    work()
    return time.process_time() - started


def wall_of(work: Callable[[], Any]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def answer(work: Callable[[], Any]) -> None:
    """Do the work and print, as the last line, its cost and its result; what was imported before is not counted."""
    cpu, wall = cpu_s(), time.monotonic()
    result = work()
    spent = {"cpu_s": round(cpu_s() - cpu, 3), "wall_s": round(time.monotonic() - wall, 3)}
    sys.stdout.flush()
    print("\n" + json.dumps(spent | {"cpu_with_imports_s": round(cpu_s(), 3), "peak_mib": peak_mib(), "found": result}))


def answer_of(command: Sequence[str], **variables: str) -> Any:
    """What a process answered in its last line of standard output."""
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | variables)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command[:5])} failed: {done.stderr[-1500:]}")
    return json.loads(done.stdout.splitlines()[-1])

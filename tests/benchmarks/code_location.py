"""What it costs to load the code location, beside what Dagster and dagster-dbt alone cost in the same run."""

from __future__ import annotations

import statistics
import subprocess
import sys
from typing import Any

MEASURE = "import resource; {code}; u = resource.getrusage(resource.RUSAGE_SELF); print(u.ru_utime + u.ru_stime)"


def cpu_seconds(code: str, runs: int = 5) -> float:
    """Median CPU time of a fresh process that runs `code`."""
    command = [sys.executable, "-c", MEASURE.format(code=code)]
    times = [float(subprocess.run(command, capture_output=True, text=True, check=True).stdout) for _ in range(runs)]
    return statistics.median(times)


def code_location() -> dict[str, Any]:
    cpu_seconds("import orchestration.definitions", runs=1)  # the first one may parse the dbt project
    ours, dagster = cpu_seconds("import orchestration.definitions"), cpu_seconds("import dagster, dagster_dbt")
    return {
        "load_cpu_s": round(ours, 2),
        "dagster_and_dagster_dbt_alone_cpu_s": round(dagster, 2),
        "ratio": round(ours / dagster, 2),
        "accepted_cpu_s": 6.0,
    }

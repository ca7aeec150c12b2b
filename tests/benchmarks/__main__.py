"""`make bench`: measure what the project promises and write `results/*.json` with versions and date.

A benchmark is a function in `BENCHMARKS` that returns plain numbers. `truth` trains for more than an hour, and is a
command of its own: `python -m tests.benchmarks.truth`. Figures that depend on the machine are given as ratios within one
run beside the absolute ones.
"""

from __future__ import annotations

import json
import platform
import sys
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from tests.benchmarks.camera import camera
from tests.benchmarks.caption_search import caption_search
from tests.benchmarks.codec import codec
from tests.benchmarks.curation import curation
from tests.benchmarks.curation_pass import curation_pass
from tests.benchmarks.demo import demo
from tests.benchmarks.diversity import diversity
from tests.benchmarks.duplicates import duplicates
from tests.benchmarks.duplicates_scale import duplicates_scale
from tests.benchmarks.executors import executors
from tests.benchmarks.large_home import large_home
from tests.benchmarks.ledger import ledger
from tests.benchmarks.location import code_location
from tests.benchmarks.replay import replaying
from tests.benchmarks.shots import shots
from tests.benchmarks.training_speed import training_speed

RESULTS = Path(__file__).with_name("results")
BENCHMARKS = {
    "camera": camera,
    "caption_search": caption_search,
    "curation": curation,
    "curation_pass": curation_pass,
    "shots": shots,
    "code_location": code_location,
    "codec": codec,
    "demo": demo,
    "duplicates": duplicates,
    "duplicates_scale": duplicates_scale,
    "diversity": diversity,
    "executors": executors,
    "large_home": large_home,
    "ledger": ledger,
    "replay": replaying,
    "training_speed": training_speed,
}
PACKAGES = (
    *("dagster", "dbt-core", "duckdb", "mlflow", "great-expectations", "torch", "lightning", "av", "numpy"),
    *("cryptography", "rfc8785", "sqlalchemy"),
)


def circumstances() -> dict[str, Any]:
    import os

    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "python": platform.python_version(),
        "machine": platform.machine(),
        "cores": os.cpu_count(),
        "versions": {name: version(name) for name in PACKAGES},
    }


def write_result(name: str, figures: dict[str, Any]) -> None:
    RESULTS.mkdir(exist_ok=True)
    found = {"benchmark": name, "figures": figures, **circumstances()}
    (RESULTS / f"{name}.json").write_text(json.dumps(found, indent=2) + "\n")
    print(json.dumps(figures, indent=2))


def main(names: list[str]) -> None:
    for name in names or list(BENCHMARKS):
        write_result(name, BENCHMARKS[name]())


if __name__ == "__main__":
    main(sys.argv[1:])

"""`make bench`: measure what the project promises and write `results/*.json` with versions and date.

`python -m tests.benchmarks NAME [--option VALUE ...]`. A benchmark is a function that returns plain numbers; its
parameters are the options. `truth` has a command of its own: `python -m tests.benchmarks.truth`. Figures that depend on
the machine are given as ratios within one run beside the absolute ones.
"""

from __future__ import annotations

import argparse
import importlib
import inspect
import json
import os
import platform
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, get_args

RESULTS = Path(__file__).with_name("results")
MODULES = {  # benchmark: the module that has it
    **dict.fromkeys(("code_location", "demo", "executors"), "installation"),
    **dict.fromkeys(("camera", "curation_pass"), "signals"),
    **dict.fromkeys(("caption_search", "replay", "diversity"), "corpus"),
    **{name: name for name in ("closure", "codec", "curation", "duplicates", "duplicates_scale", "large_home")},
    **{name: name for name in ("gpu", "ledger", "shots", "training_speed", "twins")},
}
PACKAGES = (
    *("dagster", "dbt-core", "duckdb", "mlflow", "great-expectations", "torch", "lightning", "av", "numpy"),
    *("cryptography", "rfc8785", "sqlalchemy"),
)


def write_result(name: str, figures: dict[str, Any]) -> None:
    circumstances = {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "python": platform.python_version(),
        "machine": platform.machine(),
        "cores": os.cpu_count(),
        "versions": {package: version(package) for package in PACKAGES},
    }
    result = {"benchmark": name, "figures": figures, **circumstances}
    (RESULTS / f"{name}.json").write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(figures, indent=2))


def options(benchmark: Callable[..., Any]) -> argparse.ArgumentParser:
    """A parser of the benchmark's parameters: numbers, texts, paths, and lists of numbers."""
    parser = argparse.ArgumentParser(description=inspect.getdoc(sys.modules[benchmark.__module__]))
    for name, parameter in inspect.signature(benchmark, eval_str=True).parameters.items():
        kinds = [kind for kind in get_args(parameter.annotation) or (parameter.annotation,) if kind is not type(None)]
        if kinds == [bool]:
            parser.add_argument(f"--{name}", action="store_true")
            continue
        several = {"nargs": "+"} if isinstance(parameter.default, tuple) else {}
        parser.add_argument(f"--{name.replace('_', '-')}", type=kinds[0], default=parameter.default, **several)
    return parser


def main(arguments: Sequence[str]) -> None:
    names = [name for name in arguments if name in MODULES] or sorted(MODULES)
    values = [argument for argument in arguments if argument not in MODULES]
    for name in names:
        benchmark = getattr(importlib.import_module(f"tests.benchmarks.{MODULES[name]}"), name)
        write_result(name, benchmark(**vars(options(benchmark).parse_args(values))))


if __name__ == "__main__":
    main(sys.argv[1:])

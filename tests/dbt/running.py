"""Runs dbt as a person would, and reads what it left."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb

PROJECT = Path(__file__).resolve().parents[2] / "dbt_project"
Rows = Callable[[str], list[dict[str, Any]]]


def dbt(command: str, root: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run dbt as a person would, over the lake and into the warehouse below `root`."""
    environment = os.environ | {
        "RUSHES_LAKE": str(root / "lake"),
        "RUSHES_WAREHOUSE": str(root / "warehouse.duckdb"),
        "DBT_PROFILES_DIR": str(PROJECT),
        "DBT_TARGET_PATH": str(root / "target"),
        "DBT_LOG_PATH": str(root / "logs"),
    }
    executable = str(Path(sys.executable).with_name("dbt"))
    return subprocess.run(
        [executable, "--no-use-colors", command, *arguments],
        cwd=PROJECT, env=environment, capture_output=True, text=True, timeout=600,
    )  # fmt: skip


def rebuild(root: Path) -> None:
    """Build and test the data; unit tests, which see none of it, run once with the first build of a session."""
    done = dbt("build", root, "--exclude-resource-type", "unit_test")
    assert done.returncode == 0, done.stdout[-4000:]


def rows_of(root: Path) -> Rows:
    """A reader of the warehouse below `root`: all rows of a relation, as dictionaries."""

    def read(relation: str) -> list[dict[str, Any]]:
        with duckdb.connect(str(root / "warehouse.duckdb"), read_only=True) as connection:
            return connection.table(relation).to_arrow_table().to_pylist()

    return read

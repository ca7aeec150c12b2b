"""The project's models, built by dbt as a person would, or as views of a DuckDB in memory without dbt, which is quick."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import duckdb
import jinja2
import pyarrow as pa
import yaml

from assets.tables import TABLES

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


_FILES = {path.stem: path for path in sorted(PROJECT.glob("models/**/*.sql"))}
_MACROS = (PROJECT / "macros" / "clip_key.sql").read_text()
_VARS = yaml.safe_load((PROJECT / "dbt_project.yml").read_text()).get("vars", {})


class PlainModels:
    """Creates a model, and first what it refers to."""

    def __init__(self, lake: Mapping[str, pa.Table] | Path) -> None:
        """Over tables, or over a folder of Parquet files as in the warehouse, where less is known of the data."""
        self.connection = duckdb.connect(config={"threads": 2})
        self.connection.execute("create schema lake")
        for name, table in TABLES.items():
            if isinstance(lake, Path):
                files = f"read_parquet('{lake}/{name}/**/*.parquet', union_by_name = true, hive_partitioning = false)"
                self.connection.execute(f'create view lake."{name}" as select * from {files}')
            else:
                self._keep(f'lake."{name}"', lake.get(name, table.schema.empty_table()))
        self.made: set[str] = set()

    def _keep(self, name: str, rows: pa.Table) -> None:
        self.connection.register("rows", rows)
        self.connection.execute(f"create table {name} as select * from rows")
        self.connection.unregister("rows")

    def make(self, model: str) -> str:
        """The model's name, once there is a view of that name."""
        if model not in self.made:
            sql = self._render(_FILES[model].read_text())
            self.connection.execute(f'create view "{model}" as {sql}')
            self.made.add(model)
        return model

    def rows(self, model: str) -> list[dict[str, Any]]:
        return self.connection.table(self.make(model)).to_arrow_table().to_pylist()

    def failures(self, test: str) -> list[tuple[Any, ...]]:
        """The rows that a test of the project finds; none when it passes."""
        return self.connection.execute(self._render((PROJECT / "tests" / f"{test}.sql").read_text())).fetchall()

    def _render(self, text: str) -> str:
        names = {
            "ref": self.make,
            "source": lambda schema, table: f'{schema}."{table}"',
            "var": _VARS.__getitem__,
            "config": lambda **settings: "",
            "is_incremental": lambda: False,
        }
        return jinja2.Template(_MACROS + text, undefined=jinja2.StrictUndefined).render(names)

"""The project's models as views of a DuckDB in memory, without dbt: quick enough to ask them about any lake in a test."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import jinja2
import pyarrow as pa

from assets.tables import TABLES
from tests.dbt.running import PROJECT

_FILES = {path.stem: path for path in sorted(PROJECT.glob("models/**/*.sql"))}

Edit = tuple[str, str, str]  # model, some of its text, what that is to say instead


class PlainModels:
    """Creates a model, and first what it refers to; `bent` changes the text of one of them."""

    def __init__(self, lake: Mapping[str, pa.Table] | Path, bent: Edit | None = None) -> None:
        """Over tables, or over a folder of Parquet files as in the warehouse, where less is known of the data."""
        self.bent = bent
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
            sql = self._render(self._text(model))
            self.connection.execute(f'create view "{model}" as {sql}')
            self.made.add(model)
        return model

    def failures(self, test: str) -> list[tuple[Any, ...]]:
        """The rows that a test of the project finds; none when it passes."""
        return self.connection.execute(self._render((PROJECT / "tests" / f"{test}.sql").read_text())).fetchall()

    def _text(self, model: str) -> str:
        text = _FILES[model].read_text()
        if self.bent is None or self.bent[0] != model:
            return text
        _, old, new = self.bent
        if old not in text:
            raise ValueError(f"{model} does not say {old!r}")
        return text.replace(old, new)

    def _render(self, text: str) -> str:
        names = {
            "ref": self.make,
            "source": lambda schema, table: f'{schema}."{table}"',
            "env_var": lambda name, default="": default,
            "config": lambda **given: "",
            "is_incremental": lambda: False,
            "run_started_at": datetime.now(UTC),
        }
        return jinja2.Template(text, undefined=jinja2.StrictUndefined).render(names)

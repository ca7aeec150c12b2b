"""Where the dbt project is and how dbt is run on it: paths, manifest, environment. What the models say is in SQL.

dbt reads the lake and writes the warehouse through two environment variables, and judges consent at the moment that
two more give it, so that SQL and the Python rules decide about the same window.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dagster_dbt import DbtCliResource, DbtProject

from assets.home import Home
from assets.warehouse.opening import opened

PROJECT_DIR = Path(__file__).resolve().parents[2] / "dbt_project"
# what a person edits; `target` and `logs` are dbt's own
_SOURCES = ("*.yml", "models/**/*", "macros/**/*", "tests/**/*")

# dbt is looked up on PATH, also when this interpreter's environment was never activated
_BIN = str(Path(sys.executable).parent)
if _BIN not in os.environ.get("PATH", "").split(os.pathsep):
    os.environ["PATH"] = os.pathsep.join([_BIN, os.environ.get("PATH", "")])


def dbt_project() -> DbtProject:
    """The project with a manifest that is not older than its files. Parsing it takes some five CPU-seconds."""
    project = DbtProject(project_dir=PROJECT_DIR)
    if _stale(project.manifest_path):
        project.preparer.prepare(project)
    return project


def dbt_resource() -> DbtCliResource:
    """The `dbt` resource of the code location."""
    return DbtCliResource(project_dir=os.fspath(PROJECT_DIR), profiles_dir=os.fspath(PROJECT_DIR))


def _stale(manifest: Path) -> bool:
    if not manifest.is_file():
        return True
    files = (path for pattern in _SOURCES for path in PROJECT_DIR.glob(pattern) if path.is_file())
    return max(path.stat().st_mtime for path in files) > manifest.stat().st_mtime


def environment(home: Home, now: dt.datetime) -> dict[str, str]:
    """What dbt needs to know: where the lake and the warehouse are, and the window that consent is judged in.

    Brings the lake's local mirror up to date first (for a local home: schema files for tables nobody wrote yet).
    """
    from training.consent.eligibility import decision_window
    from training.consent.ledger import Ledger

    lake = home.lake.mirror(home.state / "lake_mirror")
    at, until = decision_window(Ledger(home.database_url).head(), now)
    return {
        "RUSHES_LAKE": str(lake.resolve()).replace("'", "''"),  # it stands in an SQL string
        "RUSHES_WAREHOUSE": str(home.warehouse_path),
        "RUSHES_DECISION_AT": _utc(at),
        "RUSHES_DECISION_UNTIL": _utc(until),
    }


def _utc(moment: dt.datetime) -> str:
    return moment.astimezone(dt.UTC).strftime("%Y-%m-%d %H:%M:%S.%f")


@contextlib.contextmanager
def applied(variables: dict[str, str]) -> Iterator[None]:
    """These environment variables, for as long as dbt runs: both its process and its adapter in this one read them."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def mart_rows(home: Home, mart: str) -> list[dict[str, Any]]:
    """All rows of a mart as dbt left it; FileNotFoundError where there is no warehouse yet."""
    with opened(home) as connection:
        return connection.table(mart).to_arrow_table().to_pylist()


def close_connections(adapter: Any) -> None:
    """Let go of the warehouse in this process.

    dagster-dbt reads row counts and columns through dbt's own adapter and leaves its connections open; a run that goes
    on for minutes afterwards would lock the next run's dbt, and readers in this one, out of the file.
    """
    from dbt.adapters.duckdb.connections import DuckDBConnectionManager

    if adapter is not None:
        adapter.connections.cleanup_all()  # each thread's cursor keeps the file open, not only the connection
    if DuckDBConnectionManager._ENV is not None:
        DuckDBConnectionManager._ENV.close()
    DuckDBConnectionManager.close_all_connections()

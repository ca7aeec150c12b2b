"""Where the dbt project is, how dbt is run on it, and what its columns mean. What the models say is in SQL.

dbt reads the lake and writes the warehouse where environment variables say.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any

from dagster_dbt import DbtCliResource, DbtProject

from assets.home import Home
from assets.tables import TABLES
from assets.tables.columns import CLIP_KEY
from assets.warehouse.opening import connect, memory_limit

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


def begin_build(home: Home) -> Path:
    """The file that dbt builds in: a copy of the warehouse, since payouts are only ever added to.

    It has the warehouse's name, which views say, in a folder of its own. What a build that failed or was killed left
    there is removed.
    """
    folder = home.state / "building"
    if folder.exists():
        shutil.rmtree(folder)
    folder.mkdir(parents=True)
    target = folder / home.warehouse_path.name
    for suffix in ("", ".wal"):
        if (old := _beside(home.warehouse_path, suffix)).is_file():
            shutil.copyfile(old, _beside(target, suffix))
    return target


def finish_build(home: Home, target: Path) -> None:
    """Put what was built in the warehouse's place, at once; whoever has the old one open keeps reading that."""
    with connect(target, target.parent / "spill", memory_limit(home), read_only=False) as connection:
        connection.execute("checkpoint")  # all of it in the one file
    with target.open("rb") as file:
        os.fsync(file.fileno())
    os.replace(target, home.warehouse_path)
    _beside(home.warehouse_path, ".wal").unlink(missing_ok=True)
    shutil.rmtree(target.parent)


def _beside(path: Path, suffix: str) -> Path:
    return path.with_name(path.name + suffix)


def environment(home: Home, target: Path) -> dict[str, str]:
    """What dbt needs to know: where the lake is, and the file to build in.

    Brings the lake's local mirror up to date first (for a local home: schema files for tables nobody wrote yet).
    """
    lake = home.lake.mirror(home.state / "lake_mirror")
    return {
        "RUSHES_LAKE": str(lake.resolve()).replace("'", "''"),  # it stands in an SQL string
        "RUSHES_WAREHOUSE": str(target),
        "RUSHES_WAREHOUSE_SPILL": str(target.parent / "spill"),
        "RUSHES_DUCKDB_MEMORY": memory_limit(home),
    }


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


def close_connections(adapter: Any) -> None:
    """Let go of the warehouse in this process.

    dagster-dbt reads row counts and columns through dbt's own adapter and leaves its connections open: on a file that is
    about to be moved, and for as long as the run goes on.
    """
    from dbt.adapters.duckdb.connections import DuckDBConnectionManager

    if adapter is not None:
        adapter.connections.cleanup_all()  # each thread's cursor keeps the file open, not only the connection
    if DuckDBConnectionManager._ENV is not None:
        DuckDBConnectionManager._ENV.close()
    DuckDBConnectionManager.close_all_connections()


# -- what columns mean ---------------------------------------------------------------------------------------------------

Descriptions = dict[str, str]  # by column
_KEY_OF_CLIP = {"clip_key": "the clip, its item and its shot in one: what rows about a clip are joined by"}


def descriptions(manifest: dict[str, Any]) -> dict[str, Descriptions]:
    """By dbt's id of a source or model: descriptions of the columns that it may have.

    A description is written once: with the lake's table that has the column, or with the model that makes it. Models
    downstream inherit the nearest one of the same name.
    """
    columns: dict[str, Descriptions] = {}
    models = {uid: node for uid, node in manifest["nodes"].items() if node["resource_type"] == "model"}
    for uid in TopologicalSorter({uid: node["depends_on"]["nodes"] for uid, node in models.items()}).static_order():
        if uid in models:
            columns[uid] = {}
            for parent in models[uid]["depends_on"]["nodes"]:
                columns[uid] = columns.get(parent, {}) | columns[uid]  # the first parent that has it
            own = models[uid]["columns"].values()
            columns[uid] |= {column["name"]: column["description"] for column in own if column["description"]}
        elif uid in manifest["sources"]:
            columns[uid] = _of_table(manifest["sources"][uid]["name"])
    return columns


def described(manifest: dict[str, Any]) -> dict[str, Any]:
    """The manifest with these descriptions, and with those of the lake's tables for sources and staging models."""
    columns = descriptions(manifest)
    for uid, node in (manifest["sources"] | manifest["nodes"]).items():
        if uid not in columns:
            continue
        tables = [manifest["sources"][parent]["name"] for parent in _sources_of(uid, node)]
        if len(tables) == 1:
            node["description"] = node["description"] or TABLES[tables[0]].doc
            for name in columns[uid]:
                node["columns"].setdefault(name, {"name": name, "description": "", "data_type": None})
        for name, column in node["columns"].items():
            column["description"] = columns[uid].get(name, "")
    return manifest


def _sources_of(uid: str, node: dict[str, Any]) -> list[str]:
    """The lake's tables that this is, or reads and nothing else."""
    parents = [uid] if node["resource_type"] == "source" else node["depends_on"]["nodes"]
    return parents if all(parent.startswith("source.") for parent in parents) else []


def _of_table(name: str) -> Descriptions:
    own = {column.name: column.doc for column in TABLES[name].columns}
    return (_KEY_OF_CLIP if set(CLIP_KEY) <= set(own) else {}) | own

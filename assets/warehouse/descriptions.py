"""What the columns of the warehouse mean. A description is written once: with the lake's table that has the column, or
in the dbt project with the model that makes it. Models downstream inherit the nearest one of the same name.
"""

from __future__ import annotations

from graphlib import TopologicalSorter
from typing import Any

from assets.tables import TABLES
from assets.tables.columns import CLIP_KEY

Descriptions = dict[str, str]  # by column
_KEY_OF_CLIP = {"clip_key": "the clip, its item and its shot in one: what rows about a clip are joined by"}


def descriptions(manifest: dict[str, Any]) -> dict[str, Descriptions]:
    """By dbt's id of a source or model: descriptions of the columns that it may have."""
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

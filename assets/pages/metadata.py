"""What every asset that writes a lake table tells the Dagster UI about it. Used by the stages' `assets.py` only."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import dagster as dg

from assets.home import Home
from assets.pages.plots import markdown_image, markdown_table
from assets.tables import TABLES

PREVIEW_ROWS = 6
PREVIEW_CHARACTERS = 28
ROWS_SHOWN = 100  # of a table of what is wrong


def column_schema(name: str) -> dg.TableSchema:
    """The declared columns of a lake table as Dagster shows them."""
    return dg.TableSchema(
        columns=[
            dg.TableColumn(
                name=column.name,
                type=str(column.type),
                description=column.doc,
                constraints=dg.TableColumnConstraints(nullable=column.nullable),
            )
            for column in TABLES[name].columns
        ]
    )


def definition_metadata(*names: str) -> dict[str, Any]:
    """Metadata known before any run: the table's name and columns (of the first table, where there are several)."""
    metadata: dict[str, Any] = {
        "dagster/table_name": f"lake.{names[0]}",
        "dagster/column_schema": column_schema(names[0]),
    }
    if len(names) > 1:
        metadata["tables"] = ", ".join(names)
    return metadata


def table_metadata(
    home: Home, name: str, partition: str | None = None, extra: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Metadata of a materialisation: row count, columns, where it is, the first rows."""
    rows = home.lake.read(name, partition)
    preview = [{k: _short(v) for k, v in row.items()} for row in rows.slice(0, PREVIEW_ROWS).to_pylist()]
    metadata: dict[str, Any] = {
        "dagster/row_count": rows.num_rows,
        "dagster/column_schema": column_schema(name),
        "dagster/uri": home.store.uri(home.lake.key(name, partition)),
    }
    metadata |= dict(extra or {})
    if preview:  # last: a table this wide would push everything else out of sight
        metadata["preview"] = dg.MetadataValue.table([dg.TableRecord(row) for row in preview])
    return metadata


def check_specs(asset: str, blocking: Collection[str] = (), **descriptions: str) -> list[dg.AssetCheckSpec]:
    """The checks of an asset, by name, each with what holds where it passes; those of `blocking` stop a run."""
    return [
        dg.AssetCheckSpec(name, asset=asset, blocking=name in blocking, description=description)
        for name, description in descriptions.items()
    ]


def warning(check: str, wrong: Sequence[Mapping[str, Any]], title: str = "which", **more: Any) -> dg.AssetCheckResult:
    """A check that warns and blocks nothing: it passes where the table of what is wrong is empty."""
    table = dg.MetadataValue.md(markdown_table(wrong[:ROWS_SHOWN]))
    return dg.AssetCheckResult(
        check_name=check, passed=not wrong, severity=dg.AssetCheckSeverity.WARN, metadata={**more, title: table}
    )


def run_of(context: dg.AssetExecutionContext) -> str:
    """The run, under the name that it shares with those that retry it."""
    return context.run.root_run_id or context.run.run_id


def picture(data: bytes, mime: str = "image/webp", alt: str = "") -> dg.MarkdownMetadataValue:
    """A picture the UI shows."""
    return dg.MetadataValue.md(markdown_image(data, mime, alt))


def _short(value: Any) -> str | int | float | bool | None:
    if value is None or isinstance(value, bool | int | float):
        return value
    text = str(value)
    return text if len(text) <= PREVIEW_CHARACTERS else text[: PREVIEW_CHARACTERS - 1] + "…"

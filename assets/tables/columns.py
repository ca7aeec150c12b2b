"""What a table and a column of the lake are, and the columns that many tables share."""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa

Text, Int, Real, Bool = pa.string(), pa.int64(), pa.float64(), pa.bool_()
Texts, Vector = pa.list_(pa.string()), pa.list_(pa.float32(), 384)


@dataclass(frozen=True)
class Column:
    name: str
    type: pa.DataType
    doc: str
    nullable: bool = False


@dataclass(frozen=True)
class Table:
    """A lake table: `lake/<name>/day=<day>/part.parquet` when partitioned, else `lake/<name>/part.parquet`."""

    name: str
    doc: str
    key: tuple[str, ...]
    columns: tuple[Column, ...]
    partitioned: bool = False

    @property
    def schema(self) -> pa.Schema:
        return pa.schema([pa.field(c.name, c.type, nullable=c.nullable, metadata={"doc": c.doc}) for c in self.columns])


def columns(*rows: tuple[str, pa.DataType, str]) -> tuple[Column, ...]:
    """A name that ends in `?` is a nullable column."""
    return tuple(Column(name.rstrip("?"), type_, doc, name.endswith("?")) for name, type_, doc in rows)


RECEIVED_DAY = ("received_day", Text, "partition")
OF_CLIP = (
    ("clip_id", Text, "the clip"),
    ("item_id", Text, "its item"),
    ("shot_index", Int, "its shot"),
)
CLIP_KEY = tuple(name for name, _, _ in OF_CLIP)

"""The lake takes rows that fit, writes the same bytes for the same rows, and replaces a partition whole."""

from __future__ import annotations

import random

import pyarrow.parquet as pq
import pytest

from assets.home import Home
from assets.lake import SchemaError
from assets.tables import TABLES


def gap(request_id: str, missing: int = 1) -> dict[str, object]:
    return {
        "dimension": "request", "cell": request_id, "have_units": 1, "want_units": 2, "missing_units": missing,
        "asked_units": missing, "eligible_units": 1, "reason": "request.unfilled", "detail": "1 of 2",
    }  # fmt: skip


def caption(clip_id: str, day: str) -> dict[str, object]:
    return {
        "clip_id": clip_id, "item_id": "i", "shot_index": 0, "received_day": day, "kind": "short",
        "variant": 0, "text": "a street", "sources_json": "[]", "captioner": "structured/1", "refused": [],
    }  # fmt: skip


def test_the_same_rows_in_any_order_give_the_same_bytes(home: Home) -> None:
    rows = [gap(f"r-{number}") for number in range(50)]
    first = home.lake.write("coverage_gaps", rows)
    random.Random(0).shuffle(rows)
    assert home.lake.write("coverage_gaps", rows).sha256 == first.sha256


def test_vectors_are_stored_plainly_and_everything_else_is_compressed(home: Home) -> None:
    row = {"clip_id": "c", "item_id": "i", "shot_index": 0, "received_day": "2026-11-02", "model": "m"}
    row |= {"captioner": "structured/2", "variant": 0, "vector": [0.5] * 384}
    home.lake.write("embeddings", [row], "2026-11-02")
    assert home.lake.rows("embeddings", "2026-11-02") == [row]
    with pq.ParquetFile(home.store.fetch(home.lake.key("embeddings", "2026-11-02"))) as file:
        group = file.metadata.row_group(0)
        stored = {group.column(at).path_in_schema: group.column(at).compression for at in range(group.num_columns)}
    assert stored.pop("vector.list.element") == "UNCOMPRESSED"
    assert set(stored.values()) == {"ZSTD"}


def test_rewriting_the_same_rows_touches_no_file(home: Home) -> None:
    written = home.lake.write("coverage_gaps", [gap("r-1")])
    before = home.store.fetch(written.key).stat().st_mtime_ns
    home.lake.write("coverage_gaps", [gap("r-1")])
    assert home.store.fetch(written.key).stat().st_mtime_ns == before


def test_a_day_is_replaced_whole_and_the_others_stay(home: Home) -> None:
    home.lake.write("captions", [caption("a", "2026-11-02"), caption("b", "2026-11-02")], "2026-11-02")
    home.lake.write("captions", [caption("c", "2026-11-03")], "2026-11-03")
    home.lake.write("captions", [caption("d", "2026-11-02")], "2026-11-02")
    assert {row["clip_id"] for row in home.lake.rows("captions")} == {"c", "d"}
    assert home.lake.partitions("captions") == ["2026-11-02", "2026-11-03"]


def test_a_table_nobody_wrote_reads_as_no_rows_with_its_columns(home: Home) -> None:
    table = home.lake.read("signals")
    assert table.num_rows == 0
    assert table.schema.names == TABLES["signals"].schema.names


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([gap("r") | {"colour": "red"}], "no such column"),
        ([gap("r"), gap("r", 2)], "repeated key"),
        ([{"cell": "r"}], "must not be null"),
        ([gap("r") | {"want_units": "many"}], "coverage_gaps"),
    ],
)
def test_rows_that_do_not_fit_are_refused_and_name_the_table(home: Home, rows: list, message: str) -> None:
    with pytest.raises(SchemaError, match=message):
        home.lake.write("coverage_gaps", rows)
    assert not home.store.exists(home.lake.key("coverage_gaps"))


def test_every_table_has_a_file_for_sql_even_before_its_first_row(home: Home, tmp_path) -> None:
    root = home.lake.mirror(tmp_path / "mirror")
    assert {path.parent.name for path in root.glob("*/schema.parquet")} == set(TABLES)

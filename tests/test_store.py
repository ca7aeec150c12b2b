"""The stores keep objects whole under safe keys; the lake takes rows that fit and replaces a partition whole."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from assets.home import Home
from assets.lake import SchemaError
from assets.store import LocalStore, S3Store, Store, safe_key
from assets.tables import TABLES
from tests.bucket import bucket


@pytest.fixture(params=["local", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    if request.param == "local":
        yield LocalStore(tmp_path / "store")
        return
    with bucket("footage") as client:
        yield S3Store(client, "footage", "rushes/home", tmp_path / "cache")


def test_what_was_put_is_what_is_got_listed_fetched_and_deleted(store: Store, tmp_path: Path) -> None:
    source = tmp_path / "clip.bin"
    source.write_bytes(b"\x00\x01" * 1000)
    store.put("media/ab/clip.mp4", source)
    store.put("media/ab/.writing-1", b"unfinished")
    store.put("lake/x/part.parquet", b"rows")
    assert store.get("media/ab/clip.mp4") == source.read_bytes()
    assert store.fetch("media/ab/clip.mp4").read_bytes() == source.read_bytes()
    assert list(store.list("media")) == ["media/ab/clip.mp4"]
    assert list(store.list("")) == ["lake/x/part.parquet", "media/ab/clip.mp4"]
    store.delete("lake/x/part.parquet")
    store.delete("lake/x/part.parquet")
    assert not store.exists("lake/x/part.parquet")
    with pytest.raises(FileNotFoundError):
        store.get("lake/x/part.parquet")
    with pytest.raises(FileNotFoundError):
        store.fetch("lake/x/part.parquet")


def test_folders_are_named_without_listing_what_is_below(store: Store) -> None:
    for key in ("latents/b/1", "latents/a/2", "latents/a/deep/3", "latents/.writing/4", "latents/file"):
        store.put(key, b"x")
    assert store.folders("latents") == ("a", "b")
    assert store.folders("latents/a") == ("deep",)
    assert store.folders("nothing") == ()


def test_what_is_deleted_leaves_no_fetched_copy(store: Store) -> None:
    store.put("frames/a", b"pictures")
    copy = store.fetch("frames/a")
    store.delete("frames/a")
    assert not copy.exists()


def test_what_is_released_stays_stored_and_gives_back_the_room_of_its_copy(store: Store) -> None:
    store.put("media/a", b"pictures")
    copy = store.fetch("media/a")
    store.release("media/a")
    store.release("media/none")
    assert copy.exists() == isinstance(store, LocalStore)
    assert store.fetch("media/a").read_bytes() == b"pictures"


def test_a_replaced_object_is_fetched_anew(store: Store) -> None:
    store.put("a/b", b"first")
    assert store.fetch("a/b").read_bytes() == b"first"
    store.put("a/b", b"second")
    assert store.fetch("a/b").read_bytes() == b"second"


def test_a_prefix_is_a_folder_and_not_the_beginning_of_a_name(store: Store) -> None:
    store.put("lake/shots/part.parquet", b"1")
    store.put("lake/shots_old/part.parquet", b"2")
    assert list(store.list("lake/shots")) == ["lake/shots/part.parquet"]


@pytest.mark.parametrize("key", ["/etc/passwd", "../x", "a/../../x", "a//b", "a/\x00b", "a/\nb", ""])
def test_a_key_that_could_leave_the_store_is_refused(key: str) -> None:
    with pytest.raises(ValueError, match="safe storage key"):
        safe_key(key)


@given(st.text(max_size=40))
def test_whatever_the_key_a_local_path_stays_below_the_root(key: str) -> None:
    store = LocalStore(Path("/srv/home"))
    try:
        path = store.path(key)
    except ValueError:
        return
    assert path.is_relative_to(store.root)


def test_a_failed_write_leaves_the_old_object_and_no_litter(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    store.put("a/b", b"old")
    with pytest.raises(FileNotFoundError):
        store.put("a/b", tmp_path / "not-there")
    assert store.get("a/b") == b"old"
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["b"]


# -- the lake --------------------------------------------------------------------------------------------------------


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

"""The two stores keep one promise: whole objects, safe keys, the same bytes back."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assets.store import LocalStore, S3Store, Store, safe_key


@pytest.fixture(params=["local", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    if request.param == "local":
        yield LocalStore(tmp_path / "store")
        return
    boto3 = pytest.importorskip("boto3")
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    try:
        host, port = server.get_host_and_port()
        client = boto3.client(
            "s3",
            endpoint_url=f"http://{host}:{port}",
            region_name="us-east-1",
            aws_access_key_id="test",
            aws_secret_access_key="test",
        )
        client.create_bucket(Bucket="footage")
        yield S3Store(client, "footage", "rushes/home", tmp_path / "cache")
    finally:
        server.stop()


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

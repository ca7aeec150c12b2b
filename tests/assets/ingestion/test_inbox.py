"""Deliveries arrive whole or not at all, and what is in them is seen without being followed."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from assets.home import Home
from assets.ingestion.inbox import (
    DeliveryError,
    adopt_loose_folders,
    deliver,
    entries,
    is_day,
    list_deliveries,
    unfinished,
    unregistered,
)
from assets.store import LocalStore
from tests.assets.samples import DAY, clip, manifest


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder as a contributor prepares it."""
    folder = tmp_path / "My shoot, day 1"
    (folder / "clips").mkdir(parents=True)
    (folder / "clips" / "a.mp4").write_bytes(b"aaa")
    (folder / "delivery.json").write_text(json.dumps(manifest(clip("clips/a.mp4"))))
    return folder


def test_a_delivered_folder_is_listed_and_waits_for_registration(folder: Path, home: Home) -> None:
    done = deliver(folder, home, DAY)
    assert (done.files, done.already) == (2, False)
    assert list_deliveries(home.store) == unregistered(home) == [(DAY, done.folder)]
    assert [entry.name for entry in entries(home.store, DAY, done.folder)] == ["clips/a.mp4", "delivery.json"]
    assert str(done) == f"inbox/{DAY}/{done.folder}"


def test_delivering_twice_is_one_delivery(folder: Path, home: Home) -> None:
    first, second = deliver(folder, home, DAY), deliver(folder, home, DAY)
    assert (second.folder, second.already) == (first.folder, True)
    assert len(list_deliveries(home.store)) == 1


def test_the_manifest_arrives_last_and_an_unfinished_copy_is_invisible(
    folder: Path, home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    put = LocalStore.put

    def fail_at_manifest(store: LocalStore, key: str, data: bytes | Path) -> None:
        if key.endswith("delivery.json"):
            raise OSError("the line went dead")
        put(store, key, data)

    with monkeypatch.context() as patch:
        patch.setattr(LocalStore, "put", fail_at_manifest)
        with pytest.raises(OSError, match="dead"):
            deliver(folder, home, DAY)
    assert list_deliveries(home.store) == []
    assert len(unfinished(home.store, DAY)) == 1
    deliver(folder, home, DAY)
    assert len(list_deliveries(home.store)) == 1
    assert unfinished(home.store, DAY) == []


def test_a_folder_that_cannot_be_delivered_says_why(folder: Path, home: Home, tmp_path: Path) -> None:
    with pytest.raises(DeliveryError, match=r"no delivery\.json"):
        deliver(tmp_path, home)
    with pytest.raises(DeliveryError, match="not a day"):
        deliver(folder, home, "2026-13-01")
    (folder / "b.mp4").symlink_to("/etc/hostname")
    with pytest.raises(DeliveryError, match="link"):
        deliver(folder, home, DAY)
    assert list_deliveries(home.store) == []


def test_a_changed_manifest_waits_for_registration_again(home: Home, drop: Callable[..., Path]) -> None:
    from assets.ingestion.deliveries import read_day

    base = drop("one", manifest(clip("a.mp4")), {"a.mp4": b"x"})
    home.lake.write("deliveries", [d.row for d in read_day(home.store, home.lake, DAY).deliveries], DAY)
    assert unregistered(home) == []
    (base / "delivery.json").write_text(json.dumps(manifest(clip("a.mp4", subject="other"))))
    assert unregistered(home) == [(DAY, "one")]


def test_a_folder_dropped_straight_into_the_inbox_moves_under_today(home: Home, folder: Path) -> None:
    inbox = home.state / "inbox"
    inbox.mkdir()
    folder.rename(inbox / "loose")
    (inbox / "no-manifest-yet").mkdir()
    (inbox / "link").symlink_to(inbox / "loose")
    assert adopt_loose_folders(home, DAY, settled_s=60.0) == []  # it may still be being copied
    assert adopt_loose_folders(home, DAY, settled_s=0.0) == ["loose"]
    assert list_deliveries(home.store) == [(DAY, "loose")]
    assert adopt_loose_folders(home, DAY, settled_s=0.0) == []


def test_a_second_loose_folder_of_the_same_name_gets_another(home: Home) -> None:
    for _ in range(2):
        (home.state / "inbox" / "shoot").mkdir(parents=True)
        (home.state / "inbox" / "shoot" / "delivery.json").write_text("{}")
        adopt_loose_folders(home, DAY, settled_s=0.0)
    assert list_deliveries(home.store) == [(DAY, "shoot"), (DAY, "shoot-2")]


def test_links_and_special_files_are_seen_and_not_followed(
    home: Home, drop: Callable[..., Path], tmp_path: Path
) -> None:
    base = drop("one", manifest(clip("a.mp4")), {"a.mp4": b"x", ".hidden": b"x"})
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "secret.mp4").write_bytes(b"secret")
    (base / "linked-folder").symlink_to(tmp_path / "outside")
    (base / "dangling.mp4").symlink_to("nowhere")
    os.mkfifo(base / "pipe.mp4")
    kinds = {entry.name: entry.kind for entry in entries(home.store, DAY, "one")}
    assert kinds == {
        "a.mp4": "file",
        "delivery.json": "file",
        "linked-folder": "link",
        "dangling.mp4": "link",
        "pipe.mp4": "special",
    }


def test_only_real_dates_are_days() -> None:
    assert is_day("2026-11-02")
    assert not any(map(is_day, ["2026-02-30", "20261102", "latest", "2026-11-02x", ""]))

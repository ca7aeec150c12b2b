"""Every file that came is a row with all its reasons; one broken delivery never touches another."""

from __future__ import annotations

import json
import os
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from assets.home import Home
from assets.ingestion.deliveries import Delivery, read_day, read_delivery
from assets.lake import to_table
from assets.reasons import Code, code_of
from tests.assets.samples import DAY, clip, manifest

Drop = Callable[..., Path]


def outcome(delivery: Delivery) -> dict[str, list[str]]:
    """{file name: reason codes} of a delivery's items."""
    return {item.row["file_name"]: [code_of(reason) for reason in item.row["reasons"]] for item in delivery.items}


def read(home: Home, folder: str = "one") -> Delivery:
    return read_delivery(home.store, DAY, folder)


def test_a_good_delivery_is_accepted_with_what_it_declares(home: Home, drop: Drop) -> None:
    villa = {"owner_id": "o-villa", "what": "the villa"}
    drop(
        "one",
        manifest(clip("a.mp4", latitude=50, properties=[villa]), clip("sub/b.mp4"), request_id="r-9"),
        {"a.mp4": b"a", "sub/b.mp4": b"b"},
    )
    delivery = read(home)
    assert delivery.row["state"] == "accepted"
    assert outcome(delivery) == {"a.mp4": [], "sub/b.mp4": []}
    row = delivery.items[0].row
    assert (row["declared_width"], row["declared_height"], row["declared_duration_s"]) == (64, 48, 2.0)
    assert (row["request_id"], row["latitude"], row["persons_json"]) == ("r-9", 50, "[]")
    assert [json.loads(item.row["properties_json"]) for item in delivery.items] == [[villa], []]
    to_table("delivery_items", [item.row for item in delivery.items])
    to_table("deliveries", [delivery.row])


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"{", Code.MANIFEST_NOT_JSON),
        (b" " * (1 << 20) + b"{}", Code.MANIFEST_TOO_LARGE),
        (b"[]", Code.MANIFEST_SCHEMA),
        (json.dumps(manifest(clip("a.mp4"), contributor_id=None)).encode(), Code.MANIFEST_SCHEMA),
    ],
)
def test_a_broken_manifest_quarantines_its_files_and_no_others(home: Home, drop: Drop, data: bytes, code: Code) -> None:
    drop("broken", data, {"a.mp4": b"a", "b.mp4": b"b"})
    drop("good", manifest(clip("a.mp4")), {"a.mp4": b"a"})
    broken, good = read_day(home.store, home.lake, DAY).deliveries
    assert (broken.row["state"], good.row["state"]) == ("quarantined", "accepted")
    assert [code_of(reason) for reason in broken.row["reasons"]] == [code]
    assert set(outcome(broken)) == {"a.mp4", "b.mp4"}
    assert all(item.row["state"] == "quarantined" and item.entry for item in broken.items)
    to_table("deliveries", [broken.row, good.row])


def test_a_manifest_that_is_a_link_or_a_pipe_is_not_opened(home: Home, drop: Drop, tmp_path: Path) -> None:
    (tmp_path / "secret.json").write_text(json.dumps(manifest(clip("a.mp4"))))
    for folder in ("link", "pipe", "folder"):
        (drop(folder, b"") / "delivery.json").unlink()
    base = home.state / "inbox" / DAY
    (base / "link" / "delivery.json").symlink_to(tmp_path / "secret.json")
    os.mkfifo(base / "pipe" / "delivery.json")
    (base / "folder" / "delivery.json").mkdir()
    deliveries = read_day(home.store, home.lake, DAY).deliveries
    assert [[code_of(reason) for reason in d.row["reasons"]] for d in deliveries] == [[Code.MANIFEST_NOT_A_FILE]] * 3
    assert len({d.row["delivery_id"] for d in deliveries}) == 3


def test_names_files_and_manifest_that_disagree_are_all_told(home: Home, drop: Drop) -> None:
    names = ["a.mp4", "a.mp4", "../../etc/passwd", "gone.mp4", "bell\x07.mp4", "link.mp4"]
    base = drop("one", manifest(*map(clip, names)), {"a.mp4": b"a", "extra.mp4": b"e", "notes.txt": b"n"})
    (base / "link.mp4").symlink_to("/etc/hostname")
    (base / "tab\t.mp4").write_bytes(b"t")
    delivery = read(home)
    codes = [[code_of(reason) for reason in item.row["reasons"]] for item in delivery.items]
    assert codes[:6] == [
        [Code.REPEATED_NAME],
        [Code.REPEATED_NAME],
        [Code.UNSAFE_NAME],
        [Code.MISSING_FILE],
        [Code.UNSAFE_NAME],
        [Code.NOT_A_FILE],
    ]
    assert {name: why for name, why in outcome(delivery).items() if name.startswith(("extra", "notes", "tab"))} == {
        "extra.mp4": [Code.NOT_IN_MANIFEST],
        "notes.txt": [Code.NOT_IN_MANIFEST],
        "tab\\t.mp4": [Code.NOT_IN_MANIFEST, Code.UNSAFE_NAME],
    }
    assert delivery.row["state"] == "accepted"
    to_table("delivery_items", [item.row for item in delivery.items])


def test_letters_composed_in_one_place_and_decomposed_in_the_other_are_the_same_name(home: Home, drop: Drop) -> None:
    drop(
        "one", manifest(clip(unicodedata.normalize("NFC", "été.mp4"))), {unicodedata.normalize("NFD", "été.mp4"): b"a"}
    )
    assert list(outcome(read(home)).values()) == [[]]


def test_a_file_name_that_is_no_unicode_is_a_row_all_the_same(home: Home, drop: Drop) -> None:
    base = drop("one", manifest(clip("a.mp4")), {"a.mp4": b"a"})
    (Path(os.fsdecode(os.fsencode(base) + b"/\xff\xfe.mp4"))).write_bytes(b"x")
    delivery = read(home)
    assert len(delivery.items) == 2
    to_table("delivery_items", [item.row for item in delivery.items])


def test_renaming_files_changes_no_identity(home: Home, drop: Drop) -> None:
    drop("one", manifest(clip("a.mp4")), {"a.mp4": b"a", "x.bin": b"1", "y.bin": b"2"})
    before = [(i.row["item_id"], i.row["reasons"] != []) for i in read(home).items]
    base = home.state / "inbox" / DAY / "one"
    (base / "a.mp4").rename(base / "renamed.mov")
    (base / "x.bin").rename(base / "zzz.bin")
    (base / "delivery.json").write_text(json.dumps(manifest(clip("renamed.mov"))))
    assert [(i.row["item_id"], i.row["reasons"] != []) for i in read(home).items] == before


def test_an_identity_belongs_to_the_first_delivery_that_used_it(home: Home, drop: Drop) -> None:
    drop("b-later", manifest(clip("a.mp4")), {"a.mp4": b"b"})
    drop("a-first", manifest(clip("a.mp4")), {"a.mp4": b"a"})
    drop("next-day", manifest(clip("a.mp4")), {"a.mp4": b"c"}, day="2026-11-03")
    first, later = read_day(home.store, home.lake, DAY).deliveries
    assert (first.row["delivery_id"], first.row["state"]) == ("d-1", "accepted")
    assert [code_of(reason) for reason in later.row["reasons"]] == [Code.MANIFEST_DUPLICATE_ID]
    before = read_day(home.store, home.lake, "2026-11-03").deliveries[0]
    home.lake.write("deliveries", [first.row, later.row], DAY)
    after = read_day(home.store, home.lake, "2026-11-03").deliveries[0]
    assert before.row == after.row  # whichever day is materialised first
    assert after.row["state"] == "quarantined"


@pytest.mark.parametrize("day", [DAY, "2026-11-01"])
def test_nobody_takes_the_identity_of_a_registered_delivery_by_coming_before_it(
    home: Home, drop: Drop, day: str
) -> None:
    drop("honest", manifest(clip("a.mp4")), {"a.mp4": b"honest"})
    home.lake.write("deliveries", [d.row for d in read_day(home.store, home.lake, DAY).deliveries], DAY)
    drop("a-thief", manifest(clip("a.mp4")), {"a.mp4": b"theft"}, day=day)
    thief = next(d for d in read_day(home.store, home.lake, day).deliveries if d.row["folder"] == "a-thief")
    assert [code_of(reason) for reason in thief.row["reasons"]] == [Code.MANIFEST_DUPLICATE_ID]
    honest = next(d for d in read_day(home.store, home.lake, DAY).deliveries if d.row["folder"] == "honest")
    assert (honest.row["delivery_id"], honest.row["state"]) == ("d-1", "accepted")


def test_nobody_claims_an_identity_that_stands_in_for_a_broken_one(home: Home, drop: Drop) -> None:
    drop("broken", b"", {})
    stand_in = read(home, "broken").row["delivery_id"]
    drop("a-claim", manifest(clip("a.mp4"), delivery_id=stand_in), {"a.mp4": b"a"})
    ids = [d.row["delivery_id"] for d in read_day(home.store, home.lake, DAY).deliveries]
    assert len(set(ids)) == 2


def test_an_arrival_time_on_another_day_is_not_believed(home: Home, drop: Drop) -> None:
    drop("one", manifest(clip("a.mp4"), received_at="2020-01-01T00:00:00Z"), {"a.mp4": b"a"})
    delivery = read(home)
    assert delivery.row["received_at"] == f"{DAY}T23:59:59Z"
    assert delivery.received_claim == "2020-01-01T00:00:00Z"
    assert delivery.row["state"] == "accepted"


def test_consent_events_are_taken_as_received_and_bad_ones_are_kept(home: Home, drop: Drop) -> None:
    event = {"body": {"note": "é"}, "key_id": "k", "sig": "00"}
    files = {
        "consent/a.json": json.dumps([event, event]).encode(),
        "consent/b.json": json.dumps({"body": {}, "key_id": "j", "sig": "11"}).encode(),
        "consent/bad.json": b"[1]",
        "consent/odd.json": b'{"a": "\\ud800"}',
        "consent/readme.txt": b"hello",
        "a.mp4": b"a",
    }
    drop("one", manifest(clip("a.mp4")), files)
    delivery = read(home)
    assert [json.loads(c["envelope_json"])["key_id"] for c in delivery.consents] == ["k", "j"]
    assert outcome(delivery) == {
        "a.mp4": [],
        "consent/bad.json": [Code.CONSENT_UNREADABLE],
        "consent/odd.json": [Code.CONSENT_UNREADABLE],
        "consent/readme.txt": [Code.NOT_IN_MANIFEST, Code.UNSAFE_NAME],
    }
    to_table("consent_submissions", delivery.consents)


BYTES = st.binary(max_size=60)
VALUE = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | st.just([]) | st.just({})


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(BYTES | st.dictionaries(st.sampled_from(list(manifest())), VALUE))
def test_whatever_the_manifest_every_file_gets_a_row_that_fits_the_lake(home: Home, drop: Drop, document: Any) -> None:
    data = document if isinstance(document, bytes) else json.dumps(manifest(clip("a")) | document).encode()
    drop("one", data, {"a": b"1", "b": b"2"})
    delivery = read(home)
    assert len([item for item in delivery.items if item.entry]) == 2
    assert delivery.row["state"] == "accepted" or delivery.row["reasons"]
    to_table("deliveries", [delivery.row])
    to_table("delivery_items", [item.row for item in delivery.items])


def test_a_sidecar_that_is_larger_than_its_clip_says_so(home: Home, drop: Drop) -> None:
    files = {"a.mp4": b"film" * 9, "a.srt": b"words", "a.xmp": b"x" * 99, "other.xmp": b"x" * 99}
    drop("one", manifest(clip("a.mp4")), files)
    assert outcome(read(home)) == {
        "a.mp4": [],
        "a.srt": [Code.NOT_IN_MANIFEST],
        "a.xmp": [Code.NOT_IN_MANIFEST, Code.SIDECAR_TOO_LARGE],
        "other.xmp": [Code.NOT_IN_MANIFEST],
    }

"""The two assets, materialised: nothing lost, nothing decoded twice, the same bytes again."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from assets.decode import process as child_module
from assets.home import Home
from assets.ingestion.assets import deliveries, media
from assets.partitions import received_days
from assets.reasons import Code, code_of
from tests.assets.samples import DAY, clip, encode, manifest, pictures

Drop = Callable[..., Path]
TABLES = ("deliveries", "delivery_items", "consent_submissions", "media")


def materialise(home: Home, day: str = DAY) -> dg.ExecuteInProcessResult:
    with dg.DagsterInstance.ephemeral() as instance:
        instance.add_dynamic_partitions(received_days.name or "", [day])
        return dg.materialize(
            [deliveries, media], resources={"home": home}, partition_key=day, instance=instance, raise_on_error=False
        )


def checks(result: dg.ExecuteInProcessResult) -> dict[str, bool]:
    evaluations = result.get_asset_check_evaluations()
    return {f"{check.asset_key.to_user_string()}.{check.check_name}": check.passed for check in evaluations}


def metadata(result: dg.ExecuteInProcessResult, asset: str) -> dict[str, Any]:
    return {k: v.value for k, v in result.asset_materializations_for_node(asset)[0].metadata.items()}


def stored(home: Home) -> dict[str, bytes]:
    """The day's Parquet files."""
    return {name: home.store.get(home.lake.key(name, DAY)) for name in TABLES}


@pytest.fixture
def mixed_day(drop: Drop, video: Path, tmp_path: Path) -> None:
    """A good delivery, one with bad files, and one with a broken manifest."""
    consent = json.dumps([{"body": {}, "key_id": "k", "sig": "00"}]).encode()
    drop("good", manifest(clip("a.mp4")), {"a.mp4": video, "consent/events.json": consent})
    names = ["cut.mp4", "empty.mp4", "gone.mp4", "again.mp4"]
    data = video.read_bytes()
    drop(
        "mixed",
        manifest(*map(clip, names), delivery_id="d-2", contributor_id="c-2"),
        {"cut.mp4": data[: len(data) // 2], "empty.mp4": b"", "again.mp4": data, "stray.txt": b"?"},
    )
    drop("broken", b"{", {"b.mp4": encode(tmp_path / "b.mp4", seed=3, frames=6)})


@pytest.mark.usefixtures("mixed_day")
def test_a_day_with_broken_deliveries_materialises_with_a_verdict_for_every_file(home: Home) -> None:
    result = materialise(home)
    assert result.success
    assert checks(result) == {
        "deliveries.manifest_schema": True,
        "deliveries.manifests_valid": False,  # a warning
        "deliveries.requests_known": True,
        "deliveries.nothing_lost": True,
        "media.nothing_lost": True,
        "media.all_taken_in": True,
    }
    names = {row["item_id"]: row["file_name"] for row in home.lake.rows("delivery_items", DAY)}
    verdicts = {names[r["item_id"]]: [code_of(reason) for reason in r["reasons"]] for r in home.lake.rows("media", DAY)}
    assert verdicts.pop("cut.mp4")[0] == Code.TRUNCATED
    assert verdicts == {
        "a.mp4": [],
        "again.mp4": [],
        "empty.mp4": [Code.EMPTY],
        "gone.mp4": [Code.MISSING_FILE],
        "stray.txt": [Code.NOT_IN_MANIFEST],
        "b.mp4": [Code.DELIVERY_QUARANTINED],
    }
    assert [row["delivery_id"] for row in home.lake.rows("consent_submissions", DAY)] == ["d-1"]


@pytest.mark.usefixtures("mixed_day")
def test_accepted_files_are_kept_by_content_and_refused_ones_in_quarantine(home: Home, video: Path) -> None:
    materialise(home)
    rows = home.lake.rows("media", DAY)
    accepted = [row for row in rows if row["state"] == "accepted"]
    sha = accepted[0]["bytes_sha256"]
    assert {row["media_key"] for row in accepted} == {f"media/{sha[:2]}/{sha[2:4]}/{sha}.mp4"}
    assert home.store.get(accepted[0]["media_key"]) == video.read_bytes()
    refused = [row for row in rows if row["state"] != "accepted" and row["bytes_sha256"]]
    assert len(refused) == 4
    assert all(row["media_key"] == f"quarantine/{row['bytes_sha256'][:2]}/{row['bytes_sha256']}" for row in refused)
    assert all(home.store.exists(row["media_key"]) for row in refused)


@pytest.mark.usefixtures("mixed_day")
def test_the_metadata_shows_counts_reasons_and_pictures(home: Home) -> None:
    result = materialise(home)
    declared, measured = metadata(result, "deliveries"), metadata(result, "media")
    assert (declared["deliveries"], declared["files_accepted"], declared["files_quarantined"]) == (3, 4, 3)
    assert (measured["files_accepted"], measured["files_quarantined"], measured["dagster/row_count"]) == (2, 5, 7)
    assert f"`{Code.TRUNCATED}` | 1 | {Code.TRUNCATED.advice}" in measured["refused_for"]
    assert "media.empty" in measured["quarantined"]
    for title in ("accepted_pictures", "refused_pictures"):
        assert measured[title].startswith("![")
        assert len(measured[title]) < 200_000


@pytest.mark.usefixtures("mixed_day")
def test_the_second_run_decodes_nothing_and_writes_the_same_bytes(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    launches: list[object] = []
    real = child_module.launch
    monkeypatch.setattr(
        child_module, "launch", lambda command, limits: launches.append(command) or real(command, limits)
    )
    materialise(home)
    before = stored(home)
    assert launches
    launches.clear()
    assert metadata(materialise(home), "media")["files_decoded_now"] == 0
    assert launches == []
    assert stored(home) == before


def test_a_rerun_replaces_the_day(home: Home, drop: Drop, video: Path) -> None:
    drop("one", manifest(clip("a.mp4")), {"a.mp4": video})
    materialise(home)
    before = home.lake.rows("media", DAY)
    drop("two", manifest(clip("b.mp4"), delivery_id="d-2"), {"b.mp4": video})
    materialise(home)
    after = home.lake.rows("media", DAY)
    assert len(after) == 2
    assert before[0] in after
    assert {row["frames_sha256"] for row in after} == {before[0]["frames_sha256"]}


def test_renaming_a_delivered_file_changes_no_identity(home: Home, drop: Drop, video: Path) -> None:
    base = drop("one", manifest(clip("a.mp4")), {"a.mp4": video})
    materialise(home)
    (before,) = home.lake.rows("media", DAY)
    (base / "a.mp4").rename(base / "holiday.avi")
    (base / "delivery.json").write_text(json.dumps(manifest(clip("holiday.avi"))))
    materialise(home)
    (after,) = home.lake.rows("media", DAY)
    assert [code_of(note) for note in after.pop("notes")] == [Code.OTHER_EXTENSION]
    assert before.pop("notes") == []
    assert after == before


def test_a_delivery_for_an_unknown_request_is_taken_in_with_a_warning(home: Home, drop: Drop, video: Path) -> None:
    drop("one", manifest(clip("a.mp4"), request_id="r-nobody-asked"), {"a.mp4": video})
    result = materialise(home)
    assert result.success
    assert checks(result)["deliveries.requests_known"] is False
    assert [row["state"] for row in home.lake.rows("deliveries", DAY)] == ["accepted"]


def test_a_day_without_deliveries_is_empty_and_passes(home: Home) -> None:
    result = materialise(home)
    assert result.success
    assert all(checks(result).values())
    assert home.lake.rows("media", DAY) == []


def test_a_file_that_vanished_after_registration_is_a_row(home: Home, drop: Drop, video: Path) -> None:
    base = drop("one", manifest(clip("a.mp4")), {"a.mp4": video})
    with dg.DagsterInstance.ephemeral() as instance:
        instance.add_dynamic_partitions(received_days.name or "", [DAY])
        dg.materialize([deliveries], resources={"home": home}, partition_key=DAY, instance=instance)
        (base / "a.mp4").unlink()
        result = dg.materialize(
            [deliveries, media], resources={"home": home}, partition_key=DAY, instance=instance, selection=[media]
        )
    assert result.success
    assert [code_of(reason) for row in home.lake.rows("media", DAY) for reason in row["reasons"]] == [Code.FILE_GONE]


def test_a_file_that_grows_while_it_is_taken_in_is_refused(
    home: Home, drop: Drop, video: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from assets.ingestion import intake

    base, real = drop("one", manifest(clip("a.mp4"), clip("b.mp4")), {"a.mp4": video, "b.mp4": video}), intake._copy
    (base / "b.mp4").write_bytes(video.read_bytes() + b"\0\0\0\x08free")

    def copy_as_it_grows(source: Path, target: Path) -> str:
        if source.name == "a.mp4":
            with source.open("ab") as file:
                file.write(b"more")
        return real(source, target)

    monkeypatch.setattr(intake, "_copy", copy_as_it_grows)
    materialise(home)
    rows = sorted(home.lake.rows("media", DAY), key=lambda row: row["size_bytes"])
    assert [[code_of(reason) for reason in row["reasons"]] for row in rows] == [[Code.CHANGED], []]


def test_a_file_other_than_the_declared_one_is_refused_though_it_plays(home: Home, drop: Drop, video: Path) -> None:
    digest = hashlib.sha256(video.read_bytes()).hexdigest()
    files = {"same.mp4": video, "other.mp4": video}
    drop("one", manifest(clip("same.mp4", sha256=digest), clip("other.mp4", sha256="0" * 64)), files)
    materialise(home)
    names = {row["item_id"]: row["file_name"] for row in home.lake.rows("delivery_items", DAY)}
    verdicts = {names[row["item_id"]]: row for row in home.lake.rows("media", DAY)}
    assert (verdicts["same.mp4"]["state"], verdicts["other.mp4"]["state"]) == ("accepted", "quarantined")
    assert [code_of(reason) for reason in verdicts["other.mp4"]["reasons"]] == [Code.OTHER_BYTES]


def test_what_a_released_model_made_is_recognised_when_it_is_delivered(home: Home, drop: Drop, tmp_path: Path) -> None:
    from assets.marks.watermark import embed, payload_of, watermark_key
    from training.data.video import write_mp4

    frames = pictures(16, 96, 160)
    marked = embed(frames, payload_of("model-7"), watermark_key(home.signing), 8.0)
    films = {name: write_mp4(tmp_path / name, data, 8) for name, data in (("own.mp4", marked), ("shot.mp4", frames))}
    drop("one", manifest(clip("own.mp4"), clip("shot.mp4")), films)
    materialise(home)
    names = {row["item_id"]: row["file_name"] for row in home.lake.rows("delivery_items", DAY)}
    delivered = {names[row["item_id"]]: row for row in home.lake.rows("media", DAY)}
    assert delivered["own.mp4"]["watermark_log10_p"] < -20
    assert int(delivered["own.mp4"]["watermark_payload"], 16) == payload_of("model-7")
    assert delivered["shot.mp4"]["watermark_log10_p"] > -3
    assert delivered["shot.mp4"]["watermark_payload"] is None


def test_the_blocking_check_stops_the_run_when_a_file_is_lost(
    home: Home, drop: Drop, video: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drop("one", manifest(clip("a.mp4"), clip("b.mp4")), {"a.mp4": video, "b.mp4": b"b"})
    import assets.ingestion.assets as module

    real = module.read_day

    def forgetful(*arguments: Any) -> Any:
        day = real(*arguments)
        day.deliveries[0].items.pop()
        return day

    monkeypatch.setattr(module, "read_day", forgetful)
    result = materialise(home)
    assert not result.success
    assert checks(result)["deliveries.nothing_lost"] is False
    assert not result.asset_materializations_for_node("media")


def test_bytes_that_left_the_store_are_a_loss(home: Home, drop: Drop, video: Path) -> None:
    from assets.ingestion.intake import lost

    drop("one", manifest(clip("a.mp4")), {"a.mp4": video})
    materialise(home)
    rows = home.lake.rows("media", DAY)
    assert lost(home.store, rows) == []
    home.store.delete(rows[0]["media_key"])
    assert lost(home.store, rows) == [rows[0]["item_id"]]
    materialise(home)  # the inbox still has it
    assert lost(home.store, rows) == []

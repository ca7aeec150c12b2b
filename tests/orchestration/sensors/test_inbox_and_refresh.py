"""What deliveries ask for: the intake of their days, and a refresh once all of it is in."""

from __future__ import annotations

import json
import shutil
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from assets.home import Home
from assets.ingestion import inbox, progress
from assets.partitions import received_days
from orchestration import sensors
from tests.orchestration.sensors.conftest import DAY, Tick, run_of


@pytest.mark.parametrize("sensor", ["inbox_sensor", "refresh_sensor", "ledger_sensor", "champion_sensor"])
def test_on_an_empty_home_a_sensor_says_why_it_does_nothing(tick: Tick, home: Home, sensor: str) -> None:
    output = tick(sensor, home)
    skipped = output if isinstance(output, dg.SkipReason) else output.skip_reason
    assert skipped.skip_message
    assert isinstance(output, dg.SkipReason) or not output.run_requests


def drop(home: Home, name: str, day: str = DAY) -> Path:
    """A delivery folder in the inbox; a sensor does not look at what is in it."""
    folder = home.state / "inbox" / day / name
    folder.mkdir(parents=True)
    (folder / "delivery.json").write_text(json.dumps({"delivery_id": name}))
    return folder


def register(home: Home, *names: str) -> None:
    """What intake leaves in the lake of the folders that it has taken in."""
    rows = [
        {
            "delivery_id": name,
            "received_day": DAY,
            "folder": name,
            "received_at": f"{DAY}T09:00:00Z",
            "manifest_sha256": inbox.manifest_sha256(home.store, DAY, name),
            "items_declared": 0,
            "state": "accepted",
            "reasons": [],
        }
        for name in names
    ]
    home.lake.write("deliveries", rows, DAY)


def test_a_delivery_folder_asks_for_its_received_day_and_adds_the_partition(tick: Tick, home: Home) -> None:
    drop(home, "d-one")
    ticked = tick("inbox_sensor", home)
    (request,) = ticked.run_requests
    assert request.partition_key == DAY
    (added,) = ticked.dynamic_partitions_requests
    assert (added.partitions_def_name, added.partition_keys) == (received_days.name, [DAY])


def test_a_day_that_is_known_is_not_added_again(tick: Tick, home: Home, instance: dg.DagsterInstance) -> None:
    instance.add_dynamic_partitions(str(received_days.name), [DAY])
    drop(home, "d-one")
    ticked = tick("inbox_sensor", home)
    assert len(ticked.run_requests) == 1
    assert not ticked.dynamic_partitions_requests


def test_two_folders_of_a_day_ask_for_one_run_and_another_day_for_its_own(tick: Tick, home: Home) -> None:
    drop(home, "d-one")
    drop(home, "d-two")
    drop(home, "d-three", "2026-11-03")
    ticked = tick("inbox_sensor", home)
    assert [request.partition_key for request in ticked.run_requests] == [DAY, "2026-11-03"]
    assert ticked.run_requests[0].tags["rushes/deliveries"] == "d-one,d-two"


def test_a_registered_folder_does_not_ask_and_a_later_one_does(tick: Tick, home: Home) -> None:
    drop(home, "d-one")
    register(home, "d-one")
    assert "No delivery folder" in tick("inbox_sensor", home).skip_reason.skip_message
    drop(home, "d-two")
    (request,) = tick("inbox_sensor", home).run_requests
    assert request.tags["rushes/deliveries"] == "d-two"


def test_a_folder_asks_under_the_same_key_until_its_manifest_changes(tick: Tick, home: Home) -> None:
    """Dagster launches a run key once: a folder that can never be registered does not ask for ever."""
    folder = drop(home, "d-one")
    first, again = (tick("inbox_sensor", home).run_requests[0].run_key for _ in range(2))
    assert first == again
    (folder / "delivery.json").write_text('{"delivery_id": "d-one", "corrected": true}')
    assert tick("inbox_sensor", home).run_requests[0].run_key != first


def test_a_day_whose_intake_is_under_way_waits_and_others_do_not(
    tick: Tick, home: Home, instance: dg.DagsterInstance
) -> None:
    run_of(instance, "intake", dg.DagsterRunStatus.STARTED, **{"dagster/partition": DAY})
    drop(home, "d-one")
    assert DAY in tick("inbox_sensor", home).skip_reason.skip_message
    drop(home, "d-two", "2026-11-03")
    assert [request.partition_key for request in tick("inbox_sensor", home).run_requests] == ["2026-11-03"]


def ended(instance: dg.DagsterInstance, request: dg.RunRequest, status: dg.DagsterRunStatus) -> None:
    """The run that a sensor asked for, over without having changed anything."""
    tags = {**request.tags, "dagster/partition": str(request.partition_key)}
    run_of(instance, "intake", status, **tags)


@pytest.mark.parametrize("status", [dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED])
def test_what_a_run_left_undone_is_asked_for_again_at_once_and_then_at_growing_intervals(
    tick: Tick, home: Home, instance: dg.DagsterInstance, status: dg.DagsterRunStatus, monkeypatch: pytest.MonkeyPatch
) -> None:
    drop(home, "d-one")
    first = tick("inbox_sensor", home).run_requests[0]
    ended(instance, first, status)
    second = tick("inbox_sensor", home).run_requests[0]
    assert second.run_key != first.run_key, "Dagster launches a run key once"
    ended(instance, second, status)
    assert "tried again in" in tick("inbox_sensor", home).skip_reason.skip_message
    drop(home, "d-two")
    assert tick("inbox_sensor", home).run_requests, "what is new does not wait for it"
    shutil.rmtree(home.state / "inbox" / DAY / "d-two")
    monkeypatch.setattr(sensors, "TRY_AGAIN_S", -1.0)
    assert tick("inbox_sensor", home).run_requests[0].run_key not in {first.run_key, second.run_key}


def test_a_killed_run_that_dagster_is_about_to_run_again_is_under_way(
    tick: Tick, home: Home, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the sensor's own run of the day would work beside it."""
    drop(home, "d-one")
    request = tick("inbox_sensor", home).run_requests[0]
    tags = {**request.tags, "dagster/partition": DAY, "dagster/will_retry": "true"}
    killed = run_of(instance, "intake", dg.DagsterRunStatus.FAILURE, **tags)
    assert "under way" in tick("inbox_sensor", home).skip_reason.skip_message
    instance.add_run_tags(killed.run_id, {"dagster/auto_retry_run_id": "r-2"})
    assert tick("inbox_sensor", home).run_requests, "the other run speaks for itself"
    run_of(instance, "intake", dg.DagsterRunStatus.FAILURE, **tags)
    monkeypatch.setattr(sensors, "ABOUT_TO_RETRY", timedelta(0))
    assert "under way" not in tick("inbox_sensor", home).skip_reason.skip_message, "nobody waits for ever"


def test_a_clip_that_comes_after_its_folder_was_taken_in_asks_for_its_day(tick: Tick, home: Home) -> None:
    folder = drop(home, "d-one")
    progress.begin(home, DAY, "run")
    register(home, "d-one")
    assert tick("inbox_sensor", home).run_requests, "its intake did not come to its end"
    progress.finish(home, DAY, "run")
    assert not tick("inbox_sensor", home).run_requests
    (folder / "late.mp4").write_bytes(b"late")
    (request,) = tick("inbox_sensor", home).run_requests
    assert (request.partition_key, request.tags["rushes/deliveries"]) == (DAY, "d-one")


def test_a_loose_folder_is_adopted_under_today_once_it_has_settled(
    tick: Tick, home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    drop(home, "d-loose", ".")
    assert not tick("inbox_sensor", home).run_requests, "it may still be being copied"
    monkeypatch.setattr(inbox, "_last_change", lambda folder: 0.0)
    (request,) = tick("inbox_sensor", home).run_requests
    assert request.partition_key == datetime.now(UTC).date().isoformat()
    assert (home.state / "inbox" / str(request.partition_key) / "d-loose" / "delivery.json").is_file()


def test_nothing_received_asks_for_no_refresh(tick: Tick, home: Home) -> None:
    assert "Nothing was received" in tick("refresh_sensor", home).skip_reason.skip_message


@pytest.mark.parametrize("status", ["STARTED", "CANCELING", "SUSPENDED"])
def test_a_refresh_waits_for_every_intake_whatever_it_is_doing(
    tick: Tick, small_world: Any, instance: dg.DagsterInstance, status: str
) -> None:
    """Also for one that is being cancelled: it still writes."""
    run_of(instance, "intake", dg.DagsterRunStatus(status))
    assert "under way" in tick("refresh_sensor", small_world.home).skip_reason.skip_message


def asked_for(instance: dg.DagsterInstance, ticked: dg.SensorResult, status: dg.DagsterRunStatus) -> dg.DagsterRun:
    """The run that Dagster makes of a sensor's only request, as it ended or stands."""
    (request,) = ticked.run_requests or ()
    return run_of(instance, "refresh", status, **request.tags)


def test_a_refresh_is_asked_for_until_it_succeeded_and_never_twice_at_once(
    tick: Tick, small_world: Any, instance: dg.DagsterInstance
) -> None:
    ticked = tick("refresh_sensor", small_world.home)
    run = asked_for(instance, ticked, dg.DagsterRunStatus.CANCELING)
    assert "under way" in tick("refresh_sensor", small_world.home, ticked.cursor).skip_reason.skip_message
    instance.delete_run(run.run_id)
    asked_for(instance, ticked, dg.DagsterRunStatus.SUCCESS)
    again = tick("refresh_sensor", small_world.home, ticked.cursor)
    assert not again.run_requests
    assert again.cursor[:12] in again.skip_reason.skip_message


def test_a_refresh_that_failed_is_asked_for_again_after_a_pause_that_grows(
    tick: Tick, small_world: Any, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    ticked = tick("refresh_sensor", small_world.home)
    pauses = []
    for _ in range(8):
        asked_for(instance, ticked, dg.DagsterRunStatus.FAILURE)
        waits = tick("refresh_sensor", small_world.home, ticked.cursor)
        assert not waits.run_requests, "not at the next tick"
        seconds = float(waits.skip_reason.skip_message.split(" in ")[1].split()[0])
        pauses.append(round(seconds, -1))  # the test itself takes time
        now = time.time()
        monkeypatch.setattr("orchestration.sensors.time.time", lambda now=now: now + sensors.LONGEST_PAUSE_S + 1)
        again = tick("refresh_sensor", small_world.home, waits.cursor)
        monkeypatch.undo()
        assert len(again.run_requests) == 1
    assert pauses == sorted(pauses)
    assert pauses[0] <= 60 < pauses[-1] <= sensors.LONGEST_PAUSE_S


def test_footage_that_comes_back_to_an_earlier_state_is_refreshed_again(
    tick: Tick, small_world: Any, instance: dg.DagsterInstance
) -> None:
    ticked = tick("refresh_sensor", small_world.home)
    asked_for(instance, ticked, dg.DagsterRunStatus.SUCCESS)
    run_of(instance, "refresh", dg.DagsterRunStatus.SUCCESS, **{sensors.RECEIVED_TAG: "another state"})
    assert len(tick("refresh_sensor", small_world.home, "another state").run_requests) == 1


@pytest.mark.parametrize("table", ["verdicts", "consent_submissions", "media"])
def test_any_change_of_what_was_received_asks_for_a_refresh(
    tick: Tick, small_world: Any, instance: dg.DagsterInstance, table: str
) -> None:
    """Also a delivery that brings nothing but a withdrawal, or nothing but broken files."""
    home = small_world.home
    asked_for(instance, tick("refresh_sensor", home), dg.DagsterRunStatus.SUCCESS)
    before = tick("refresh_sensor", home).cursor
    rows = home.lake.rows(table, DAY)
    extra = {
        "verdicts": lambda: rows[0] | {"verdict": "fail"},
        "media": lambda: rows[0] | {"state": "quarantined"},
        "consent_submissions": lambda: {
            "delivery_id": "d", "received_day": DAY, "event_sha256": "ab" * 32, "envelope_json": "{}"
        },
    }  # fmt: skip
    home.lake.write(table, [extra[table](), *rows[1:]], DAY)
    assert len(tick("refresh_sensor", home, before).run_requests) == 1

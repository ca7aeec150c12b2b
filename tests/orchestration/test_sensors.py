"""What the graph asks for without a person: each sensor and the night, ticked over real homes on a real instance."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import dagster as dg
import pytest
from dagster._core.utils import make_new_run_id

from assets.consent.reviews.records import submit_review
from assets.dataset.snapshot import build as seal
from assets.evaluation.gate import COPIES, OVERALL
from assets.evaluation.registry import CANDIDATE, CHAMPION, MODEL, Registry
from assets.evaluation.scorecards import Scorecard, store_scorecard
from assets.home import Home
from assets.ingestion import inbox
from assets.partitions import received_days
from assets.requests.parse import parse_line
from assets.requests.store import add_request, list_proposals
from orchestration.night import INPUTS_TAG, inputs_of, night_tags
from orchestration.schedules import nightly_schedule
from orchestration.sensors import build_sensors
from tests.orchestration.graph import instance_in
from tests.reviewers import enrol_reviewers
from training.consent.ledger import Ledger

DAY = "2026-11-02"
SENSORS = {sensor.name: sensor for sensor in build_sensors(dg.DefaultSensorStatus.STOPPED)}

Tick = Callable[..., dg.SensorResult]
Add = Callable[..., str]


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    with instance_in(tmp_path / "dagster") as found:
        yield found


@pytest.fixture
def tick(instance: dg.DagsterInstance) -> Tick:
    """Evaluates a sensor over a home, from a cursor on."""

    def one(sensor: str, home: Home, cursor: str | None = None) -> Any:
        with dg.build_sensor_context(instance=instance, cursor=cursor, resources={"home": home}) as context:
            return SENSORS[sensor](context)

    return one


def run_of(instance: dg.DagsterInstance, job: str, status: dg.DagsterRunStatus, **tags: str) -> dg.DagsterRun:
    """A run of a job as it stands in the instance; nothing is executed."""
    run = dg.DagsterRun(job_name=job, run_id=make_new_run_id(), status=status, tags=tags)
    instance.add_run(run)
    return run


@pytest.mark.parametrize("sensor", ["inbox_sensor", "refresh_sensor", "ledger_sensor", "champion_sensor"])
def test_on_an_empty_home_a_sensor_says_why_it_does_nothing(tick: Tick, home: Home, sensor: str) -> None:
    said = tick(sensor, home)
    skipped = said if isinstance(said, dg.SkipReason) else said.skip_reason
    assert skipped.skip_message
    assert isinstance(said, dg.SkipReason) or not said.run_requests


# the inbox


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
    asked = tick("inbox_sensor", home)
    (request,) = asked.run_requests
    assert request.partition_key == DAY
    (added,) = asked.dynamic_partitions_requests
    assert (added.partitions_def_name, added.partition_keys) == (received_days.name, [DAY])


def test_a_day_that_is_known_is_not_added_again(tick: Tick, home: Home, instance: dg.DagsterInstance) -> None:
    instance.add_dynamic_partitions(str(received_days.name), [DAY])
    drop(home, "d-one")
    asked = tick("inbox_sensor", home)
    assert len(asked.run_requests) == 1
    assert not asked.dynamic_partitions_requests


def test_two_folders_of_a_day_ask_for_one_run_and_another_day_for_its_own(tick: Tick, home: Home) -> None:
    drop(home, "d-one")
    drop(home, "d-two")
    drop(home, "d-three", "2026-11-03")
    asked = tick("inbox_sensor", home)
    assert [request.partition_key for request in asked.run_requests] == [DAY, "2026-11-03"]
    assert asked.run_requests[0].tags["rushes/deliveries"] == "d-one,d-two"


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


def test_a_loose_folder_is_adopted_under_today_once_it_has_settled(
    tick: Tick, home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    drop(home, "d-loose", ".")
    assert not tick("inbox_sensor", home).run_requests, "it may still be being copied"
    monkeypatch.setattr(inbox, "_last_change", lambda folder: 0.0)
    (request,) = tick("inbox_sensor", home).run_requests
    assert request.partition_key == datetime.now(UTC).date().isoformat()
    assert (home.state / "inbox" / str(request.partition_key) / "d-loose" / "delivery.json").is_file()


# the refresh


def test_nothing_received_asks_for_no_refresh(tick: Tick, home: Home) -> None:
    assert "Nothing was received" in tick("refresh_sensor", home).skip_reason.skip_message


def test_a_refresh_waits_for_every_intake_and_is_then_asked_once(
    tick: Tick, small_world: Any, instance: dg.DagsterInstance
) -> None:
    run = run_of(instance, "intake", dg.DagsterRunStatus.STARTING)
    assert "under way" in tick("refresh_sensor", small_world.home).skip_reason.skip_message
    instance.delete_run(run.run_id)
    asked = tick("refresh_sensor", small_world.home)
    assert len(asked.run_requests) == 1
    again = tick("refresh_sensor", small_world.home, asked.cursor)
    assert not again.run_requests
    assert asked.cursor[:12] in again.skip_reason.skip_message


@pytest.mark.parametrize("table", ["verdicts", "consent_submissions", "media"])
def test_any_change_of_what_was_received_asks_for_a_refresh(tick: Tick, small_world: Any, table: str) -> None:
    """Also a delivery that brings nothing but a withdrawal, or nothing but broken files."""
    home = small_world.home
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


# the ledger


@pytest.fixture(scope="module")
def empty_registry(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated MLflow database with nothing in it: making one takes seconds."""
    home = Home.local(tmp_path_factory.mktemp("template"))
    Registry(home).client.create_registered_model(MODEL)
    return home.state / "mlflow.db"


@pytest.fixture
def registry(home: Home, empty_registry: Path) -> Registry:
    shutil.copyfile(empty_registry, home.state / "mlflow.db")
    return Registry(home)


@pytest.fixture
def add(registry: Registry) -> Add:
    """Registers a version of a snapshot that passed the gate, having copied `copies` clips."""

    def one(key: str, root: str, copies: int = 0) -> str:
        row = {
            "metric": COPIES, "slice": OVERALL, "value": float(copies), "ci_low": 0.0, "ci_high": 0.0, "n": 1,
            "unit": "1", "better": "none", "method": "test", "state": "measured", "why": None,
        }  # fmt: skip
        store_scorecard(registry.home, Scorecard(key, "h", [row]))
        tags = {"model_key": key, "snapshot_root": root, "gate": "passed", "taint": "none"}
        return str(registry.client.create_model_version(MODEL, "file:///nowhere", tags=tags).version)

    return one


def test_a_withdrawal_acts_on_the_model_asks_for_a_retrain_and_for_new_footage(
    tick: Tick, small_world: Any, registry: Registry, add: Add
) -> None:
    home: Home = small_world.home
    sealed = seal(home, datetime.now(UTC)).sealed
    champion = add("m-1", sealed.root)
    registry.set_alias(CHAMPION, champion)
    cursor = str(Ledger(home.database_url).size())
    small_world.revoke(sealed.clip_ids[0])

    acted = tick("ledger_sensor", home, cursor)

    assert "consent.revoked" in (registry.version(champion).taint or "")
    assert registry.alias(CHAMPION) is None, "no clean version may take its place"
    (request,) = acted.run_requests
    assert "no champion" in request.tags["rushes/why"]
    (seen,) = acted.asset_events
    assert seen.asset_key.path == ["champion"]
    assert "receipts/withdrawals/w-" in seen.metadata["receipts"].value
    assert INPUTS_TAG not in request.tags, "digesting all inputs takes long; the next night compares for itself"
    (proposal,) = list_proposals(home.database_url)
    assert proposal["origin_ref"] == sealed.clip_ids[0]

    again = tick("ledger_sensor", home, acted.cursor)
    assert not again.run_requests
    assert list_proposals(home.database_url) == [proposal]


def test_the_champion_moves_to_a_version_that_never_saw_the_clip(
    tick: Tick, small_world: Any, registry: Registry, add: Add
) -> None:
    home: Home = small_world.home
    sealed = seal(home, datetime.now(UTC)).sealed
    cursor = str(Ledger(home.database_url).size())
    small_world.revoke(sealed.clip_ids[0])
    clean, champion = add("m-clean", seal(home, datetime.now(UTC)).sealed.root), add("m-1", sealed.root)
    registry.set_alias(CHAMPION, champion)
    registry.set_alias(CANDIDATE, champion)
    tick("ledger_sensor", home, cursor)
    assert registry.alias(CHAMPION) == clean
    assert registry.alias(CANDIDATE) is None


def test_a_consent_that_ends_asks_for_a_retrain_of_its_own(
    tick: Tick, world: Any, add: Add, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The ledger is no longer for it: under the key of the withdrawal before, Dagster would launch nothing."""
    home, now = world.home, datetime.now(UTC)
    for name in ("c-1", "c-2", "c-3"):
        world.deliver(name)
    (lapsing,) = world.deliver("c-4", clips=1, consent=False)
    world.grant(lapsing, "c-4", expires_at=now + timedelta(days=40))
    world.settle()
    first = seal(home, now).sealed
    cursor = str(Ledger(home.database_url).size())
    add("m-1", first.root)
    world.revoke(next(clip for clip in first.clip_ids if clip != lapsing))
    withdrawn = tick("ledger_sensor", home, cursor)
    second = seal(home, datetime.now(UTC)).sealed
    assert lapsing in second.clip_ids
    add("m-2", second.root)
    assert not tick("ledger_sensor", home, withdrawn.cursor).run_requests
    monkeypatch.setattr("assets.consent.withdrawals.taint.now_utc", lambda: now + timedelta(days=41))
    lapsed = tick("ledger_sensor", home, withdrawn.cursor)
    assert lapsed.cursor.split(":")[0] == withdrawn.cursor.split(":")[0]
    assert len(lapsed.run_requests) == 1
    assert lapsed.run_requests[0].run_key != withdrawn.run_requests[0].run_key


def test_a_withdrawal_that_reaches_no_model_asks_for_no_retrain(tick: Tick, small_world: Any) -> None:
    cursor = str(Ledger(small_world.home.database_url).size())
    small_world.revoke(sorted(small_world.grants)[0])
    said = tick("ledger_sensor", small_world.home, cursor)
    assert not said.run_requests
    assert "No model is affected" in said.skip_reason.skip_message
    assert said.cursor == f"{int(cursor) + 1}:1"


def test_a_ledger_that_only_grew_by_grants_asks_for_nothing(tick: Tick, small_world: Any) -> None:
    assert "No withdrawal" in tick("ledger_sensor", small_world.home).skip_reason.skip_message


# the champion


def test_an_alias_that_was_moved_to_a_version_that_must_not_serve_is_moved_back(
    tick: Tick, small_world: Any, registry: Registry, add: Add
) -> None:
    home: Home = small_world.home
    root = seal(home, datetime.now(UTC)).sealed.root
    good, copier = add("m-1", root), add("m-2", root, copies=2)
    registry.set_alias(CHAMPION, copier)  # as an engineer does in MLflow's UI
    said = tick("champion_sensor", home).skip_message
    assert registry.alias(CHAMPION) == good
    assert f"version {copier} must not serve" in said
    assert "copies" in said
    assert f"version {good} is champion again" in said
    assert tick("champion_sensor", home).skip_message == f"version {good} may serve"


# the night


@pytest.fixture
def night(instance: dg.DagsterInstance) -> Callable[..., Any]:
    """Asks the schedule of a site in Brussels on the night of a day."""
    schedule = nightly_schedule("Europe/Brussels", dg.DefaultScheduleStatus.STOPPED)

    def one(home: Home, at: datetime) -> Any:
        context = dg.build_schedule_context(instance=instance, scheduled_execution_time=at, resources={"home": home})
        with context:
            return schedule.evaluate_tick(context)

    return one


def tonight(days: int = 0) -> datetime:
    """02:00 in Brussels, `days` from tomorrow."""
    today = datetime.now(ZoneInfo("Europe/Brussels"))
    return (today + timedelta(days=days + 1)).replace(hour=2, minute=0, second=0, microsecond=0)


def test_the_night_is_at_two_in_the_time_zone_of_the_site() -> None:
    schedule = nightly_schedule("Europe/Brussels", dg.DefaultScheduleStatus.RUNNING)
    assert (schedule.cron_schedule, schedule.execution_timezone) == ("0 2 * * *", "Europe/Brussels")
    assert schedule.job_name == "nightly"


def test_the_first_night_runs_and_remembers_its_inputs(night: Any, small_world: Any) -> None:
    (request,) = night(small_world.home, tonight()).run_requests
    assert request.tags[INPUTS_TAG] == inputs_of(small_world.home, tonight()).digest
    assert request.tags["rushes/why"] == "first night"


def test_a_night_with_nothing_new_runs_nothing_and_names_what_is_unchanged(
    night: Any, small_world: Any, instance: dg.DagsterInstance
) -> None:
    home: Home = small_world.home
    inputs = inputs_of(home, tonight())
    run_of(instance, "nightly", dg.DagsterRunStatus.SUCCESS, **night_tags(inputs, "test"))
    ticked = night(home, tonight(1))
    assert not ticked.run_requests
    assert "Nothing new" in ticked.skip_message
    assert f"ledger {inputs.parts['ledger'][:12]}" in ticked.skip_message
    assert f"eligible {inputs.parts['eligible'][:12]}" in ticked.skip_message


def test_a_night_that_failed_is_not_taken_for_done(night: Any, small_world: Any, instance: dg.DagsterInstance) -> None:
    inputs = inputs_of(small_world.home, tonight())
    run_of(instance, "nightly", dg.DagsterRunStatus.FAILURE, **night_tags(inputs, "test"))
    assert night(small_world.home, tonight(1)).run_requests


def test_a_night_compares_itself_with_the_last_good_night_and_not_with_any(
    night: Any, small_world: Any, instance: dg.DagsterInstance
) -> None:
    """Consent that was withdrawn and given again: an older night had the same inputs, the last one had others."""
    inputs = inputs_of(small_world.home, tonight())
    run_of(instance, "nightly", dg.DagsterRunStatus.SUCCESS, **night_tags(inputs, "older"))
    run_of(instance, "nightly", dg.DagsterRunStatus.SUCCESS, **{INPUTS_TAG: "0" * 64})
    (request,) = night(small_world.home, tonight(1)).run_requests
    assert "from 000000000000" in request.tags["rushes/why"]


@pytest.mark.parametrize("change", ["consent", "review", "request", "footage", "preset"])
def test_whatever_a_night_works_from_wakes_it(
    night: Any, small_world: Any, instance: dg.DagsterInstance, change: str
) -> None:
    home: Home = small_world.home
    run_of(instance, "nightly", dg.DagsterRunStatus.SUCCESS, **night_tags(inputs_of(home, tonight()), "test"))
    assert not night(home, tonight(1)).run_requests
    if change == "consent":
        small_world.revoke(sorted(small_world.grants)[0])
    elif change == "review":
        enrol_reviewers(home.database_url, "v-3")
        submit_review(
            home.database_url, reviewer_id="v-3", verdict="approve", persons_counted=0, now=datetime.now(UTC),
            clip_id="c" * 64, item_id="i-9", shot_index=0, digest="d" * 64,
        )  # fmt: skip
    elif change == "request":
        add_request(home.database_url, parse_line("sunset, 10 seconds, 2 clips"), datetime.now(UTC))
    elif change == "footage":
        home.lake.write("verdicts", [], "2026-11-03")
    else:
        home = replace(home, training={"transformer": {"steps": 7}})
    assert len(night(home, tonight(1)).run_requests) == 1


def test_a_consent_that_lapses_by_date_alone_wakes_the_night(
    night: Any, world: Any, instance: dg.DagsterInstance
) -> None:
    """Training looks 30 days ahead: a consent of 40 days holds tonight and not in a fortnight, with no event at all."""
    world.deliver("c-1")
    (clip,) = world.deliver("c-2", clips=1, consent=False)
    world.grant(clip, "c-2", expires_at=datetime.now(UTC) + timedelta(days=40))
    world.settle()
    run_of(instance, "nightly", dg.DagsterRunStatus.SUCCESS, **night_tags(inputs_of(world.home, tonight()), "test"))
    assert "Nothing new" in night(world.home, tonight(5)).skip_message
    assert night(world.home, tonight(14)).run_requests

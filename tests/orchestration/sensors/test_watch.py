"""Whatever lasts and stops nothing is told: nights that are missed, sensors that fail, checks, and nothing that serves."""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest
from dagster import _check as check
from dagster._core.remote_origin import (
    ManagedGrpcPythonEnvCodeLocationOrigin,
    RemoteInstigatorOrigin,
    RemoteRepositoryOrigin,
)
from dagster._core.scheduler.instigation import (
    InstigatorState,
    InstigatorStatus,
    InstigatorType,
    ScheduleInstigatorData,
    TickData,
    TickStatus,
)
from dagster._core.types.loadable_target_origin import LoadableTargetOrigin
from dagster._core.utils import make_new_run_id
from dagster._utils.error import SerializableErrorInfo
from dagster._utils.schedules import schedule_execution_time_iterator

from assets.evaluation import promotion
from assets.home import Home
from assets.registry import CHAMPION, MODEL, REGISTERED, Registry
from orchestration import watch
from orchestration.schedules import SCHEDULE, latest_tick, nightly_schedule
from orchestration.sensors import page_failure
from tests.orchestration.sensors.conftest import Tick, run_of

Look = Callable[[], dg.SensorResult]
HOUR = 3600.0


@pytest.fixture
def look(tick: Tick, home: Home) -> Look:
    return looking(tick, home)


def looking(tick: Tick, home: Home) -> Look:
    """One tick of the sensor after another, each from where the last one ended."""
    cursor: list[str | None] = [None]

    def look() -> dg.SensorResult:
        result = tick("watch_sensor", home, cursor[0])
        cursor[0] = result.cursor
        return result

    return look


def alerted(home: Home) -> list[str]:
    path = home.state / "alerts.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else []
    return [f"{line['condition']} {line['state']}" for line in lines]


def automation(
    instance: dg.DagsterInstance, name: str, *ticks: tuple[TickStatus, float], since: float = 0.0, stopped: bool = False
) -> None:
    """A schedule or sensor as the daemon keeps it, with the ticks that it had (status, time), oldest first."""
    location = ManagedGrpcPythonEnvCodeLocationOrigin(LoadableTargetOrigin(module_name="orchestration.definitions"))
    origin = RemoteInstigatorOrigin(RemoteRepositoryOrigin(location, "__repository__"), name)
    kind = InstigatorType.SCHEDULE if name == SCHEDULE else InstigatorType.SENSOR
    data = ScheduleInstigatorData("0 2 * * *", since) if name == SCHEDULE else None
    state = InstigatorState(origin, kind, InstigatorStatus.STOPPED if stopped else InstigatorStatus.RUNNING, data)
    if not instance.get_instigator_state(state.instigator_origin_id, state.selector_id):
        instance.add_instigator_state(state)
    for status, at in ticks:
        cause = SerializableErrorInfo("the ledger is locked", [], None)
        wrapped = SerializableErrorInfo("Error occurred during the execution of evaluation_fn", [], None, cause)
        error = wrapped if status == TickStatus.FAILURE else None  # as Dagster keeps it
        instance.create_tick(
            TickData(
                state.instigator_origin_id, name, kind, status, at, error=error, selector_id=state.selector_id,
                end_timestamp=at + 5,
            )
        )  # fmt: skip


def due() -> float:
    return latest_tick(datetime.now(UTC) - watch.GRACE, "UTC").timestamp()


def test_a_young_home_alerts_of_nothing(look: Look, home: Home, instance: dg.DagsterInstance) -> None:
    automation(instance, SCHEDULE, since=time.time())
    assert look().skip_reason.skip_message == "Nothing is wrong."  # type: ignore[union-attr]
    assert alerted(home) == []


def test_a_sensor_that_fails_three_ticks_in_a_row_alerts_once_until_it_works_again(
    look: Look, home: Home, instance: dg.DagsterInstance
) -> None:
    now = time.time()
    automation(instance, "ledger_sensor", *((TickStatus.FAILURE, now - ago) for ago in (300, 200)))
    look()
    assert alerted(home) == []
    automation(instance, "ledger_sensor", (TickStatus.FAILURE, now - 100))
    assert "the ledger is locked" in look().skip_reason.skip_message  # type: ignore[union-attr]
    automation(instance, "ledger_sensor", (TickStatus.FAILURE, now - 50))
    look()
    assert alerted(home) == ["automation: ledger_sensor open"]
    automation(instance, "ledger_sensor", (TickStatus.SKIPPED, now))
    look()
    assert alerted(home)[1:] == ["automation: ledger_sensor resolved"]


def test_a_sensor_that_is_always_under_way_and_always_fails_alerts(
    look: Look, home: Home, instance: dg.DagsterInstance
) -> None:
    """One that hangs until its time is up is under way at every look."""
    now = time.time()
    automation(instance, "ledger_sensor", *((TickStatus.FAILURE, now - ago) for ago in (300, 200, 100)))
    automation(instance, "ledger_sensor", (TickStatus.STARTED, now))
    look()
    assert alerted(home) == ["automation: ledger_sensor open"]


def test_a_sensor_that_somebody_stopped_alerts(look: Look, home: Home, instance: dg.DagsterInstance) -> None:
    automation(instance, "inbox_sensor", stopped=True)
    look()
    assert alerted(home) == ["automation: inbox_sensor open"]


def test_a_night_that_did_not_begin_alerts(
    look: Look, home: Home, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(promotion, "_champion", lambda home: promotion.Standing("1"))
    automation(instance, SCHEDULE, (TickStatus.SKIPPED, due() - 24 * HOUR), since=due() - 60)
    look()
    assert alerted(home) == ["night: missed open"]
    automation(instance, SCHEDULE, (TickStatus.SKIPPED, due()))
    look()
    assert alerted(home)[1:] == ["night: missed resolved"]


@pytest.mark.parametrize(
    "zone", ["UTC", "Europe/Brussels", "America/Havana", "Australia/Lord_Howe", "Antarctica/Troll"]
)
def test_the_night_is_due_when_dagster_begins_it_all_year_round(zone: str) -> None:
    """Also where clocks change at two o'clock, which then comes twice, or not at all."""
    schedule = nightly_schedule(zone, dg.DefaultScheduleStatus.STOPPED)
    new_year = datetime(2026, 1, 1, tzinfo=UTC).timestamp()
    nights = schedule_execution_time_iterator(new_year, str(schedule.cron_schedule), schedule.execution_timezone)
    year = [night.timestamp() for night in itertools.islice(nights, 366)]
    for began, following in itertools.pairwise(year):
        for now in (began + 60, following - 60):
            at = datetime.fromtimestamp(now, UTC)
            assert latest_tick(at, zone).timestamp() == began, at


def test_a_schedule_whose_tick_failed_alerts_at_once(look: Look, home: Home, instance: dg.DagsterInstance) -> None:
    automation(instance, SCHEDULE, (TickStatus.FAILURE, due()), since=due() - 60)
    look()
    assert alerted(home) == [f"automation: {SCHEDULE} open"]


def test_a_night_that_was_cancelled_alerts(look: Look, home: Home, instance: dg.DagsterInstance) -> None:
    run_of(instance, "nightly", dg.DagsterRunStatus.CANCELED)
    look()
    assert alerted(home) == ["night: cancelled open"]


def test_a_night_after_which_nothing_serves_alerts_and_beats_no_heart(
    look: Look, home: Home, registry: Registry, instance: dg.DagsterInstance
) -> None:
    version = str(registry.client.create_model_version(MODEL, "file:///nowhere", tags={"model_key": "m-1"}).version)
    automation(instance, SCHEDULE, (TickStatus.SKIPPED, due()), since=due() - 60)
    (shown,) = look().asset_events
    assert alerted(home) == ["champion: nothing serves open"]
    assert isinstance(shown, dg.AssetCheckEvaluation)
    assert (shown.check_name, shown.passed) == ("something_serves", False)
    assert promotion.read_heartbeat(home)["night"] is None
    assert not look().asset_events, "the check is shown when it changes"
    registry.set_alias(CHAMPION, version)
    registry.tag(version, "taint", "consent.revoked")
    (shown,) = look().asset_events
    assert (shown.passed, shown.severity) == (False, dg.AssetCheckSeverity.ERROR)  # type: ignore[union-attr]
    assert alerted(home)[1:] == ["champion: must not serve open", "champion: nothing serves resolved"]


@pytest.mark.parametrize("address", ["http://127.0.0.1:9", "sqlite:///{folder}/elsewhere.db?timeout=60"])
def test_a_registry_that_cannot_be_asked_is_unknown_and_not_empty(
    home: Home, address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    home.store.put(REGISTERED, b"{}")
    elsewhere = replace(home, mlflow_uri=address.format(folder=tmp_path))
    champion = promotion.standing_of(elsewhere, datetime.now(UTC))
    assert champion.wrong.keys() == {promotion.UNKNOWN}
    assert champion.serious


def test_nights_that_no_longer_end_well_fail_the_check_where_they_are_expected(home: Home) -> None:
    now = datetime.now(UTC)
    for night, since, looked, late in (
        (27, 99, 0, True),
        (25, 99, 0, False),
        (None, 27, 0, True),
        (None, 1, 0, False),
        (99, 1, 0, False),
        (27, 99, 2, False),
        (27, None, 0, False),
    ):
        names = {"night": night, "since": since, "looked_at": looked}
        beat = {name: (now - timedelta(hours=ago)).isoformat() for name, ago in names.items() if ago is not None}
        (home.state / promotion.HEARTBEAT).write_text(json.dumps(beat))
        assert (promotion.STOPPED in promotion.standing_of(home, now).wrong) is late, names


def test_the_alert_of_a_killed_run_is_over_when_it_was_run_again(
    look: Look, home: Home, instance: dg.DagsterInstance
) -> None:
    def run(status: dg.DagsterRunStatus, of: str | None = None, **tags: str) -> str:
        run = dg.DagsterRun("intake", make_new_run_id(), status=status, tags=tags, parent_run_id=of, root_run_id=of)
        instance.add_run(run)
        return run.run_id

    def fails(run_id: str) -> None:
        instance.report_run_failed(check.not_none(instance.get_run_by_id(run_id)), "the run's process is gone")
        event = instance.get_records_for_run(run_id, of_type=dg.DagsterEventType.RUN_FAILURE).records[0]
        failure, failed = event.event_log_entry.get_dagster_event(), check.not_none(instance.get_run_by_id(run_id))
        with dg.build_run_status_sensor_context("failure_sensor", failure, instance, failed) as context:
            page_failure(context.for_run_failure(), home)

    works = dg.DagsterRunStatus.STARTED
    healed, lost = (run(works, **{"dagster/will_retry": "true", "dagster/auto_retry_run_id": "r"}) for _ in range(2))
    fails(healed)
    fails(lost)
    run(dg.DagsterRunStatus.SUCCESS, healed)
    again = run(works, lost)
    fails(again)
    run(dg.DagsterRunStatus.SUCCESS, lost)
    look()
    first = [f"run {healed} open", f"run {lost} open"]
    assert alerted(home) == [*first, f"run {again} open", f"run {healed} resolved"], "each once"


def test_a_failed_check_is_told_until_it_passes_for_the_same_day(
    look: Look, home: Home, instance: dg.DagsterInstance
) -> None:
    days = dg.DynamicPartitionsDefinition(name="received")
    good: dict[str, bool] = {}

    @dg.asset(partitions_def=days, check_specs=[dg.AssetCheckSpec("plausible", asset="signals")])
    def signals(context) -> dg.MaterializeResult:  # type: ignore[no-untyped-def]  # Dagster reads annotations itself
        result = dg.AssetCheckResult(
            check_name="plausible", passed=good[context.partition_key], severity=dg.AssetCheckSeverity.WARN
        )
        return dg.MaterializeResult(check_results=[result])

    def take_in(day: str, passes: bool) -> None:
        good[day] = passes
        instance.add_dynamic_partitions("received", [day])
        dg.materialize([signals], instance=instance, partition_key=day)

    take_in("2026-11-02", False)
    look()
    take_in("2026-11-03", True)
    look()
    assert alerted(home) == ["check: signals.plausible 2026-11-02 open"]
    take_in("2026-11-02", True)
    look()
    assert alerted(home)[1:] == ["check: signals.plausible 2026-11-02 resolved"]


def test_an_outside_monitor_hears_of_each_night_that_ended_well_until_it_was_told(
    tick: Tick, home: Home, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(promotion, "_champion", lambda home: promotion.Standing("1"))
    answers, asked = ["HTTP 500", None, None], []
    monkeypatch.setattr("orchestration.alerts.post", lambda variable, url, body: asked.append(url) or answers.pop(0))
    look = looking(tick, replace(home, heartbeat_url="http://monitor/s3cret"))
    look()
    assert asked == [], "no night has ended"
    automation(instance, SCHEDULE, (TickStatus.SKIPPED, due()), since=due() - 99 * HOUR)
    assert "HTTP 500" in look().skip_reason.skip_message  # type: ignore[union-attr]
    for _ in range(3):
        look()
    assert asked == ["http://monitor/s3cret"] * 2, "again until it was told, then no more"
    automation(instance, SCHEDULE, (TickStatus.SKIPPED, due() + 60))
    look()
    assert len(asked) == 3


def test_after_a_withdrawal_the_asset_champion_shows_what_serves_now(
    tick: Tick, home: Home, registry: Registry, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    @dg.asset
    def registered_model() -> dg.MaterializeResult:
        return dg.MaterializeResult(data_version=dg.DataVersion("m-1"))

    @dg.asset(deps=[registered_model], code_version="1")
    def champion() -> dg.MaterializeResult:
        return dg.MaterializeResult(data_version=dg.DataVersion("1"))

    dg.materialize([registered_model, champion], instance=instance)
    made = instance.get_latest_materialization_event(dg.AssetKey("champion"))
    monkeypatch.setattr("assets.evaluation.promotion.reconcile_champion", lambda home, by: "version 1 must not serve")
    for event in tick("champion_sensor", home).asset_events:
        instance.report_runless_asset_event(event)
    shown = instance.get_latest_materialization_event(dg.AssetKey("champion"))
    assert made
    assert made.asset_materialization
    assert shown
    assert shown.asset_materialization
    tags, before = shown.asset_materialization.tags or {}, made.asset_materialization.tags or {}
    assert tags["dagster/data_version"] == "none"
    changed = {name for name in tags if tags[name] != before.get(name)}
    assert changed == {"dagster/data_version"}, "what it was made from stays"
    assert isinstance(tick("champion_sensor", home), dg.SkipReason), "it is shown once"

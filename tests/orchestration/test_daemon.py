"""A real Dagster with its daemon over a new home: a folder is dropped, sensors do the rest, and all of it ends again."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import dagster as dg
import pytest

from assets.home import Home
from orchestration import services
from orchestration.jobs import INTAKE_ASSETS
from orchestration.launch import failure_reason
from orchestration.settings import Settings, open_home
from orchestration.status import mart
from tests.orchestration.graph import settings_in
from tests.worlds import SmallWorld

PATIENCE_S = 420
CLIPS = 2

pytestmark = pytest.mark.slow


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Automation on; a site where it is not about to be night, when the graph would begin to train."""
    site = "UTC" if datetime.now(UTC).hour >= 3 else "Asia/Tokyo"
    port = services.free_port(0)
    return settings_in(tmp_path, automation="on", timezone=site, ui_port=str(port))


@pytest.fixture
def instance(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[dg.DagsterInstance]:
    """The instance that the services work on, seen from here."""
    monkeypatch.setenv("DAGSTER_HOME", str(services.prepare_instance(settings)))
    with dg.DagsterInstance.get() as instance:
        yield instance


def processes_below(folder: Path) -> list[str]:
    """Command lines of other processes whose environment names the folder."""
    commands = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            named = str(folder).encode() in (process / "environ").read_bytes()
            command = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        except OSError:
            continue  # it ended, or is somebody else's
        if named and command and int(process.name) != os.getpid():
            commands.append(command)
    return commands


def finished(instance: dg.DagsterInstance, job: str) -> dg.DagsterRun | None:
    """The run of a job that succeeded; fails the test with the reason of one that failed."""
    for run in instance.get_runs(dg.RunsFilter(job_name=job)):
        if run.is_success:
            return run
        assert not run.is_finished, failure_reason(instance, run)
    return None


def wait_for(what: Callable[[], dg.DagsterRun | None], title: str, log: Path) -> dg.DagsterRun:
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        if run := what():
            return run
        time.sleep(2)
    raise AssertionError(f"no {title} within {PATIENCE_S} s; the end of {log}:\n{log.read_text()[-3000:]}")


def passed_checks(instance: dg.DagsterInstance, run: dg.DagsterRun) -> set[str]:
    """`asset.check` of every check that a run evaluated and that passed."""
    records = instance.get_records_for_run(run.run_id, of_type=dg.DagsterEventType.ASSET_CHECK_EVALUATION).records
    events = [record.event_log_entry.dagster_event for record in records]
    checks = [event.asset_check_evaluation_data for event in events if event]
    return {f"{check.asset_key.to_user_string()}.{check.check_name}" for check in checks if check.passed}


def failed_ticks(instance: dg.DagsterInstance) -> list[str]:
    """Errors of sensors and schedules."""
    ticks = [
        (state.name, tick)
        for state in instance.all_instigator_state()
        for tick in instance.get_ticks(state.instigator_origin_id, state.selector_id)
    ]
    assert ticks
    return [f"{name}: {tick.error.to_string()}" for name, tick in ticks if tick.error]


def test_a_dropped_folder_becomes_clips_in_the_warehouse_by_sensors_alone(
    settings: Settings, instance: dg.DagsterInstance, tmp_path: Path
) -> None:
    home: Home = open_home(settings)
    delivery = SmallWorld(tmp_path / "outbox").delivery("d-one", "c-one", [1, 2], "2026-11-02")
    dagster = services.dagster_service(settings)
    with services.running(dagster):
        assert processes_below(settings.state), "this is how its processes are found"
        shutil.copytree(delivery, Path(settings.home) / "inbox" / "my-footage")  # as a person drops it
        intake = wait_for(lambda: finished(instance, "intake"), "intake", dagster.log_path)
        refresh = wait_for(lambda: finished(instance, "refresh"), "refresh", dagster.log_path)
        clips = mart(home, "fct_clips")
    deadline = time.monotonic() + 30
    while processes_below(settings.state) and time.monotonic() < deadline:
        time.sleep(0.5)
    assert processes_below(settings.state) == [], "Dagster left processes behind"

    day = intake.tags["dagster/partition"]
    assert intake.tags["dagster/sensor_name"] == "inbox_sensor"
    assert refresh.tags["dagster/sensor_name"] == "refresh_sensor"
    for name in INTAKE_ASSETS:
        assert instance.get_materialized_partitions(dg.AssetKey(name)) == {day}
    assert len(clips) == CLIPS
    assert {clip["clip_id"] for clip in clips} == {row["clip_id"] for row in home.lake.rows("shots", day)}
    assert {clip["contributor_id"] for clip in clips} == {"c-one"}
    assert "verdicts.every_check_decided" in passed_checks(instance, intake)
    assert any(name.startswith("fct_clips.") for name in passed_checks(instance, refresh)), "dbt's tests are checks"
    assert instance.get_latest_materialization_event(dg.AssetKey("fct_clips"))
    assert failed_ticks(instance) == []
    assert {run.job_name for run in instance.get_runs()} == {"intake", "refresh"}, "nothing asked for training"

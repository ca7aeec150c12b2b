"""When the night runs, and what happens to a run when something is out of reach for a moment."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import dagster as dg
import pytest

from assets.consent.reviews import submit_review
from assets.home import Home
from assets.requests.parse import parse_line
from assets.requests.store import add_request
from orchestration.jobs import AGAIN, jobs
from orchestration.schedules import INPUTS_TAG, inputs_of, night_tags, nightly_schedule
from tests.orchestration.sensors.conftest import run_of
from tests.worlds import enrol_reviewers


@pytest.fixture
def night(instance: dg.DagsterInstance) -> Callable[..., Any]:
    """Asks the schedule of a site in Brussels on the night of a day."""
    schedule = nightly_schedule("Europe/Brussels", dg.DefaultScheduleStatus.STOPPED)

    def evaluate(home: Home, at: datetime) -> Any:
        context = dg.build_schedule_context(instance=instance, scheduled_execution_time=at, resources={"home": home})
        with context:
            return schedule.evaluate_tick(context)

    return evaluate


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


def test_a_night_whose_inputs_cannot_be_read_runs_all_the_same_and_alerts(
    night: Any, small_world: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody can say that there is nothing to do; and what is broken is heard of before the night is over."""

    def unreadable(home: Home, at: datetime) -> None:
        raise OSError("the bucket does not answer")

    monkeypatch.setattr("orchestration.schedules.inputs_of", unreadable)
    (request,) = night(small_world.home, tonight()).run_requests
    assert INPUTS_TAG not in request.tags
    assert "the bucket does not answer" in request.tags["rushes/why"]
    monkeypatch.undo()
    assert night(small_world.home, tonight(1)).run_requests
    alerts = [json.loads(line) for line in (small_world.home.state / "alerts.jsonl").read_text().splitlines()]
    assert [line["state"] for line in alerts] == ["open", "resolved"]


def test_an_alert_that_cannot_be_kept_costs_no_night(
    night: Any, home: Home, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*args: object, **named: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("orchestration.alerts.settle", full)
    monkeypatch.setattr("orchestration.schedules.inputs_of", full)
    (request,) = night(home, tonight()).run_requests
    assert request.run_key.endswith("-unknown")


# -- jobs --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("error", [OSError("the bucket does not answer"), dg.Failure("refused", allow_retries=False)])
def test_a_step_is_tried_again_where_that_may_help(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    tried = []

    @dg.asset
    def media() -> None:
        tried.append(1)
        if len(tried) < 3:
            raise error

    policy = dg.RetryPolicy(AGAIN.max_retries, 0, AGAIN.backoff, AGAIN.jitter)
    job = dg.define_asset_job("intake", selection="media", op_retry_policy=policy)
    run = dg.Definitions([media], jobs=[job]).resolve_job_def("intake").execute_in_process(raise_on_error=False)
    assert (run.success, len(tried)) == ((True, 3) if isinstance(error, OSError) else (False, 1))


def test_every_job_tries_again_and_every_run_has_a_bound() -> None:
    for job in jobs:
        assert job.op_retry_policy == AGAIN
        assert float((job.tags or {}).get("dagster/max_runtime", 43200)) <= 3 * 24 * 3600

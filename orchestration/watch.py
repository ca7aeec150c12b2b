"""Who watches the nights: conditions that last, looked for at every tick, and the heartbeat of a night that ended well.

What belongs here: reading Dagster's own records and saying what is wrong in words. How it reaches people is `alerts`'s.
A condition's name starts with its scope.
"""

from __future__ import annotations

import datetime as dt
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import dagster as dg
from dagster._core.scheduler.instigation import TickStatus

from assets.evaluation import standing
from assets.home import Home
from assets.store import write_atomically
from orchestration import alerts
from orchestration.jobs import nightly_job
from orchestration.schedules import SCHEDULE, last_hour

if TYPE_CHECKING:
    from dagster._core.scheduler.instigation import InstigatorState
    from dagster._utils.error import SerializableErrorInfo

SENSORS = ("inbox_sensor", "refresh_sensor", "ledger_sensor", "champion_sensor", "failure_sensor", "watch_sensor")
CHAMPION, NIGHT, AUTOMATION, CHECK = "champion: ", "night: ", "automation: ", "check: "
SCOPES = (CHAMPION, NIGHT, AUTOMATION)  # of which every look finds all that lasts; a check is over when it passes
# assets whose failed checks stop nothing, so that nobody would hear of them
FORWARDED = ("media", "signals", "verdicts", "consent_ledger", "training_snapshot", "renditions", "latents", "champion")
IN_A_ROW = 3  # ticks that fail before a sensor alerts
ENDED = [TickStatus.SUCCESS, TickStatus.SKIPPED, TickStatus.FAILURE]  # one under way says nothing yet
GRACE = dt.timedelta(minutes=30)  # after the hour of the night, until a tick that is missing is called missed
LONGEST_NIGHT = dt.timedelta(hours=12)


def automation(instance: dg.DagsterInstance) -> dict[str, str]:
    """Sensors that fail tick after tick, a schedule whose last tick failed, and either that somebody stopped."""
    found = {}
    for state in instance.all_instigator_state():
        if state.name not in (*SENSORS, SCHEDULE):
            continue
        name = f"{AUTOMATION}{state.name}"
        if state.status.value == "STOPPED":
            found[name] = f"{state.name} is stopped, and nothing that it does happens; start it on the page Automation"
            continue
        limit = 1 if state.name == SCHEDULE else IN_A_ROW
        ticks = instance.get_ticks(state.instigator_origin_id, state.selector_id, limit=limit, statuses=ENDED)
        if len(ticks) == limit and all(tick.status == TickStatus.FAILURE for tick in ticks):
            found[name] = f"{state.name} failed {limit} times in a row: {_cause(ticks[0].error) or 'no reason given'}"
    return found


def _cause(error: SerializableErrorInfo | None) -> str:
    """Our own error's text: Dagster wraps it in one that only says that something was wrong."""
    while error and error.cause:
        error = error.cause
    return error.message.strip() if error else ""


@dataclass(frozen=True)
class Nights:
    """What is wrong with the last night; when the last one that ended well ended; since when the schedule runs."""

    wrong: dict[str, str]
    ended: dt.datetime | None
    since: dt.datetime | None


def nights(home: Home, instance: dg.DagsterInstance, now: dt.datetime) -> Nights:
    """A night in which there was nothing new to do ended well. Nothing is expected of a schedule that is not running."""
    state = next((one for one in instance.all_instigator_state() if one.name == SCHEDULE), None)
    wrong, ended = _last_run(instance, now)
    if state is None or (since := _since(state)) is None:
        return Nights(wrong, ended, None)
    due = last_hour(now - GRACE, home.site_timezone)
    ticks = instance.get_ticks(state.instigator_origin_id, state.selector_id, limit=5)
    quiet = [tick.end_timestamp for tick in ticks if tick.status == TickStatus.SKIPPED and tick.end_timestamp]
    ended = max((one for one in (ended, *map(_utc, quiet[:1])) if one), default=None)
    begun = [tick for tick in ticks if tick.timestamp >= due.timestamp()]
    if due >= since and not begun:
        wrong[f"{NIGHT}missed"] = f"the night of {due:%Y-%m-%d %H:%M %Z} did not begin"
    elif begun and (begun[-1].end_timestamp or 0) - begun[-1].timestamp > GRACE.total_seconds():
        late = _utc(begun[-1].end_timestamp or 0)
        wrong[f"{NIGHT}missed"] = f"the night of {due:%Y-%m-%d %H:%M %Z} began only at {late:%Y-%m-%d %H:%M} UTC"
    return Nights(wrong, ended, since)


def _last_run(instance: dg.DagsterInstance, now: dt.datetime) -> tuple[dict[str, str], dt.datetime | None]:
    """What is wrong with the newest run of a night, and when the last one that succeeded ended."""
    records = instance.get_run_records(dg.RunsFilter(job_name=nightly_job.name), limit=1)
    wrong = {}
    for run, begun in ((one.dagster_run, one.start_time) for one in records):
        if run.status == dg.DagsterRunStatus.CANCELED:
            wrong[f"{NIGHT}cancelled"] = f"the night was cancelled: run {run.run_id}"
        elif not run.is_finished and begun and now - _utc(begun) > LONGEST_NIGHT:
            hours = (now - _utc(begun)).total_seconds() / 3600
            wrong[f"{NIGHT}long"] = f"the night has not ended for {hours:.0f} hours: run {run.run_id}"
    return wrong, _last_success(instance)


def _since(state: InstigatorState) -> dt.datetime | None:
    """Since when the schedule runs; None where it does not."""
    started = getattr(state.instigator_data, "start_timestamp", None)
    return _utc(started) if started and state.status.value != "STOPPED" else None


def _last_success(instance: dg.DagsterInstance) -> dt.datetime | None:
    done = dg.RunsFilter(job_name=nightly_job.name, statuses=[dg.DagsterRunStatus.SUCCESS])
    return next((_utc(one.end_time) for one in instance.get_run_records(done, limit=1) if one.end_time), None)


def _utc(timestamp: float) -> dt.datetime:
    return dt.datetime.fromtimestamp(timestamp, dt.UTC)


def checks(instance: dg.DagsterInstance, since: dt.datetime) -> tuple[dict[str, str], set[str], dt.datetime]:
    """Failed and passed checks of the runs that ended after `since`, by name, and up to when runs were read.

    A run that succeeded after another was killed is what that one's alert waits for.
    """
    ended = dg.RunsFilter(statuses=[dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE], updated_after=since)
    failed: dict[str, str] = {}
    passed: set[str] = set()
    records = instance.get_run_records(ended, order_by="update_timestamp", ascending=True)
    for record in records:
        run = record.dagster_run
        if run.is_success and run.parent_run_id:
            passed.add(alerts.of_run(run.parent_run_id))
        day = run.tags.get("dagster/partition")
        for name, ok, said in _evaluations(instance, run.run_id):
            condition = f"{CHECK}{name}{f' {day}' if day else ''}"
            (passed.add if ok else passed.discard)(condition)
            failed.pop(condition, None)
            if not ok:
                failed[condition] = f"{name} failed in run {run.run_id}: {said}"
    return failed, passed, max((record.update_timestamp for record in records), default=since)


def _evaluations(instance: dg.DagsterInstance, run_id: str) -> Iterator[tuple[str, bool, str]]:
    events = instance.get_records_for_run(run_id, of_type=dg.DagsterEventType.ASSET_CHECK_EVALUATION).records
    for event in (record.event_log_entry.dagster_event for record in events):
        one = event.asset_check_evaluation_data if event else None
        if one and one.asset_key.to_user_string() in FORWARDED and one.check_name != standing.CHECK:
            name = f"{one.asset_key.to_user_string()}.{one.check_name}"
            yield name, one.passed, f"{one.severity.value}, {one.description or 'no description'}"


def beat(home: Home, now: dt.datetime, nights: Nights, well: bool) -> str | None:
    """Write the heartbeat, and tell the outside monitor of a night that ended well; says why it could not be told.

    The monitor alerts when it hears nothing: also when this machine is gone and nothing here can.
    """
    before = standing.read_heartbeat(home)
    night = nights.ended.isoformat() if nights.ended and well else before.get("night")
    told = before.get("told")
    failed = None
    if os.environ.get(alerts.HEARTBEAT_URL) and night and night != told:
        failed = alerts.post(alerts.HEARTBEAT_URL, None)
        told = told if failed else night
    since = nights.since.isoformat() if nights.since else None
    after = {"night": night, "since": since, "looked_at": now.isoformat(), "told": told}
    write_atomically(home.state / standing.HEARTBEAT, json.dumps(after, indent=1).encode())
    return f"{alerts.HEARTBEAT_URL} could not be told ({failed})" if failed else None

"""Lasting conditions that every tick of `watch_sensor` looks for, and the heartbeat of a night that ended well.

What belongs here: reading Dagster's own records and saying what is wrong. How it reaches people is `alerts`'s.
A condition's name starts with its scope.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import dagster as dg
from dagster._core.scheduler.instigation import TickStatus

from assets.evaluation import promotion
from assets.home import Home
from assets.store import write_atomically
from orchestration import alerts
from orchestration.jobs import nightly_job
from orchestration.schedules import SCHEDULE, latest_tick

if TYPE_CHECKING:
    from dagster._core.scheduler.instigation import InstigatorState
    from dagster._utils.error import SerializableErrorInfo

HEARTBEAT = "RUSHES_HEARTBEAT_URL"
CHAMPION, NIGHT, AUTOMATION, CHECK = "champion: ", "night: ", "automation: ", "check: "
SCOPES = (CHAMPION, NIGHT, AUTOMATION)  # every look finds all that lasts in these; a check is over when it passes
# what other people hand in may be wrong on any day, and is answered to them
HANDED_IN = {"footage_requests", "deliveries"}
IN_A_ROW = 3  # failed ticks before a sensor alerts
ENDED = [TickStatus.SUCCESS, TickStatus.SKIPPED, TickStatus.FAILURE]  # a tick under way says nothing yet
GRACE = dt.timedelta(minutes=30)  # after the hour of the night, until a missing tick counts as missed
LONGEST_NIGHT = dt.timedelta(hours=12)


def automation(instance: dg.DagsterInstance, sensors: Collection[str]) -> dict[str, str]:
    """Sensors that fail tick after tick, a schedule whose last tick failed, and either that somebody stopped."""
    wrong = {}
    for state in instance.all_instigator_state():
        if state.name != SCHEDULE and state.name not in sensors:
            continue
        name = f"{AUTOMATION}{state.name}"
        if state.status.value == "STOPPED":
            wrong[name] = f"{state.name} is stopped, and nothing that it does happens; start it on the page Automation"
            continue
        limit = 1 if state.name == SCHEDULE else IN_A_ROW
        ticks = instance.get_ticks(state.instigator_origin_id, state.selector_id, limit=limit, statuses=ENDED)
        if len(ticks) == limit and all(tick.status == TickStatus.FAILURE for tick in ticks):
            wrong[name] = f"{state.name} failed {limit} times in a row: {_cause(ticks[0].error) or 'no reason given'}"
    return wrong


def _cause(error: SerializableErrorInfo | None) -> str:
    """Our own error's text; Dagster wraps it in one that only says that something was wrong."""
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
    """A night with nothing new to do ended well. Nothing is expected of a schedule that is not running."""
    wrong, ended = _last_run(instance, now), _last_success(instance)
    state = next((state for state in instance.all_instigator_state() if state.name == SCHEDULE), None)
    if state is None or (since := _since(state)) is None:
        return Nights(wrong, ended, None)
    due = latest_tick(now - GRACE, home.site_timezone)
    ticks = instance.get_ticks(state.instigator_origin_id, state.selector_id, limit=5)
    skipped = [_utc(tick.end_timestamp) for tick in ticks if tick.status == TickStatus.SKIPPED and tick.end_timestamp]
    ended = max(filter(None, (ended, *skipped[:1])), default=None)
    begun = [tick for tick in ticks if tick.timestamp >= due.timestamp()]
    if due >= since and not begun:
        wrong[f"{NIGHT}missed"] = f"the night of {due:%Y-%m-%d %H:%M %Z} did not begin"
    elif begun and (begun[-1].end_timestamp or 0) - begun[-1].timestamp > GRACE.total_seconds():
        late = _utc(begun[-1].end_timestamp or 0)
        wrong[f"{NIGHT}missed"] = f"the night of {due:%Y-%m-%d %H:%M %Z} began only at {late:%Y-%m-%d %H:%M} UTC"
    return Nights(wrong, ended, since)


def _last_run(instance: dg.DagsterInstance, now: dt.datetime) -> dict[str, str]:
    """What is wrong with the newest run of a night."""
    for record in instance.get_run_records(dg.RunsFilter(job_name=nightly_job.name), limit=1):
        run = record.dagster_run
        if run.status == dg.DagsterRunStatus.CANCELED:
            return {f"{NIGHT}cancelled": f"the night was cancelled: run {run.run_id}"}
        if not run.is_finished and record.start_time and now - _utc(record.start_time) > LONGEST_NIGHT:
            hours = (now - _utc(record.start_time)).total_seconds() / 3600
            return {f"{NIGHT}long": f"the night has not ended for {hours:.0f} hours: run {run.run_id}"}
    return {}


def _last_success(instance: dg.DagsterInstance) -> dt.datetime | None:
    succeeded = dg.RunsFilter(job_name=nightly_job.name, statuses=[dg.DagsterRunStatus.SUCCESS])
    records = instance.get_run_records(succeeded, limit=1)
    return next((_utc(record.end_time) for record in records if record.end_time), None)


def _since(state: InstigatorState) -> dt.datetime | None:
    """Since when the schedule runs; None where it does not."""
    started = getattr(state.instigator_data, "start_timestamp", None)
    return _utc(started) if started and state.status.value != "STOPPED" else None


def _utc(timestamp: float) -> dt.datetime:
    return dt.datetime.fromtimestamp(timestamp, dt.UTC)


def checks(instance: dg.DagsterInstance, since: dt.datetime) -> tuple[dict[str, str], set[str], dt.datetime]:
    """(failed checks by name, resolved conditions, up to when runs were read) of the runs that ended after `since`.

    A retry that succeeded resolves the alert of the run that it repeats.
    """
    ended = dg.RunsFilter(statuses=[dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE], updated_after=since)
    failed: dict[str, str] = {}
    passed: set[str] = set()
    records = instance.get_run_records(ended, order_by="update_timestamp", ascending=True)
    for record in records:
        run = record.dagster_run
        if run.is_success and run.parent_run_id:
            passed.add(alerts.run_condition(run.parent_run_id))
        day = run.tags.get("dagster/partition")
        for name, problem in _evaluations(instance, run.run_id):
            condition = f"{CHECK}{name}{f' {day}' if day else ''}"
            (passed.discard if problem else passed.add)(condition)
            failed.pop(condition, None)
            if problem:
                failed[condition] = f"{name} failed in run {run.run_id}: {problem}"
    return failed, passed, max((record.update_timestamp for record in records), default=since)


def _evaluations(instance: dg.DagsterInstance, run_id: str) -> Iterator[tuple[str, str | None]]:
    """(check, what is wrong or None) of a run. A failure that stopped the run is left out: it alerts as a failed run."""
    events = instance.get_records_for_run(run_id, of_type=dg.DagsterEventType.ASSET_CHECK_EVALUATION).records
    for event in (record.event_log_entry.dagster_event for record in events):
        check = event.asset_check_evaluation_data if event else None
        if check is None or check.asset_key.to_user_string() in HANDED_IN or check.check_name == promotion.CHECK:
            continue
        name = f"{check.asset_key.to_user_string()}.{check.check_name}"
        if check.passed:
            yield name, None
        elif not check.blocking or check.severity == dg.AssetCheckSeverity.WARN:
            yield name, f"{check.severity.value}, {check.description or 'no description'}"


def beat(home: Home, now: dt.datetime, nights: Nights, well: bool) -> str | None:
    """Write the heartbeat and request the outside monitor's address once for each night that ended well.

    Returns why the monitor could not be reached. It alerts when it hears nothing, also when this machine is gone.
    """
    before = promotion.read_heartbeat(home)
    night = nights.ended.isoformat() if nights.ended and well else before.get("night")
    notified, failed = before.get("told"), None
    if home.heartbeat_url and night and night != notified:
        failed = alerts.post(HEARTBEAT, home.heartbeat_url, None)
        notified = notified if failed else night
    since = nights.since.isoformat() if nights.since else None
    after = {"night": night, "since": since, "looked_at": now.isoformat(), "told": notified}
    write_atomically(home.state / promotion.HEARTBEAT, json.dumps(after, indent=1).encode())
    return f"{HEARTBEAT} could not be reached ({failed})" if failed else None

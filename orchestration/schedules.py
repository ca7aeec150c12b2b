"""When the graph runs by the clock: the night at 02:00 in the site's time zone. A night with nothing new says so."""

from __future__ import annotations

import datetime as dt

import dagster as dg
from dagster._utils.schedules import get_latest_completed_cron_tick

from assets.home import Home
from orchestration import alerts
from orchestration.jobs import nightly_job
from orchestration.night import INPUTS_TAG, describe_change, inputs_of, night_tags

SCHEDULE, NIGHT = "nightly_schedule", "0 2 * * *"
INPUTS = "inputs of the night"  # the condition that what a night works from cannot be read


def last_hour(now: dt.datetime, timezone: str) -> dt.datetime:
    """When the last night at or before `now` was to begin, in the site's time zone.

    Dagster's own reckoning, since two o'clock comes twice in one night of the year, and not at all in another.
    """
    return get_latest_completed_cron_tick(NIGHT, now, timezone)


def last_inputs(instance: dg.DagsterInstance) -> str | None:
    """The inputs that the last successful night worked from, as its run remembers them."""
    done = instance.get_runs(dg.RunsFilter(job_name=nightly_job.name, statuses=[dg.DagsterRunStatus.SUCCESS]), limit=20)
    return next((run.tags[INPUTS_TAG] for run in done if INPUTS_TAG in run.tags), None)


def _tell(context: dg.ScheduleEvaluationContext, home: Home, wrong: dict[str, str]) -> None:
    """Alert, or say that it is over. An alert that cannot be kept costs no night."""
    try:
        alerts.settle(home, wrong, over=[INPUTS])
    except OSError as error:
        context.log.error(f"no alert could be kept: {error}")


def nightly_schedule(timezone: str, status: dg.DefaultScheduleStatus) -> dg.ScheduleDefinition:
    """The schedule for a site in `timezone`."""

    @dg.schedule(
        name=SCHEDULE,
        job=nightly_job,
        cron_schedule=NIGHT,
        execution_timezone=timezone,
        default_status=status,
        description="Refresh and retrain at 02:00 of the site, unless footage, consent, reviews, requests and code "
        "stand where the last successful night left them.",
    )
    def nightly(context: dg.ScheduleEvaluationContext, home: dg.ResourceParam[Home]) -> dg.RunRequest | dg.SkipReason:
        at = context.scheduled_execution_time
        key = f"night-{at.date().isoformat()}"
        try:
            now = inputs_of(home, at)
        except Exception as error:  # a night is not left out because nobody can say whether it has something to do
            why = f"the night runs without knowing what is new: {type(error).__name__}: {error}"
            _tell(context, home, {INPUTS: why})
            return dg.RunRequest(run_key=f"{key}-unknown", tags={"rushes/why": why[:400]})
        _tell(context, home, {})
        before = last_inputs(context.instance)
        if before == now.digest:
            return dg.SkipReason(f"Nothing new since the last successful night: {now.summary}. No training tonight.")
        return dg.RunRequest(
            run_key=f"{key}-{now.digest[:12]}",
            tags=night_tags(now, describe_change(before, now)),
        )

    return nightly

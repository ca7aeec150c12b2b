"""When the graph runs by the clock: the night at 02:00 in the site's time zone. A night with nothing new says so."""

from __future__ import annotations

import dagster as dg

from assets.home import Home
from orchestration.jobs import nightly_job
from orchestration.night import INPUTS_TAG, describe_change, inputs_of, night_tags

NIGHT = "0 2 * * *"


def last_inputs(instance: dg.DagsterInstance) -> str | None:
    """The inputs that the last successful night worked from, as its run remembers them."""
    done = instance.get_runs(dg.RunsFilter(job_name=nightly_job.name, statuses=[dg.DagsterRunStatus.SUCCESS]), limit=20)
    return next((run.tags[INPUTS_TAG] for run in done if INPUTS_TAG in run.tags), None)


def nightly_schedule(timezone: str, status: dg.DefaultScheduleStatus) -> dg.ScheduleDefinition:
    """The schedule for a site in `timezone`."""

    @dg.schedule(
        name="nightly_schedule",
        job=nightly_job,
        cron_schedule=NIGHT,
        execution_timezone=timezone,
        default_status=status,
        description="Refresh and retrain at 02:00 of the site, unless footage, consent, reviews, requests and code "
        "stand where the last successful night left them.",
    )
    def nightly(context: dg.ScheduleEvaluationContext, home: dg.ResourceParam[Home]) -> dg.RunRequest | dg.SkipReason:
        at = context.scheduled_execution_time
        now, before = inputs_of(home, at), last_inputs(context.instance)
        if before == now.digest:
            return dg.SkipReason(f"Nothing new since the last successful night: {now.summary}. No training tonight.")
        return dg.RunRequest(
            run_key=f"night-{at.date().isoformat()}-{now.digest[:12]}",
            tags=night_tags(now, describe_change(before, now)),
        )

    return nightly

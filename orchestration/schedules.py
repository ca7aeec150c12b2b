"""The nightly schedule: 02:00 in the site's time zone, unless nothing is new since the last successful night.

What a night would work from is one digest: equal digests mean that a run could only repeat what is there. It covers
received footage and its verdicts, consents that came with it, the ledger's head, reviews, requests, what is eligible on
that date (consent can expire with no event) and the code and preset of the model.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import json
from dataclasses import dataclass

import dagster as dg
from dagster._utils.schedules import get_latest_completed_cron_tick

from assets.consent.eligibility import eligible_digest
from assets.consent.ledger import Ledger
from assets.consent.reviews import reviews_digest
from assets.home import Home
from assets.model.config import code_digest
from assets.requests.store import requests_digest
from orchestration import alerts
from orchestration.jobs import nightly_job

SCHEDULE, NIGHT = "nightly_schedule", "0 2 * * *"
UNREADABLE = "inputs of the night"  # the condition that what a night works from cannot be read
INPUTS_TAG = "rushes/inputs"


@dataclass(frozen=True)
class NightInputs:
    parts: dict[str, str]

    @property
    def digest(self) -> str:
        return hashlib.sha256(json.dumps(self.parts, sort_keys=True).encode()).hexdigest()

    @property
    def summary(self) -> str:
        return ", ".join(f"{name} {value[:12]}" for name, value in sorted(self.parts.items()))


def inputs_of(home: Home, at: dt.datetime) -> NightInputs:
    """Digest every input as it stands now, with eligibility decided as of `at` (aware)."""
    head = Ledger(home.database_url).head()
    return NightInputs(
        {
            "footage": received_digest(home, "verdicts"),
            "consents": received_digest(home, "consent_submissions"),
            "ledger": f"{head.size}:{head.root}",
            "reviews": reviews_digest(home.database_url),
            "requests": requests_digest(home.database_url),
            "eligible": eligible_digest(home, at),
            "model_code": code_digest(home.training),
        }
    )


def received_digest(home: Home, *tables: str) -> str:
    """Digest of every received day of these tables."""
    digest = hashlib.sha256()
    for table in tables:
        for day in home.lake.partitions(table):
            content = home.store.get(home.lake.key(table, day))
            digest.update(f"{table} {day} {hashlib.sha256(content).hexdigest()}\n".encode())
    return digest.hexdigest()


def night_tags(inputs: NightInputs, why: str) -> dict[str, str]:
    """Tags of every nightly run, whoever asks for it: the next night compares its inputs with the last run's."""
    return {INPUTS_TAG: inputs.digest, "rushes/why": why[:400]}


def latest_tick(now: dt.datetime, timezone: str) -> dt.datetime:
    """When the last night at or before `now` was to begin, in the site's time zone.

    Dagster's own calculation, since two o'clock comes twice in one night of the year, and not at all in another.
    """
    return get_latest_completed_cron_tick(NIGHT, now, timezone)


def last_inputs(instance: dg.DagsterInstance) -> str | None:
    """The inputs of the last successful night, from the tags of its run."""
    succeeded = dg.RunsFilter(job_name=nightly_job.name, statuses=[dg.DagsterRunStatus.SUCCESS])
    return next(
        (run.tags[INPUTS_TAG] for run in instance.get_runs(succeeded, limit=20) if INPUTS_TAG in run.tags), None
    )


def _settle(context: dg.ScheduleEvaluationContext, home: Home, wrong: dict[str, str]) -> None:
    """Alert, or resolve the alert. An alert that cannot be kept does not cost a night."""
    try:
        alerts.settle(home, wrong, over=[UNREADABLE])
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
        except Exception as error:  # a night is not skipped because nobody can say whether it has something to do
            why = f"the night runs without knowing what is new: {type(error).__name__}: {error}"
            _settle(context, home, {UNREADABLE: why})
            return dg.RunRequest(run_key=f"{key}-unknown", tags={"rushes/why": why[:400]})
        _settle(context, home, {})
        before = last_inputs(context.instance)
        if before == now.digest:
            return dg.SkipReason(f"Nothing new since the last successful night: {now.summary}. No training tonight.")
        why = f"inputs changed from {before[:12]} to {now.digest[:12]}" if before else "first night"
        return dg.RunRequest(run_key=f"{key}-{now.digest[:12]}", tags=night_tags(now, why))

    return nightly

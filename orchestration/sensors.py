"""What makes the graph act without a clock: new deliveries, taken-in days, withdrawals, moved aliases, failures."""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Iterable
from typing import TYPE_CHECKING

import dagster as dg

from assets.home import Home
from assets.partitions import received_days
from orchestration.alerts import Alert, send
from orchestration.jobs import intake_job, nightly_job, refresh_job

if TYPE_CHECKING:
    from assets.consent.withdrawals.taint import Actions

INTAKE_TAG = "rushes/deliveries"
UNFINISHED = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
]
# what a refresh takes in: also a delivery that brought consents or broken files only
RECEIVED = ("deliveries", "delivery_items", "consent_submissions", "media", "verdicts")


def unfinished(instance: dg.DagsterInstance, job_name: str) -> list[dg.DagsterRun]:
    return list(instance.get_runs(dg.RunsFilter(job_name=job_name, statuses=UNFINISHED)))


def _key(parts: Iterable[str]) -> str:
    """A run key of bounded length."""
    return hashlib.sha256("\n".join(sorted(parts)).encode()).hexdigest()[:16]


def watch_inbox(context: dg.SensorEvaluationContext, home: dg.ResourceParam[Home]) -> dg.SensorResult:
    """One run a day with unregistered folders; the run key is their content, so that none asks twice.

    A day whose intake is under way waits: two runs at once would each leave out what the other saw.
    """
    from assets.ingestion.inbox import adopt_loose_folders, manifest_sha256, unregistered

    adopt_loose_folders(home, dt.datetime.now(dt.UTC).date().isoformat())
    busy = {run.tags.get("dagster/partition") for run in unfinished(context.instance, intake_job.name)}
    waiting: dict[str, list[str]] = {}
    for day, folder in unregistered(home):
        waiting.setdefault(day, []).append(folder)
    if not waiting:
        return dg.SensorResult(skip_reason="No delivery folder that is not registered yet.")
    days = sorted(waiting.keys() - busy)
    if not days:
        return dg.SensorResult(skip_reason=f"Intake of {', '.join(sorted(waiting))} is under way.")
    known = set(context.instance.get_dynamic_partitions(received_days.name or ""))
    requests = [
        dg.RunRequest(
            run_key=f"inbox-{day}-{_key(f'{f} {manifest_sha256(home.store, day, f)}' for f in waiting[day])}",
            partition_key=day,
            tags={INTAKE_TAG: ",".join(sorted(waiting[day]))[:200]},
        )
        for day in days
    ]
    new = [day for day in days if day not in known]
    return dg.SensorResult(
        run_requests=requests, dynamic_partitions_requests=[received_days.build_add_request(new)] if new else []
    )


def watch_received(context: dg.SensorEvaluationContext, home: dg.ResourceParam[Home]) -> dg.SensorResult:
    """The cursor is the digest of all received days that the last refresh was asked to take in."""
    from orchestration.night import received_digest

    if waiting := unfinished(context.instance, intake_job.name):
        return dg.SensorResult(skip_reason=f"{len(waiting)} intake runs are still under way.")
    if not home.lake.partitions("verdicts"):
        return dg.SensorResult(skip_reason="Nothing was received yet.")
    digest = received_digest(home, *RECEIVED)
    if digest == context.cursor:
        return dg.SensorResult(skip_reason=f"Nothing changed since the last refresh ({digest[:12]}).")
    # no run key: footage that comes back to an earlier state needs a refresh again
    return dg.SensorResult(run_requests=[dg.RunRequest(tags={"rushes/received": digest})], cursor=digest)


def watch_ledger(context: dg.SensorEvaluationContext, home: dg.ResourceParam[Home]) -> dg.SensorResult:
    """The cursor is `size:number`: the ledger's size and the last withdrawal about which a run was asked for; where
    something fails, with a digest of what was said of it.

    What was read and done is remembered in the withdrawals' own journal, so that a cursor that is set back, or a tick
    that is killed, repeats a report and nothing else.
    """
    from assets.consent.withdrawals.taint import act_on_ledger

    since, number, _ = f"{context.cursor or 0}::".split(":", 2)
    actions = act_on_ledger(home, int(since), after=int(number) if number else None)
    cursor = f"{actions.ledger_size}:{actions.cursor}"
    if actions.failing:
        cursor += f":{_key([actions.summary])}"
        if cursor == context.cursor:  # all of it was reported: the tick fails until it is acted on
            raise RuntimeError(actions.summary)
    if not (actions.affected_clips or actions.tainted_versions):
        quiet = f"No withdrawal acts on a known clip (ledger size {actions.ledger_size})."
        return dg.SensorResult(skip_reason=quiet, cursor=cursor)
    context.log.info(actions.summary)
    seen = [_observed(home, actions)]
    if not actions.tainted_versions:
        quiet = f"No model is affected: {actions.summary}"
        return dg.SensorResult(skip_reason=quiet, cursor=cursor, asset_events=seen)
    request = dg.RunRequest(
        run_key=f"withdrawal-{_key([*actions.withdrawals, *actions.tainted_versions])}",
        # without the digest of all inputs, which takes long where there is much: the next night looks for itself
        tags={"rushes/why": f"withdrawal: {actions.summary}"[:400]},
    )
    return dg.SensorResult(run_requests=[request], cursor=cursor, asset_events=seen)


def _observed(home: Home, actions: Actions) -> dg.AssetObservation:
    """What is shown on the page of the asset `champion`."""
    from assets.consent.withdrawals.completion import key

    receipts = [home.store.uri(key(one)) for one in actions.withdrawals if one not in actions.unfinished]
    return dg.AssetObservation(
        "champion",
        description=actions.summary,
        metadata={
            "clips": len(actions.affected_clips),
            "tainted_versions": ", ".join(actions.tainted_versions) or "none",
            "champion": actions.champion or "not touched",
            "receipts": dg.MetadataValue.md("\n".join(f"- {uri}" for uri in receipts) or "none yet"),
        },
    )


def watch_champion(context: dg.SensorEvaluationContext, home: dg.ResourceParam[Home]) -> dg.SkipReason:
    """Verifies and acts by itself; there is never a run to launch."""
    from assets.evaluation.promotion import reconcile_champion

    return dg.SkipReason(reconcile_champion(home))


def page_failure(context: dg.RunFailureSensorContext, home: dg.ResourceParam[Home]) -> None:
    send(home, Alert.from_context(context))


def build_sensors(status: dg.DefaultSensorStatus) -> list[dg.SensorDefinition]:
    """All sensors, running or stopped until someone starts them."""
    return [
        dg.sensor(
            name="inbox_sensor",
            job=intake_job,
            minimum_interval_seconds=30,
            default_status=status,
            description="A delivery folder in the inbox becomes a run of the day on which it was received.",
        )(watch_inbox),
        dg.sensor(
            name="refresh_sensor",
            job=refresh_job,
            minimum_interval_seconds=30,
            default_status=status,
            description="After intake: duplicates, eligibility and warehouse are brought up to date, once for all.",
        )(watch_received),
        dg.sensor(
            name="ledger_sensor",
            job=nightly_job,
            minimum_interval_seconds=10,
            default_status=status,
            description="Withdrawals act: affected models are tagged, the champion is demoted or closed, what was made of "
            "the clips is deleted or sealed, replacement footage is proposed, a retrain without the clips is requested "
            "and a signed receipt says what was done.",
        )(watch_ledger),
        dg.sensor(
            name="champion_sensor",
            minimum_interval_seconds=60,
            default_status=status,
            description="An alias that an engineer moved in MLflow is verified; what must not serve loses it again.",
        )(watch_champion),
        dg.run_failure_sensor(
            name="failure_sensor",
            minimum_interval_seconds=15,
            default_status=status,
            description="A failed run pages: job, asset, partition, reason; alert log and RUSHES_ALERT_WEBHOOK.",
        )(page_failure),
    ]

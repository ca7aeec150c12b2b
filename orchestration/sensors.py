"""The sensors: new deliveries, received days, withdrawals, moved aliases, lasting conditions and failed runs."""

from __future__ import annotations

import datetime as dt
import hashlib
import itertools
import json
import time
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import dagster as dg

from assets.evaluation import promotion
from assets.home import Home
from assets.ingestion.inbox import adopt_loose_folders
from assets.ingestion.progress import Waiting, waiting
from assets.partitions import received_days
from assets.registry import CHAMPION, Registry
from assets.withdrawals.plan import Actions, act_on_ledger
from assets.withdrawals.receipt import key as receipt_key
from orchestration import alerts, watch
from orchestration.jobs import intake_job, nightly_job, refresh_job
from orchestration.schedules import received_digest

Event = dg.AssetMaterialization | dg.AssetObservation | dg.AssetCheckEvaluation

INTAKE_TAG, WAITING_TAG, RECEIVED_TAG = "rushes/deliveries", "rushes/waiting", "rushes/received"
TRY_AGAIN_S, TRY_AGAIN_AT_MOST_S = 60.0, 3600.0  # between runs that leave a day's intake as it was: doubled each time
FIRST_PAUSE_S, LONGEST_PAUSE_S = 60.0, 6 * 3600.0  # before a failed refresh is requested again: fourfold each time
ENDED = {
    dg.DagsterRunStatus.SUCCESS,
    dg.DagsterRunStatus.FAILURE,
    dg.DagsterRunStatus.CANCELED,
    dg.DagsterRunStatus.MANAGED,  # somebody else's to follow
}
ABOUT_TO_RETRY = dt.timedelta(minutes=5)  # the daemon takes seconds; later, the retry is given up
# a run that is being cancelled still works
UNFINISHED = [status for status in dg.DagsterRunStatus if status not in ENDED]
# Dagster's tags on a materialization: which data it is, and what these were made by and from
DATA_VERSION, USERS_OWN = "dagster/data_version", "dagster/data_version_is_user_provided"
MADE_FROM = ("dagster/code_version", "dagster/input_data_version", "dagster/input_event_pointer")
# what a refresh takes in: also a delivery that brought consents or broken files only
RECEIVED = ("deliveries", "delivery_items", "consent_submissions", "media", "verdicts")


def unfinished(instance: dg.DagsterInstance, job_name: str) -> list[dg.DagsterRun]:
    """Runs of the job that are queued or under way, or failed a moment ago and are about to be retried by Dagster."""
    recently = dt.datetime.now(dt.UTC) - ABOUT_TO_RETRY
    failed = dg.RunsFilter(job_name=job_name, statuses=[dg.DagsterRunStatus.FAILURE], updated_after=recently)
    return [
        *instance.get_runs(dg.RunsFilter(job_name=job_name, statuses=UNFINISHED)),
        *(run for run in instance.get_runs(failed) if run.is_complete_and_waiting_to_retry),
    ]


def _key(parts: Iterable[str]) -> str:
    """A run key of bounded length."""
    return hashlib.sha256("\n".join(sorted(parts)).encode()).hexdigest()[:16]


def watch_inbox(context: dg.SensorEvaluationContext, home: dg.ResourceParam[Home]) -> dg.SensorResult:
    """Request one run a day with something to take in: unregistered folders, files that came later, an intake that did
    not finish, and what could not be taken in or measured before.

    A day whose intake is under way waits: two runs at once would each leave out what the other saw. What a run has left
    as it was is requested again at once, and then at growing intervals.
    """
    adopt_loose_folders(home, dt.datetime.now(dt.UTC).date().isoformat())
    busy = {run.tags.get("dagster/partition") for run in unfinished(context.instance, intake_job.name)}
    days = {day.day: day for day in waiting(home)}
    if not days:
        return dg.SensorResult(skip_reason="No delivery folder that is not registered yet, and nothing to do again.")
    requests, skipped = [], [f"Intake of {day} is under way." for day in sorted(days.keys() & busy)]
    for day in sorted(days.keys() - busy):
        tries, seconds = _tried(context.instance, days[day])
        if seconds > 0:
            skipped.append(f"Intake of {day} is tried again in {seconds:.0f} s (try {tries + 1}).")
            continue
        for why in days[day].why[:20]:
            context.log.info(f"{day}: {why}")
        tags = {INTAKE_TAG: ",".join(days[day].folders)[:200], WAITING_TAG: days[day].content}
        key = f"inbox-{day}-{days[day].content}-{tries}"
        requests.append(dg.RunRequest(run_key=key, partition_key=day, tags=tags))
    if not requests:
        return dg.SensorResult(skip_reason=" ".join(skipped))
    registered = set(context.instance.get_dynamic_partitions(received_days.name or ""))
    new = [str(request.partition_key) for request in requests if request.partition_key not in registered]
    return dg.SensorResult(
        run_requests=requests, dynamic_partitions_requests=[received_days.build_add_request(new)] if new else []
    )


def _tried(instance: dg.DagsterInstance, day: Waiting) -> tuple[int, float]:
    """(how many runs have left this as it was, in how many seconds the next is due)."""
    tags = {"dagster/partition": day.day, WAITING_TAG: day.content}
    records = instance.get_run_records(dg.RunsFilter(job_name=intake_job.name, tags=tags))
    if len(records) < 2:
        return len(records), 0.0
    ended = max(record.end_time or record.update_timestamp.timestamp() for record in records)
    pause = min(TRY_AGAIN_S * 2.0 ** (len(records) - 2), TRY_AGAIN_AT_MOST_S)
    return len(records), ended + pause - dt.datetime.now(dt.UTC).timestamp()


def watch_received(context: dg.SensorEvaluationContext, home: dg.ResourceParam[Home]) -> dg.SensorResult:
    """Request a refresh of what was received since the last one. The cursor is the digest that it took in.

    A refresh that failed is requested again after a growing pause; there are never two at once.
    """
    if intakes := unfinished(context.instance, intake_job.name):
        return dg.SensorResult(skip_reason=f"{len(intakes)} intake runs are still under way.")
    if unfinished(context.instance, refresh_job.name):
        return dg.SensorResult(skip_reason="A refresh is under way.")
    if not home.lake.partitions("verdicts"):
        return dg.SensorResult(skip_reason="Nothing was received yet.")
    digest = received_digest(home, *RECEIVED)
    refreshes = [  # those that this sensor requested, newest first
        record
        for record in context.instance.get_run_records(dg.RunsFilter(job_name=refresh_job.name), limit=50)
        if RECEIVED_TAG in record.dagster_run.tags
    ]
    last = refreshes[0].dagster_run if refreshes else None
    done = context.cursor == digest if last is None else last.is_success and last.tags[RECEIVED_TAG] == digest
    if done:
        return dg.SensorResult(skip_reason=f"Nothing changed since the last refresh ({digest[:12]}).", cursor=digest)
    failed = list(itertools.takewhile(lambda record: _failed(record.dagster_run, digest), refreshes))
    if failed:
        pause = min(FIRST_PAUSE_S * 4 ** (len(failed) - 1), LONGEST_PAUSE_S)
        left = pause - (time.time() - failed[0].update_timestamp.timestamp())
        if left > 0:
            why = f"The last {len(failed)} refreshes failed; the next is requested in {left:.0f} seconds."
            return dg.SensorResult(skip_reason=why)
    # no run key: footage that comes back to an earlier state needs a refresh again
    return dg.SensorResult(run_requests=[dg.RunRequest(tags={RECEIVED_TAG: digest})])


def _failed(run: dg.DagsterRun, digest: str) -> bool:
    return not run.is_success and run.tags[RECEIVED_TAG] == digest


def watch_ledger(context: dg.SensorEvaluationContext, home: dg.ResourceParam[Home]) -> dg.SensorResult:
    """Act on withdrawals. The cursor is `size:number`: the ledger's size and the last withdrawal for which a run was
    requested; where something fails, it also has a digest of what was reported.

    What was read and done is kept in the withdrawals' own log, so that a cursor that is set back, or a tick that is
    killed, repeats a report and nothing else.
    """
    since, number, _ = f"{context.cursor or 0}::".split(":", 2)
    actions = act_on_ledger(home, int(since), after=int(number) if number else None)
    cursor = f"{actions.ledger_size}:{actions.cursor}"
    if actions.failing:
        names = tuple(
            failure.split(" (", 1)[0] for failure in actions.failing
        )  # the reasons differ: they hold addresses
        cursor += f":{_key([replace(actions, failing=names).summary])}"
        if cursor == context.cursor:  # all of it was reported: the tick fails until it is acted on
            raise RuntimeError(actions.summary)
    if not (actions.affected_clips or actions.tainted_versions):
        why = f"No withdrawal acts on a known clip (ledger size {actions.ledger_size})."
        return dg.SensorResult(skip_reason=why, cursor=cursor)
    context.log.info(actions.summary)
    events: list[Event] = [_observation(home, actions), *_moved(context.instance, home, actions.summary)]
    if not actions.tainted_versions:
        why = f"No model is affected: {actions.summary}"
        return dg.SensorResult(skip_reason=why, cursor=cursor, asset_events=events)
    request = dg.RunRequest(
        run_key=f"withdrawal-{_key([*actions.withdrawals, *actions.tainted_versions])}",
        # without the digest of all inputs, which takes long in a large home: the next night computes it
        tags={"rushes/why": f"withdrawal: {actions.summary}"[:400]},
    )
    return dg.SensorResult(run_requests=[request], cursor=cursor, asset_events=events)


def _observation(home: Home, actions: Actions) -> dg.AssetObservation:
    """What the page of the asset `champion` shows."""
    finished = [withdrawal for withdrawal in actions.withdrawals if withdrawal not in actions.unfinished]
    receipts = [home.store.uri(receipt_key(withdrawal)) for withdrawal in finished]
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


def watch_champion(
    context: dg.SensorEvaluationContext, home: dg.ResourceParam[Home]
) -> dg.SensorResult | dg.SkipReason:
    """Verify the champion and act on it here; there is never a run to launch."""
    outcome = promotion.reconcile_champion(home, "the sensor on the champion")
    events = _moved(context.instance, home, outcome)
    return dg.SensorResult(skip_reason=outcome, asset_events=events) if events else dg.SkipReason(outcome)


def _moved(instance: dg.DagsterInstance, home: Home, why: str) -> list[Event]:
    """A materialization of `champion` where the alias was moved since the last one: else the asset would be stale.

    What the last one was made from stays with it, so that Dagster still knows what is newer.
    """
    shown = instance.get_latest_materialization_event(dg.AssetKey("champion"))
    if shown is None or shown.asset_materialization is None:
        return []
    tags, serving = shown.asset_materialization.tags or {}, Registry(home).alias(CHAMPION) or "none"
    if tags.get(DATA_VERSION) == serving:
        return []
    kept = {name: value for name, value in tags.items() if name.startswith(MADE_FROM)}
    kept |= {DATA_VERSION: serving, USERS_OWN: "true"}
    return [dg.AssetMaterialization("champion", description=why, metadata={"champion": serving}, tags=kept)]


def watch_nights(context: dg.SensorEvaluationContext, home: dg.ResourceParam[Home]) -> dg.SensorResult:
    """Alert on lasting conditions. The cursor holds up to when ended runs were read, and the last check on `champion`."""
    now, last = dt.datetime.now(dt.UTC), json.loads(context.cursor or "{}")
    nights, champion = watch.nights(home, context.instance, now), promotion.champion_of(home)
    unreached = watch.beat(home, now, nights, well=not champion.wrong)
    champion = promotion.with_nights(home, champion, now)
    wrong = {f"{watch.CHAMPION}{kind}": reason for kind, reason in champion.wrong.items()}
    if young := not (champion.expected or nights.ended):
        wrong.pop(f"{watch.CHAMPION}{promotion.NOTHING}", None)
    since = dt.datetime.fromisoformat(last["runs"]) if "runs" in last else now - dt.timedelta(days=1)
    failed, passed, upto = watch.checks(context.instance, since)
    wrong |= nights.wrong | watch.automation(context.instance, SENSORS) | failed
    alerts.settle(home, wrong, watch.SCOPES, passed)
    cursor = {"runs": upto.isoformat(), "check": [champion.serving, *sorted(champion.wrong)]}
    events: list[Event] = [] if young or last.get("check") == cursor["check"] else [_check(champion)]
    summary = "; ".join([*wrong.values(), *filter(None, (unreached, alerts.deliver(home)))]) or "Nothing is wrong."
    return dg.SensorResult(skip_reason=summary[:2000], cursor=json.dumps(cursor), asset_events=events)


def _check(champion: promotion.Standing) -> dg.AssetCheckEvaluation:
    """The check on `champion` between two nights."""
    return dg.AssetCheckEvaluation(
        asset_key=dg.AssetKey("champion"),
        check_name=promotion.CHECK,
        passed=not champion.wrong,
        severity=dg.AssetCheckSeverity.ERROR if champion.serious else dg.AssetCheckSeverity.WARN,
        description=str(champion),
        metadata={},
    )


def page_failure(context: dg.RunFailureSensorContext, home: dg.ResourceParam[Home]) -> None:
    run = context.dagster_run
    alert = alerts.Alert.from_context(context)
    alerts.send(home, alert, alerts.will_retry(run), alerts.run_condition(run.parent_run_id))


def build_sensors(status: dg.DefaultSensorStatus) -> list[dg.SensorDefinition]:
    """All sensors, running or stopped until somebody starts them."""

    def sensor(name: str, seconds: int, description: str, job: Any = None) -> Any:
        return dg.sensor(
            name=name, minimum_interval_seconds=seconds, description=description, job=job, default_status=status
        )

    failure = "A failed run alerts: job, asset, partition, reason; alert log and RUSHES_ALERT_WEBHOOK."
    return [
        sensor(
            "inbox_sensor",
            30,
            "A delivery folder in the inbox becomes a run of the day on which it was received.",
            intake_job,
        )(watch_inbox),
        sensor(
            "refresh_sensor",
            30,
            "After intake: duplicates, eligibility and warehouse are brought up to date, once for all days.",
            refresh_job,
        )(watch_received),
        sensor(
            "ledger_sensor",
            10,
            "Withdrawals act: affected models are tagged, the champion is demoted or closed, what was made of the clips "
            "is deleted or sealed, replacement footage is proposed, a retrain without the clips is requested and a "
            "signed receipt lists what was done.",
            nightly_job,
        )(watch_ledger),
        sensor(
            "champion_sensor",
            60,
            "An alias that an engineer moved in MLflow is verified; what must not serve loses it again.",
        )(watch_champion),
        sensor(
            "watch_sensor",
            60,
            "What lasts alerts once, and once more when it is over: nothing serves, a night that did not begin or end, a "
            "sensor that fails tick after tick, a failed check; alert log, RUSHES_ALERT_WEBHOOK and RUSHES_HEARTBEAT_URL.",
        )(watch_nights),
        dg.run_failure_sensor(
            name="failure_sensor", minimum_interval_seconds=15, description=failure, default_status=status
        )(page_failure),
    ]


SENSORS = {sensor.name for sensor in build_sensors(dg.DefaultSensorStatus.STOPPED)}

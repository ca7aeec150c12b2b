"""What makes the graph act without a clock: new deliveries, taken-in days, withdrawals, moved aliases, failures."""

from __future__ import annotations

import datetime as dt
import hashlib
import itertools
import json
import time
from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING

import dagster as dg

from assets.home import Home
from assets.partitions import received_days
from orchestration import alerts
from orchestration.jobs import intake_job, nightly_job, refresh_job

Event = dg.AssetMaterialization | dg.AssetObservation | dg.AssetCheckEvaluation

if TYPE_CHECKING:
    from assets.evaluation.standing import Standing
    from assets.ingestion.progress import Waiting
    from assets.withdrawals.plan import Actions

INTAKE_TAG, WAITING_TAG, RECEIVED_TAG = "rushes/deliveries", "rushes/waiting", "rushes/received"
TRY_AGAIN_S, TRY_AGAIN_AT_MOST_S = 60.0, 3600.0  # between runs that leave a day's intake as it was: doubled each time
FIRST_PAUSE_S, LONGEST_PAUSE_S = 60.0, 6 * 3600.0  # before a failed refresh is asked for again: fourfold each time
ENDED = {
    dg.DagsterRunStatus.SUCCESS,
    dg.DagsterRunStatus.FAILURE,
    dg.DagsterRunStatus.CANCELED,
    dg.DagsterRunStatus.MANAGED,  # somebody else's to follow
}
ABOUT_TO_RETRY = dt.timedelta(minutes=5)  # the daemon takes seconds; later, nobody waits for it any more
# a run that is being cancelled still works
UNFINISHED = [status for status in dg.DagsterRunStatus if status not in ENDED]
# Dagster's tags on a materialization: which data it is, and what these were made by and from
DATA_VERSION, USERS_OWN = "dagster/data_version", "dagster/data_version_is_user_provided"
MADE_FROM = ("dagster/code_version", "dagster/input_data_version", "dagster/input_event_pointer")
# what a refresh takes in: also a delivery that brought consents or broken files only
RECEIVED = ("deliveries", "delivery_items", "consent_submissions", "media", "verdicts")


def unfinished(instance: dg.DagsterInstance, job_name: str) -> list[dg.DagsterRun]:
    """Runs of the job that work, are about to, or failed a moment ago and are about to be run once more by Dagster."""
    lately = dt.datetime.now(dt.UTC) - ABOUT_TO_RETRY
    failed = dg.RunsFilter(job_name=job_name, statuses=[dg.DagsterRunStatus.FAILURE], updated_after=lately)
    return [
        *instance.get_runs(dg.RunsFilter(job_name=job_name, statuses=UNFINISHED)),
        *(run for run in instance.get_runs(failed) if run.is_complete_and_waiting_to_retry),
    ]


def _key(parts: Iterable[str]) -> str:
    """A run key of bounded length."""
    return hashlib.sha256("\n".join(sorted(parts)).encode()).hexdigest()[:16]


def watch_inbox(context: dg.SensorEvaluationContext, home: dg.ResourceParam[Home]) -> dg.SensorResult:
    """One run a day with something to take in: folders that are not registered, files that came later, an intake that did
    not come to its end, and what could not be taken in or measured before.

    A day whose intake is under way waits: two runs at once would each leave out what the other saw. What a run has left
    as it was is asked for again at once, and then at growing intervals.
    """
    from assets.ingestion.inbox import adopt_loose_folders
    from assets.ingestion.progress import waiting

    adopt_loose_folders(home, dt.datetime.now(dt.UTC).date().isoformat())
    busy = {run.tags.get("dagster/partition") for run in unfinished(context.instance, intake_job.name)}
    found = {one.day: one for one in waiting(home)}
    if not found:
        return dg.SensorResult(skip_reason="No delivery folder that is not registered yet, and nothing to do again.")
    requests, later = [], [f"Intake of {day} is under way." for day in sorted(found.keys() & busy)]
    for day in sorted(found.keys() - busy):
        tries, seconds = _tried(context.instance, found[day])
        if seconds > 0:
            later.append(f"Intake of {day} is tried again in {seconds:.0f} s, for the time number {tries + 1}.")
            continue
        for why in found[day].why[:20]:
            context.log.info(f"{day}: {why}")
        tags = {INTAKE_TAG: ",".join(found[day].folders)[:200], WAITING_TAG: found[day].content}
        key = f"inbox-{day}-{found[day].content}-{tries}"
        requests.append(dg.RunRequest(run_key=key, partition_key=day, tags=tags))
    if not requests:
        return dg.SensorResult(skip_reason=" ".join(later))
    known = set(context.instance.get_dynamic_partitions(received_days.name or ""))
    new = [str(request.partition_key) for request in requests if request.partition_key not in known]
    return dg.SensorResult(
        run_requests=requests, dynamic_partitions_requests=[received_days.build_add_request(new)] if new else []
    )


def _tried(instance: dg.DagsterInstance, asked: Waiting) -> tuple[int, float]:
    """(how many runs have left this as it was, in how many seconds the next is due)."""
    tags = {"dagster/partition": asked.day, WAITING_TAG: asked.content}
    records = instance.get_run_records(dg.RunsFilter(job_name=intake_job.name, tags=tags))
    if len(records) < 2:
        return len(records), 0.0
    ended = max(record.end_time or record.update_timestamp.timestamp() for record in records)
    pause = min(TRY_AGAIN_S * 2.0 ** (len(records) - 2), TRY_AGAIN_AT_MOST_S)
    return len(records), ended + pause - dt.datetime.now(dt.UTC).timestamp()


def watch_received(context: dg.SensorEvaluationContext, home: dg.ResourceParam[Home]) -> dg.SensorResult:
    """The cursor is the digest of all received days that the last refresh took in, once it succeeded.

    A refresh that failed is asked for again, after a pause that grows; never two at once.
    """
    from orchestration.night import received_digest

    if waiting := unfinished(context.instance, intake_job.name):
        return dg.SensorResult(skip_reason=f"{len(waiting)} intake runs are still under way.")
    if unfinished(context.instance, refresh_job.name):
        return dg.SensorResult(skip_reason="A refresh is under way.")
    if not home.lake.partitions("verdicts"):
        return dg.SensorResult(skip_reason="Nothing was received yet.")
    digest = received_digest(home, *RECEIVED)
    tried = _refreshes(context.instance)
    last = tried[0].dagster_run if tried else None
    done = context.cursor == digest if last is None else last.is_success and last.tags[RECEIVED_TAG] == digest
    if done:
        return dg.SensorResult(skip_reason=f"Nothing changed since the last refresh ({digest[:12]}).", cursor=digest)
    failed = list(itertools.takewhile(lambda one: _in_vain(one, digest), tried))
    if failed:
        pause = min(FIRST_PAUSE_S * 4 ** (len(failed) - 1), LONGEST_PAUSE_S)
        left = pause - (time.time() - failed[0].update_timestamp.timestamp())
        if left > 0:
            why = f"The last {len(failed)} refreshes failed; the next is asked for in {left:.0f} seconds."
            return dg.SensorResult(skip_reason=why)
    # no run key: footage that comes back to an earlier state needs a refresh again
    return dg.SensorResult(run_requests=[dg.RunRequest(tags={RECEIVED_TAG: digest})])


def _refreshes(instance: dg.DagsterInstance) -> list[dg.RunRecord]:
    """The last refreshes that this sensor asked for, newest first."""
    records = instance.get_run_records(dg.RunsFilter(job_name=refresh_job.name), limit=50)
    return [record for record in records if RECEIVED_TAG in record.dagster_run.tags]


def _in_vain(record: dg.RunRecord, digest: str) -> bool:
    return not record.dagster_run.is_success and record.dagster_run.tags[RECEIVED_TAG] == digest


def watch_ledger(context: dg.SensorEvaluationContext, home: dg.ResourceParam[Home]) -> dg.SensorResult:
    """The cursor is `size:number`: the ledger's size and the last withdrawal about which a run was asked for; where
    something fails, with a digest of what was said of it.

    What was read and done is remembered in the withdrawals' own log, so that a cursor that is set back, or a tick
    that is killed, repeats a report and nothing else.
    """
    from assets.withdrawals.plan import act_on_ledger

    since, number, _ = f"{context.cursor or 0}::".split(":", 2)
    actions = act_on_ledger(home, int(since), after=int(number) if number else None)
    cursor = f"{actions.ledger_size}:{actions.cursor}"
    if actions.failing:
        names = tuple(one.split(" (", 1)[0] for one in actions.failing)  # why differs each time: addresses of objects
        cursor += f":{_key([replace(actions, failing=names).summary])}"
        if cursor == context.cursor:  # all of it was reported: the tick fails until it is acted on
            raise RuntimeError(actions.summary)
    if not (actions.affected_clips or actions.tainted_versions):
        quiet = f"No withdrawal acts on a known clip (ledger size {actions.ledger_size})."
        return dg.SensorResult(skip_reason=quiet, cursor=cursor)
    context.log.info(actions.summary)
    seen: list[Event] = [_observed(home, actions), *_moved(context.instance, home, actions.summary)]
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
    from assets.withdrawals.receipt import key

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


def watch_champion(
    context: dg.SensorEvaluationContext, home: dg.ResourceParam[Home]
) -> dg.SensorResult | dg.SkipReason:
    """Verifies and acts by itself; there is never a run to launch."""
    from assets.evaluation.promotion import reconcile_champion

    said = reconcile_champion(home)
    events = _moved(context.instance, home, said)
    return dg.SensorResult(skip_reason=said, asset_events=events) if events else dg.SkipReason(said)


def _moved(instance: dg.DagsterInstance, home: Home, why: str) -> list[Event]:
    """The asset `champion` as it is now, where the alias was moved since it was last shown: else it would be stale.

    What the shown one was made from stays with it, so that Dagster goes on telling what is newer.
    """
    from assets.registry.versions import CHAMPION, Registry

    shown = instance.get_latest_materialization_event(dg.AssetKey("champion"))
    if shown is None or shown.asset_materialization is None:
        return []
    tags, serving = shown.asset_materialization.tags or {}, Registry(home).alias(CHAMPION) or "none"
    if tags.get(DATA_VERSION) == serving:
        return []
    told = {name: value for name, value in tags.items() if name.startswith(MADE_FROM)}
    told |= {DATA_VERSION: serving, USERS_OWN: "true"}
    return [dg.AssetMaterialization("champion", description=why, metadata={"champion": serving}, tags=told)]


def watch_nights(context: dg.SensorEvaluationContext, home: dg.ResourceParam[Home]) -> dg.SensorResult:
    """The cursor holds up to when ended runs were read, and what the check on `champion` was last said to be."""
    from assets.evaluation import standing
    from orchestration import watch

    now, last = dt.datetime.now(dt.UTC), json.loads(context.cursor or "{}")
    nights, found = watch.nights(home, context.instance, now), standing.champion_of(home)
    unheard = watch.beat(home, now, nights, well=not found.wrong)
    found = standing.with_nights(home, found, now)
    wrong = {f"{watch.CHAMPION}{kind}": said for kind, said in found.wrong.items()}
    if young := not (found.expected or nights.ended):
        wrong.pop(f"{watch.CHAMPION}{standing.NOTHING}", None)
    since = dt.datetime.fromisoformat(last["runs"]) if "runs" in last else now - dt.timedelta(days=1)
    failed, passed, upto = watch.checks(context.instance, since)
    wrong |= nights.wrong | watch.automation(context.instance) | failed
    alerts.settle(home, wrong, watch.SCOPES, passed)
    cursor = {"runs": upto.isoformat(), "check": [found.serving, *sorted(found.wrong)]}
    events: list[Event] = [] if young or last.get("check") == cursor["check"] else [_check(found)]
    said = "; ".join([*wrong.values(), *filter(None, (unheard, alerts.deliver(home)))]) or "Nothing is wrong."
    return dg.SensorResult(skip_reason=said[:2000], cursor=json.dumps(cursor), asset_events=events)


def _check(found: Standing) -> dg.AssetCheckEvaluation:
    """The check on `champion` between two nights."""
    from assets.evaluation import standing

    return dg.AssetCheckEvaluation(
        asset_key=dg.AssetKey("champion"),
        check_name=standing.CHECK,
        passed=not found.wrong,
        severity=dg.AssetCheckSeverity.ERROR if found.serious else dg.AssetCheckSeverity.WARN,
        description=str(found),
        metadata={},
    )


def page_failure(context: dg.RunFailureSensorContext, home: dg.ResourceParam[Home]) -> None:
    run = context.dagster_run
    alert = alerts.Alert.from_context(context)
    alerts.send(home, alert, alerts.run_again(run), alerts.of_run(run.parent_run_id))


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
        dg.sensor(
            name="watch_sensor",
            minimum_interval_seconds=60,
            default_status=status,
            description="Whatever lasts alerts once, and once more when it is over: nothing serves, a night that did not "
            "begin or end, a sensor that fails tick after tick, a failed check; alert log, RUSHES_ALERT_WEBHOOK and "
            "RUSHES_HEARTBEAT_URL.",
        )(watch_nights),
        dg.run_failure_sensor(
            name="failure_sensor",
            minimum_interval_seconds=15,
            default_status=status,
            description="A failed run pages: job, asset, partition, reason; alert log and RUSHES_ALERT_WEBHOOK.",
        )(page_failure),
    ]

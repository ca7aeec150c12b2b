"""Launch runs and backfills on a running Dagster instance, and follow them to their end."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import dagster as dg
import yaml
from dagster_graphql import DagsterGraphQLClient, DagsterGraphQLClientError
from dagster_graphql.client.query import LAUNCH_PARTITION_BACKFILL_MUTATION

from assets.partitions import received_days
from orchestration.settings import Settings

LOCATION, REPOSITORY = "rushes", "__repository__"
RETRIED_BY = "dagster/auto_retry_run_id"
RETRY_WITHIN_S = 60.0  # the daemon takes seconds to retry a killed run
POLL_S = 1.0


class LaunchError(RuntimeError):
    """Dagster refused a launch, or a run failed; the message says which and why."""


class Client(DagsterGraphQLClient):
    """Dagster's client of the webserver at the settings' port, with the backfills that it lacks."""

    def __init__(self, settings: Settings, timeout_s: int = 120) -> None:
        super().__init__("127.0.0.1", port_number=settings.ui_port, timeout=timeout_s)

    def run(self, job: str, tags: dict[str, str] | None = None, config: dict[str, Any] | None = None) -> str:
        """Launch a job, with its run configuration; the run's id."""
        with _refusals(f"to run {job}"):
            return self.submit_job_execution(job, LOCATION, REPOSITORY, run_config=config or {}, tags=tags)

    def backfill(self, job: str, partitions: Sequence[str], title: str) -> str:
        """Launch a backfill of a partitioned job over days; the backfill's id."""
        repository = {"repositoryName": REPOSITORY, "repositoryLocationName": LOCATION}
        selector = {"partitionSetName": f"{job}_partition_set", "repositorySelector": repository}
        params = {"selector": selector, "partitionNames": list(partitions), "title": title, "tags": []}
        with _refusals(f"a backfill of {job}"):
            answer = self._execute(LAUNCH_PARTITION_BACKFILL_MUTATION, {"backfillParams": params})
        result = answer["launchPartitionBackfill"]
        if result["__typename"] != "LaunchBackfillSuccess":
            raise LaunchError(f"Dagster refused a backfill of {job}: {result}")
        return result["backfillId"]

    def serves(self, dagster_home: Path) -> bool:
        """Whether the webserver answers, and for the instance in this folder."""
        try:
            info = yaml.safe_load(self._execute("{ instance { info } }")["instance"]["info"])
            folder = info["local_artifact_storage"]["config"]["base_dir"]
        except (DagsterGraphQLClientError, TypeError, KeyError, yaml.YAMLError):
            return False
        return Path(folder).resolve() == dagster_home.resolve()


@contextlib.contextmanager
def _refusals(what: str) -> Iterator[None]:
    """Dagster's errors with what it answered, or why it did not: their own text repeats the whole query."""
    try:
        yield
    except DagsterGraphQLClientError as error:
        reason = error.__cause__ or ": ".join(map(str, error.args))
        raise LaunchError(f"Dagster refused {what}: {reason}") from error


def add_days(instance: dg.DagsterInstance, days: Iterable[str]) -> None:
    """Register received days as partitions; known ones stay as they are."""
    instance.add_dynamic_partitions(received_days.name or "", sorted(days))


@dataclass
class Progress:
    """How far the followed runs are: their statuses by id, finished steps, and the last message."""

    runs: dict[str, str] = field(default_factory=dict)
    steps_done: int = 0
    message: str = ""


Report = Callable[[Progress], None]


def follow_run(instance: dg.DagsterInstance, run_id: str, report: Report, still_up: Callable[[], None]) -> None:
    """Wait for a run and its retries while `still_up` does not raise. Raises LaunchError with the failed steps' reasons."""

    def runs() -> list[dg.DagsterRun]:
        chain: list[dg.DagsterRun] = []
        next_id: str | None = run_id
        while next_id and (run := instance.get_run_by_id(next_id)):
            chain.append(run)
            next_id = run.tags.get(RETRIED_BY)
        return chain

    _follow(instance, runs, 1, report, still_up)


def follow_backfill(
    instance: dg.DagsterInstance, backfill_id: str, expected: int, report: Report, still_up: Callable[[], None]
) -> None:
    """Wait for all runs of a backfill likewise. Raises LaunchError where one failed, or the backfill itself."""

    def runs() -> list[dg.DagsterRun]:
        backfill = instance.get_backfill(backfill_id)
        if backfill and backfill.status.value == "FAILED":
            raise LaunchError(f"backfill {backfill_id} failed: {backfill.error.message if backfill.error else '?'}")
        return list(instance.get_runs(dg.RunsFilter(tags={"dagster/backfill": backfill_id})))

    _follow(instance, runs, expected, report, still_up)


def _follow(
    instance: dg.DagsterInstance,
    current: Callable[[], list[dg.DagsterRun]],
    expected: int,
    report: Report,
    still_up: Callable[[], None],
) -> None:
    cursors: dict[str, Any] = {}
    progress, over_since = Progress(), 0.0
    while True:
        runs = current()
        for run in runs:
            progress.runs[run.run_id] = run.status.value
            events = instance.get_records_for_run(run.run_id, cursor=cursors.get(run.run_id))
            cursors[run.run_id] = events.cursor
            for record in events.records:
                entry, day = record.event_log_entry, run.tags.get("dagster/partition")
                if entry.dagster_event is None and entry.level == logging.INFO:
                    progress.message = entry.user_message  # what an asset logs while it works, such as a training step
                elif entry.dagster_event and entry.dagster_event.event_type == dg.DagsterEventType.STEP_SUCCESS:
                    progress.steps_done += 1
                    progress.message = f"{entry.dagster_event.step_key}{f' {day}' if day else ''}"
                    report(progress)
        report(progress)
        if len(runs) >= expected and all(run.is_finished for run in runs):
            retry = any(run.is_complete_and_waiting_to_retry for run in runs)
            over_since = over_since or time.monotonic()
            if not retry or time.monotonic() - over_since > RETRY_WITHIN_S:
                break
        still_up()
        time.sleep(POLL_S)
    failed = [run for run in runs if not run.is_success and RETRIED_BY not in run.tags]
    if failed:
        raise LaunchError("\n".join(failure_reason(instance, run) for run in failed))


def failure_reason(instance: dg.DagsterInstance, run: dg.DagsterRun) -> str:
    """The run, its failed steps and the ends of their errors."""
    records = instance.get_records_for_run(run.run_id, of_type=dg.DagsterEventType.STEP_FAILURE).records
    steps = [
        f"{event.step_key}: {(event.step_failure_data.error_display_string or '').strip()[-800:]}"
        for record in records
        if (event := record.event_log_entry.dagster_event)
    ]
    return f"run {run.run_id} of {run.job_name} ended as {run.status.value}: " + ("; ".join(steps) or "no step failed")

"""Start runs and backfills on a real instance through the webserver's GraphQL API, and follow them to their end."""

from __future__ import annotations

import json
import logging
import time
import urllib.request
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from assets.partitions import received_days
from orchestration.settings import Settings

if TYPE_CHECKING:
    import dagster as dg

LOCATION, REPOSITORY = "rushes", "__repository__"
RETRIED_BY = "dagster/auto_retry_run_id"
RETRY_WITHIN_S = 60.0  # the daemon takes seconds to run what was killed once more
POLL_S = 1.0

LAUNCH_RUN = """
mutation Launch($params: ExecutionParams!) {
  launchPipelineExecution(executionParams: $params) {
    __typename
    ... on LaunchRunSuccess { run { runId } }
    ... on PythonError { message }
    ... on RunConfigValidationInvalid { errors { message } }
  }
}"""
LAUNCH_BACKFILL = """
mutation Backfill($params: LaunchBackfillParams!) {
  launchPartitionBackfill(backfillParams: $params) {
    __typename
    ... on LaunchBackfillSuccess { backfillId }
    ... on PythonError { message }
    ... on PartitionSetNotFoundError { message }
  }
}"""


class LaunchError(RuntimeError):
    """Dagster refused a launch, or a run failed; the message says which and why."""


@dataclass
class Progress:
    """What a follower is told: finished and all steps, and what just happened."""

    runs: dict[str, str] = field(default_factory=dict)
    steps_done: int = 0
    message: str = ""


Follower = Callable[[Progress], None]


class Launcher:
    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    def _ask(self, query: str, params: dict[str, Any]) -> dict[str, Any]:
        body = json.dumps({"query": query, "variables": {"params": params}}).encode()
        request = urllib.request.Request(
            f"{self.settings.ui_url}/graphql", body, {"Content-Type": "application/json"}, method="POST"
        )
        with urllib.request.urlopen(request, timeout=120) as answer:
            found = json.load(answer)
        if found.get("errors"):
            raise LaunchError(f"Dagster: {found['errors'][0]['message']}")
        result = next(iter(found["data"].values()))
        if not result["__typename"].endswith("Success"):
            raise LaunchError(f"Dagster refused: {result}")
        return result

    def run(self, job: str, tags: dict[str, str] | None = None) -> str:
        """Launch a job; the run's id."""
        selector = {"repositoryLocationName": LOCATION, "repositoryName": REPOSITORY, "jobName": job}
        metadata = {"tags": [{"key": key, "value": value} for key, value in (tags or {}).items()]}
        params = {"selector": selector, "runConfigData": {}, "mode": "default", "executionMetadata": metadata}
        return self._ask(LAUNCH_RUN, params)["run"]["runId"]

    def backfill(self, job: str, partitions: Sequence[str], title: str) -> str:
        """Launch a backfill of a partitioned job over days; the backfill's id."""
        repository = {"repositoryName": REPOSITORY, "repositoryLocationName": LOCATION}
        selector = {"partitionSetName": f"{job}_partition_set", "repositorySelector": repository}
        params = {"selector": selector, "partitionNames": list(partitions), "title": title, "tags": []}
        return self._ask(LAUNCH_BACKFILL, params)["backfillId"]


def add_days(instance: dg.DagsterInstance, days: Iterable[str]) -> None:
    """Register received days as partitions; known ones stay as they are."""
    instance.add_dynamic_partitions(received_days.name or "", sorted(days))


def follow_run(instance: dg.DagsterInstance, run_id: str, tell: Follower, still_up: Callable[[], None]) -> None:
    """Wait for a run, while `still_up` does not raise; raises LaunchError with the failed steps' reasons."""

    def runs() -> list[dg.DagsterRun]:
        found: list[dg.DagsterRun] = []
        following: str | None = run_id
        while following and (run := instance.get_run_by_id(following)):
            found.append(run)
            following = run.tags.get(RETRIED_BY)
        return found

    _follow(instance, runs, 1, tell, still_up)


def follow_backfill(
    instance: dg.DagsterInstance, backfill_id: str, expected: int, tell: Follower, still_up: Callable[[], None]
) -> None:
    """Wait for all runs of a backfill likewise; raises LaunchError when one failed or the backfill did."""
    import dagster as dg

    def runs() -> list[dg.DagsterRun]:
        backfill = instance.get_backfill(backfill_id)
        if backfill and backfill.status.value == "FAILED":
            raise LaunchError(f"backfill {backfill_id} failed: {backfill.error.message if backfill.error else '?'}")
        return list(instance.get_runs(dg.RunsFilter(tags={"dagster/backfill": backfill_id})))

    _follow(instance, runs, expected, tell, still_up)


def _follow(
    instance: dg.DagsterInstance,
    runs_now: Callable[[], list[dg.DagsterRun]],
    expected: int,
    tell: Follower,
    still_up: Callable[[], None],
) -> None:
    from dagster import DagsterEventType

    seen: dict[str, int | None] = {}
    progress, over_since = Progress(), 0.0
    while True:
        runs = runs_now()
        for run in runs:
            progress.runs[run.run_id] = run.status.value
            events = instance.get_records_for_run(run.run_id, cursor=seen.get(run.run_id))  # type: ignore[arg-type]
            seen[run.run_id] = events.cursor  # type: ignore[assignment]
            for record in events.records:
                entry, day = record.event_log_entry, run.tags.get("dagster/partition")
                if entry.dagster_event is None and entry.level == logging.INFO:
                    progress.message = entry.user_message  # what the asset says while it works, such as a training step
                elif entry.dagster_event and entry.dagster_event.event_type == DagsterEventType.STEP_SUCCESS:
                    progress.steps_done += 1
                    progress.message = f"{entry.dagster_event.step_key}{f' {day}' if day else ''}"
                    tell(progress)
        tell(progress)
        if len(runs) >= expected and all(run.is_finished for run in runs):
            again = any(run.is_complete_and_waiting_to_retry for run in runs)
            over_since = over_since or time.monotonic()
            if not again or time.monotonic() - over_since > RETRY_WITHIN_S:
                break
        still_up()
        time.sleep(POLL_S)
    failed = [run for run in runs if not run.is_success and RETRIED_BY not in run.tags]
    if failed:
        raise LaunchError("\n".join(failure_reason(instance, run) for run in failed))


def failure_reason(instance: dg.DagsterInstance, run: dg.DagsterRun) -> str:
    """The run, its failed steps and their errors' first lines."""
    from dagster import DagsterEventType

    records = instance.get_records_for_run(run.run_id, of_type=DagsterEventType.STEP_FAILURE).records
    steps = [
        f"{event.step_key}: {(event.step_failure_data.error_display_string or '').strip()[-800:]}"
        for record in records
        if (event := record.event_log_entry.dagster_event)
    ]
    return f"run {run.run_id} of {run.job_name} ended as {run.status.value}: " + ("; ".join(steps) or "no step failed")

"""Dagster's own launcher of local runs, and what it lacks: the health check, and an end to runs that nobody watches.

A run whose process is gone stays STARTED for ever once the code server that watched it is gone too: a machine that
lost power, a container that was restarted. With this check Dagster's run monitoring reports it as failed, at the
latest when the daemon is up again; then its retry, the alert and the freeing of its pool slots follow.
"""

from __future__ import annotations

import json
import os
import signal

import dagster as dg
import psutil
from dagster._core.errors import DagsterUserCodeUnreachableError
from dagster._core.launcher import CheckRunHealthResult, DefaultRunLauncher, WorkerStatus
from dagster._core.storage.tags import GRPC_INFO_TAG

HERE = ("localhost", "127.0.0.1", "::1")
# a process that began so much later than the event that names its number is another one that was given the same number
CLOCK_TOLERANCE_S = 60.0


class LocalRunLauncher(DefaultRunLauncher):
    """Named in `dagster.yaml` as the instance's `run_launcher`."""

    @property
    def supports_check_run_worker_health(self) -> bool:
        return True

    def check_run_worker_health(self, run: dg.DagsterRun) -> CheckRunHealthResult:
        """NOT_FOUND where the process that the run's events name no longer lives on this machine."""
        if not _here(run):
            return CheckRunHealthResult(WorkerStatus.RUNNING, "runs on another machine, which is not asked")
        workers = _workers(self._instance, run)
        if any(_lives(pid, named_at) for pid, named_at in workers):
            return CheckRunHealthResult(WorkerStatus.RUNNING)
        named = ", ".join(str(pid) for pid, _ in workers) or "none was ever named"
        return CheckRunHealthResult(WorkerStatus.NOT_FOUND, f"the run's process is gone ({named})")

    def terminate(self, run_id: str) -> bool:
        """Interrupt the run, through its code server, or by ourselves where that is gone and the process works on."""
        try:
            if super().terminate(run_id):
                return True
        except DagsterUserCodeUnreachableError:
            pass
        run = self._instance.get_run_by_id(run_id)
        if run is None or run.is_finished or not _here(run):
            return False
        alive = [pid for pid, named_at in _workers(self._instance, run) if _lives(pid, named_at)]
        for pid in alive:
            os.kill(pid, signal.SIGINT)
        return bool(alive)


def _here(run: dg.DagsterRun) -> bool:
    return json.loads(run.tags.get(GRPC_INFO_TAG, "{}")).get("host", "localhost") in HERE


def _workers(instance: dg.DagsterInstance, run: dg.DagsterRun) -> list[tuple[int, float]]:
    """Process numbers that the run's events name, each with the time at which it was named."""
    records = instance.get_records_for_run(run.run_id, of_type=dg.DagsterEventType.ENGINE_EVENT).records
    workers = []
    for record in records:
        event = record.event_log_entry.dagster_event
        pid = event.engine_event_data.metadata.get("pid") if event else None
        if pid is not None and str(pid.value).isdigit():
            workers.append((int(str(pid.value)), record.event_log_entry.timestamp))
    return workers


def _lives(pid: int, named_at: float) -> bool:
    try:
        process = psutil.Process(pid)
        return process.status() != psutil.STATUS_ZOMBIE and process.create_time() < named_at + CLOCK_TOLERANCE_S
    except psutil.NoSuchProcess:
        return False
    except psutil.AccessDenied:
        return True  # somebody else's, or hidden: not ours to call dead

"""Runs whose process is killed: they are seen to be over, and what they held is free again."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import dagster as dg
import psutil
import pytest
import yaml
from dagster._core.events import EngineEventData
from dagster._core.storage.tags import GRPC_INFO_TAG
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import EmptyWorkspaceTarget
from dagster._daemon.monitoring import execute_run_monitoring_iteration

from orchestration import services
from orchestration.launch import Client
from orchestration.session import is_ours
from orchestration.settings import ROOT, Settings
from tests.orchestration.graph import settings_in
from tests.orchestration.sensors.conftest import run_of

PATIENCE_S = 60


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return settings_in(tmp_path, ui_port=str(services.free_port(0)))


@pytest.fixture
def instance(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[dg.DagsterInstance]:
    monkeypatch.setenv("DAGSTER_HOME", str(services.prepare_instance(settings)))
    with dg.DagsterInstance.get() as instance:
        yield instance


def dagster(settings: Settings, tmp_path: Path) -> services.Service:
    """The real webserver, daemon and code server over the instance of `rushes`, with a code location of one asset."""
    module = {"module_name": "tests.orchestration.pooled", "working_directory": str(ROOT), "location_name": "rushes"}
    (workspace := tmp_path / "workspace.yaml").write_text(yaml.safe_dump({"load_from": [{"python_module": module}]}))
    command = [sys.executable, "-m", "dagster", "dev", "-h", "127.0.0.1", "-p", str(settings.ui_port)]
    command += ["-w", str(workspace), "--log-level", "warning"]
    return services.Service("dagster", command, settings, f"{settings.ui_url}/server_info")


def wait_until(what: Callable[[], bool], title: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not what():
        assert time.monotonic() < deadline, f"not within {PATIENCE_S} s: {title}"
        time.sleep(0.5)


def has(instance: dg.DagsterInstance, run_id: str, event: dg.DagsterEventType) -> bool:
    return bool(instance.get_records_for_run(run_id, of_type=event).records)


def worker_of(instance: dg.DagsterInstance, run_id: str) -> int:
    records = instance.get_records_for_run(run_id, of_type=dg.DagsterEventType.ENGINE_EVENT).records
    events = [record.event_log_entry.dagster_event for record in records]
    return next(int(e.engine_event_data.metadata["pid"].value) for e in events if "pid" in e.engine_event_data.metadata)


@pytest.mark.slow
def test_the_slot_of_a_killed_run_goes_to_the_next_run(
    settings: Settings, instance: dg.DagsterInstance, tmp_path: Path
) -> None:
    client = Client(settings)
    with services.running(dagster(settings, tmp_path)):
        (settings.dagster_home / "webserver").write_text(settings.ui_url)
        assert is_ours(settings), "it says whose it is"
        killed = client.run("hold")
        wait_until(lambda: has(instance, killed, dg.DagsterEventType.STEP_START), "the first run works")
        following = client.run("hold")
        os.kill(worker_of(instance, killed), signal.SIGKILL)
        wait_until(lambda: has(instance, following, dg.DagsterEventType.STEP_START), "the next run works")
        (settings.dagster_home / "let-go").touch()
        wait_until(lambda: bool((run := instance.get_run_by_id(following)) and run.is_success), "the next run ends")
    assert (run := instance.get_run_by_id(killed))
    assert run.status == dg.DagsterRunStatus.FAILURE


def started(instance: dg.DagsterInstance, pid: int) -> dg.DagsterRun:
    """A run that works in a process of this machine, as the instance remembers it."""
    run = run_of(instance, "hold", dg.DagsterRunStatus.STARTED)
    instance.report_engine_event("Started process for run", run, EngineEventData.in_process(pid))
    return run


def status_after_a_look(instance: dg.DagsterInstance, run: dg.DagsterRun) -> dg.DagsterRunStatus | None:
    """What run monitoring makes of a run: the daemon's own code."""
    with WorkspaceProcessContext(instance, EmptyWorkspaceTarget()) as workspace:
        errors = list(execute_run_monitoring_iteration(workspace, logging.getLogger("test")))
    assert not any(errors)
    current = instance.get_run_by_id(run.run_id)
    return current.status if current else None


def test_a_run_whose_process_is_gone_is_reported_as_failed(instance: dg.DagsterInstance) -> None:
    """Also when everything that had seen it start is gone, as after a power cut."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        run = started(instance, process.pid)
        assert status_after_a_look(instance, run) == dg.DagsterRunStatus.STARTED
        process.kill()
        assert status_after_a_look(instance, run) == dg.DagsterRunStatus.FAILURE, "nobody has waited for it yet"


def test_a_run_whose_code_server_is_gone_can_still_be_cancelled(instance: dg.DagsterInstance) -> None:
    """Else it is called cancelled, and works on."""
    # a shell that starts the tests in the background has them and their children ignore the signal
    work = "import signal; signal.signal(signal.SIGINT, signal.SIG_DFL); print(flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", work], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        run = started(instance, process.pid)
        instance.add_run_tags(run.run_id, {GRPC_INFO_TAG: f'{{"host": "localhost", "port": {services.free_port(0)}}}'})
        assert instance.run_launcher.terminate(run.run_id)
        assert process.wait(10) == -signal.SIGINT
        assert not instance.run_launcher.terminate(run.run_id), "nobody is left"


def test_another_process_that_was_given_the_same_number_is_not_the_run(
    instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = started(instance, os.getpid())
    assert status_after_a_look(instance, run) == dg.DagsterRunStatus.STARTED
    monkeypatch.setattr(psutil.Process, "create_time", lambda process: time.time() + 3600)
    assert status_after_a_look(instance, run) == dg.DagsterRunStatus.FAILURE


def test_a_run_of_another_machine_is_left_alone(instance: dg.DagsterInstance) -> None:
    run = started(instance, 2**22 + 1)
    instance.add_run_tags(run.run_id, {GRPC_INFO_TAG: '{"host": "elsewhere", "port": 4000}'})
    assert status_after_a_look(instance, run) == dg.DagsterRunStatus.STARTED

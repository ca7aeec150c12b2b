"""Services come up, say where to look when they do not, and never outlive who started them; what `rushes run` finds to do."""

from __future__ import annotations

import contextlib
import io
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import dagster as dg
import psutil
import pytest
import yaml
from rich.console import Console

from assets.home import Home
from assets.ingestion import inbox, progress
from orchestration import launch, services, session
from orchestration.launch import Client, LaunchError
from orchestration.session import is_ours
from orchestration.settings import ROOT, Settings
from tests.assets.conftest import drop
from tests.assets.samples import DAY, clip, manifest
from tests.orchestration.graph import instance_in, settings_in
from tests.orchestration.sensors.conftest import run_of

# serves files until it is killed, and prints its child's process id once that answers
OWNER = """
import sys, time
from pathlib import Path
from orchestration import services
from tests.orchestration.graph import settings_in
settings = settings_in(Path(sys.argv[1]), docs_port=str(services.free_port(0)))
service = services.docs_service(settings)
with services.running(service):
    print(service.process.pid, flush=True)
    time.sleep(60)
"""


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return settings_in(tmp_path, timezone="Asia/Tokyo", training='{"seed": 7}')


@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGINT])
def test_a_service_ends_with_whoever_started_it(tmp_path: Path, sent: signal.Signals) -> None:
    command = [sys.executable, "-c", OWNER, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, cwd=ROOT) as owner:
        assert owner.stdout
        child = int(owner.stdout.readline())
        assert alive(child)
        owner.send_signal(sent)
        owner.wait(30)
    deadline = time.monotonic() + 5
    while alive(child) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not alive(child)


def test_what_a_killed_starter_left_is_ended_before_it_is_started_anew(tmp_path: Path) -> None:
    """Two daemons of one home would do everything twice."""
    command = [sys.executable, "-c", OWNER, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, cwd=ROOT) as owner:
        assert owner.stdout
        child = int(owner.stdout.readline())
        owner.kill()
    assert alive(child)
    services.end_left(settings_in(tmp_path / "other"))
    assert alive(child), "another home's is nobody's to end"
    with services.running(services.docs_service(settings_in(tmp_path, docs_port=str(services.free_port(0))))):
        assert not psutil.pid_exists(child) or psutil.Process(child).status() == psutil.STATUS_ZOMBIE


def test_a_service_that_was_killed_is_started_again(tmp_path: Path) -> None:
    service = services.docs_service(settings_in(tmp_path, docs_port=str(services.free_port(0))))
    with services.running(service):
        service.process.kill()
        service.process.wait()
        service.restart()
        urllib.request.urlopen(service.ready_url, timeout=5).close()
        pid = service.process.pid
    assert not alive(pid)


def test_a_service_that_stops_at_once_names_its_log(settings: Settings) -> None:
    command = [sys.executable, "-c", "print('no such database'); raise SystemExit(3)"]
    service = services.Service("broken", command, settings, "http://127.0.0.1:9/")
    with pytest.raises(services.ServiceError, match=r"code 3: see .*broken\.log"), services.running(service):
        pass
    assert "no such database" in service.log_path.read_text()


def test_a_port_in_use_is_not_taken() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert services.free_port(port) != port


def test_services_find_the_same_home_as_whoever_started_them(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    variables = services.environment(settings)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert Settings.load() == settings
    assert (Path(variables["DAGSTER_HOME"]) / "dagster.yaml").read_bytes() == services.INSTANCE_FILE.read_bytes()


def test_an_instance_file_that_an_operator_edited_is_kept_and_said_to_differ(
    settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    target = services.prepare_instance(settings) / "dagster.yaml"
    edited = target.read_text().replace("max_concurrent_runs: 2", "max_concurrent_runs: 8")
    target.write_text(edited)
    for _ in range(2):
        services.prepare_instance(settings)
    assert target.read_text() == edited
    (output,) = capsys.readouterr().err.splitlines()
    assert "concurrency.runs.max_concurrent_runs: 2" in output
    assert str(target) in output


def test_an_instance_file_of_an_earlier_version_is_replaced(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = services.prepare_instance(settings) / "dagster.yaml"
    newer = target.with_name("newer.yaml")
    newer.write_text(target.read_text() + "\n# of the next version\n")
    monkeypatch.setattr(services, "INSTANCE_FILE", newer)
    services.prepare_instance(settings)
    assert target.read_text() == newer.read_text()


@contextlib.contextmanager
def webserver(answer: object) -> Iterator[int]:
    """Something that answers every question at a port in the same way."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(200)
            self.end_headers()
            self.wfile.write(json.dumps(answer).encode())

        do_GET = do_POST

        def log_message(self, *args: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_port
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("whose", ["ours", "another home", "no Dagster"])
def test_a_session_takes_the_webserver_of_its_own_home_only(settings: Settings, tmp_path: Path, whose: str) -> None:
    """A note of an earlier webserver may be stale, and its port another home's by now."""
    services.prepare_instance(settings)
    folder = settings.dagster_home if whose == "ours" else tmp_path / "other" / "dagster"
    storage = {"module": "x", "class": "y", "config": {"base_dir": str(folder)}}
    info = {"data": {"instance": {"info": yaml.safe_dump({"local_artifact_storage": storage})}}}
    with webserver({} if whose == "no Dagster" else info) as port:
        there = settings.model_copy(update={"ui_port": port})
        assert not is_ours(there), "nobody noted it"
        (settings.dagster_home / "webserver").write_text(there.ui_url)
        assert is_ours(there) is (whose == "ours")
    assert not is_ours(there), "it has ended"


@pytest.mark.parametrize("mutation", ["launchPipelineExecution", "launchPartitionBackfill"])
def test_a_launch_that_dagster_refuses_names_its_reason(settings: Settings, mutation: str) -> None:
    with webserver({"data": {mutation: {"__typename": "PythonError", "message": "no such job"}}}) as port:
        client = Client(settings.model_copy(update={"ui_port": port}))
        with pytest.raises(LaunchError, match="no such job"):
            client.run("intake") if mutation == "launchPipelineExecution" else client.backfill("intake", ["d"], "t")
    with pytest.raises(LaunchError, match="Connection refused"):
        client.run("intake")


# -- a session ---------------------------------------------------------------------------------------------------------


__all__ = ["drop"]


class Backfills:
    """A client that takes a backfill for done."""

    def __init__(self) -> None:
        self.days: list[str] = []

    def backfill(self, job: str, days: list[str], title: str) -> str:
        self.days += days
        return "b-1"


@pytest.fixture
def intake(home: Home, monkeypatch: pytest.MonkeyPatch) -> Callable[[], tuple[list[str], str]]:
    """Asks for an intake without services: the days it starts, and what it says."""
    monkeypatch.setattr(session, "open_home", lambda settings: home)
    monkeypatch.setattr(launch, "add_days", lambda *arguments: None)
    monkeypatch.setattr(launch, "follow_backfill", lambda *arguments: None)

    def ask() -> tuple[list[str], str]:
        out, client, opened = io.StringIO(), Backfills(), session.Session.__new__(session.Session)
        state: dict[str, Any] = {"settings": None, "instance": None, "client": client}
        vars(opened).update(state | {"console": Console(file=out, width=400)})
        opened.intake()
        return client.days, out.getvalue()

    return ask


def test_a_day_that_was_left_half_taken_in_is_finished(
    home: Home, drop: Callable[..., Path], intake: Callable[[], tuple[list[str], str]]
) -> None:
    drop("one", manifest(clip("a.mp4")), {"a.mp4": b"x"})
    progress.begin(home, DAY, "killed")
    days, output = intake()
    assert days == [DAY]
    assert f"{DAY} waits: its intake did not come to its end" in output  # nothing ran here


def test_a_folder_dropped_into_the_inbox_is_taken_and_one_that_is_not_is_named(
    home: Home, drop: Callable[..., Path], intake: Callable[[], tuple[list[str], str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    (home.state / "inbox" / "bare").mkdir(parents=True)
    os.replace(drop("shoot", manifest(clip("a.mp4")), {"a.mp4": b"x"}), home.state / "inbox" / "shoot")
    days, output = intake()
    assert days == []
    assert "inbox/bare is left where it is" in output
    assert "inbox/shoot is left where it is" in output  # it may still be being copied
    monkeypatch.setattr(inbox, "_last_change", lambda folder: 0.0)
    days, output = intake()
    assert len(days) == 1
    assert [folder for _, folder in inbox.list_deliveries(home.store)] == ["shoot"]
    assert "shoot is left" not in output


def test_a_second_command_waits_until_the_first_has_ended_its_daemon(settings: Settings) -> None:
    out = io.StringIO()
    first, second = contextlib.ExitStack(), contextlib.ExitStack()
    assert session._served(settings, first, Console(file=out)) is None
    served: list[Settings | None] = []
    waiting = threading.Thread(
        target=lambda: served.append(session._served(settings, second, Console(file=out, width=400)))
    )
    waiting.start()
    waiting.join(1.5)
    assert waiting.is_alive()
    assert f"(process {os.getpid()})" in out.getvalue()
    first.close()
    waiting.join(10)
    assert served == [None]
    second.close()


def test_a_home_that_is_served_is_not_served_twice(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "is_ours", lambda settings: True)
    with contextlib.ExitStack() as first:
        assert session._served(settings, first, Console()) is None, "it was left by a command that was killed"
        with pytest.raises(services.ServiceError, match="served already"):
            session.serve(settings, Console(file=io.StringIO()))


@pytest.mark.parametrize("torn", ["", "http://127.0.0.1:999999", "http://[", "\x00"])
def test_a_torn_note_of_a_webserver_is_none(settings: Settings, torn: str) -> None:
    services.prepare_instance(settings)
    (settings.dagster_home / "webserver").write_text(torn)
    with contextlib.ExitStack() as stack:
        assert session._served(settings, stack, Console()) is None


def test_a_run_is_not_waited_for_once_dagster_is_gone(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "ASK_EVERY_S", -1.0)
    monkeypatch.setattr(session, "GONE_S", -1.0)
    following = session.Session(settings)
    with instance_in(tmp_path / "dagster") as instance:
        run = run_of(instance, "refresh", dg.DagsterRunStatus.STARTED)
        with pytest.raises(services.ServiceError, match="has not answered"):
            launch.follow_run(instance, run.run_id, lambda progress: None, following._still_up)


def test_a_killed_run_is_followed_to_the_end_of_the_one_in_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(launch, "POLL_S", 0.01)
    with instance_in(tmp_path / "dagster") as instance:
        killed = run_of(instance, "refresh", dg.DagsterRunStatus.FAILURE, **{"dagster/will_retry": "true"})

        def retry() -> None:
            again = run_of(instance, "refresh", dg.DagsterRunStatus.SUCCESS)
            instance.add_run_tags(killed.run_id, {launch.RETRIED_BY: again.run_id})

        launch.follow_run(instance, killed.run_id, lambda progress: None, retry)
        monkeypatch.setattr(launch, "RETRY_WITHIN_S", 0.0)
        lost = run_of(instance, "refresh", dg.DagsterRunStatus.FAILURE, **{"dagster/will_retry": "true"})
        with pytest.raises(launch.LaunchError, match=lost.run_id):
            launch.follow_run(instance, lost.run_id, lambda progress: None, lambda: None)

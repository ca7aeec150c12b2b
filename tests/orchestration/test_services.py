"""Child processes come up, say where to look when they do not, and never outlive whoever started them."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from orchestration import services
from orchestration.settings import ROOT, Settings
from tests.orchestration.graph import settings_in

# serves files until it is killed, and prints its child's process id once that answers
OWNER = """
import sys, time
from pathlib import Path
from orchestration import services
from tests.orchestration.graph import settings_in
from dataclasses import replace
settings = replace(settings_in(Path(sys.argv[1])), docs_port=services.free_port(0))
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
    return settings_in(tmp_path, RUSHES_TIMEZONE="Asia/Tokyo", RUSHES_TRAINING='{"seed": 7}')


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


def test_services_find_the_same_home_as_whoever_started_them(settings: Settings) -> None:
    known = services.environment(settings)
    assert Settings.from_env(known) == settings
    assert (Path(known["DAGSTER_HOME"]) / "dagster.yaml").read_bytes() == services.INSTANCE_FILE.read_bytes()

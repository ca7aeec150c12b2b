"""Dagster's, MLflow's and the reports' servers as child processes on loopback, and the Dagster instance they share."""

from __future__ import annotations

import contextlib
import hashlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import psutil
import yaml

from assets.store import write_atomically
from orchestration.settings import ROOT, Settings

INSTANCE_FILE = Path(__file__).with_name("instance") / "dagster.yaml"
# digests of what earlier versions wrote there without a note beside it
EARLIER_INSTANCE_FILES = {"c7d088a497a1f3734994dbb0b576707aabfba477249d3d5095a890879ada7822"}
START_TIMEOUT_S = 240
_reported: set[Path] = set()


class ServiceError(RuntimeError):
    """A service that did not come up; the message names its log."""


def environment(settings: Settings) -> dict[str, str]:
    """The environment in which every service and run finds the same home."""
    own = {
        "DAGSTER_HOME": str(prepare_instance(settings)),
        # a virtual environment that nobody activated: dbt and torchrun are found next to this Python
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}",
    }
    return os.environ | settings.variables() | own


def prepare_instance(settings: Settings) -> Path:
    """DAGSTER_HOME with this checkout's dagster.yaml in it; an edited one is kept, and the difference is reported."""
    target, shipped = settings.dagster_home / "dagster.yaml", INSTANCE_FILE.read_bytes()
    note = target.with_name("dagster.yaml.sha256")  # digest of what was written there last
    noted = note.read_text().split() if note.is_file() else []
    present = target.read_bytes() if target.is_file() else None
    if present is not None and present != shipped and _digest(present) not in {*noted, *EARLIER_INSTANCE_FILES}:
        _report_kept(target, present, shipped)
        return settings.dagster_home
    if present != shipped:
        write_atomically(target, shipped)
    if noted != [_digest(shipped)]:
        write_atomically(note, f"{_digest(shipped)}\n".encode())
    return settings.dagster_home


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _report_kept(target: Path, present: bytes, shipped: bytes) -> None:
    """Once a process: what this version's file would change in the edited one."""
    if target in _reported:
        return
    _reported.add(target)
    try:
        before, after = dict(_flat(yaml.safe_load(present))), dict(_flat(yaml.safe_load(shipped)))
        names = sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))
        changes = ", ".join(f"{name}: {after.get(name)}" for name in names)
        what = f"would set {changes}" if changes else "differs in comments only"
    except yaml.YAMLError as error:
        what = f"is not compared, for the edited one is not YAML ({type(error).__name__})"
    print(f"rushes: {target} was edited and is kept; the file of this version {what}", file=sys.stderr)


def _flat(value: object, name: str = "") -> Iterator[tuple[str, object]]:
    """Settings by their dotted names."""
    if not isinstance(value, dict):
        yield name, value
        return
    for part, inner in value.items():
        yield from _flat(inner, f"{name}.{part}" if name else str(part))


def free_port(preferred: int) -> int:
    """`preferred` when nothing listens there, else any free loopback port."""
    for port in (preferred, 0):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return probe.getsockname()[1]
    raise ServiceError("no free loopback port")


class Service:
    """One child process with its log, in a session of its own; stopped with everything it started.

    A service of the same name that a killed command left running is ended first: two daemons of one home would do
    everything twice.
    """

    def __init__(self, name: str, command: list[str], settings: Settings, ready_url: str) -> None:
        self.name, self.command, self.settings, self.ready_url = name, command, settings, ready_url
        self.log_path = settings.state / "logs" / f"{name}.log"
        self.log_path.parent.mkdir(parents=True, exist_ok=True)
        self._pid_file = self.log_path.with_suffix(".pid")
        self.process = self._start()

    def _start(self) -> subprocess.Popen[bytes]:
        _end_noted(self._pid_file, self.settings)
        with self.log_path.open("ab") as log:
            process = subprocess.Popen(
                self.command,
                cwd=ROOT,
                env=environment(self.settings),
                stdout=log,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )
        write_atomically(self._pid_file, str(process.pid).encode())
        return process

    def restart(self) -> None:
        """Start it again after it ended, once what it left has ended too. Raises ServiceError."""
        self.process = self._start()
        self.wait_ready()

    def wait_ready(self, timeout_s: float = START_TIMEOUT_S) -> None:
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise ServiceError(f"{self.name} stopped with code {self.process.returncode}: see {self.log_path}")
            with contextlib.suppress(urllib.error.URLError, OSError):
                urllib.request.urlopen(self.ready_url, timeout=5).close()
                return
            time.sleep(0.5)
        raise ServiceError(f"{self.name} did not answer at {self.ready_url} in {timeout_s:.0f} s: see {self.log_path}")

    def stop(self) -> None:
        """End the process and everything that it started."""
        _end(_session(self.process.pid, self.settings))
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(5)
        self._pid_file.unlink(missing_ok=True)


def end_left(settings: Settings) -> None:
    """End every service of this home that was left running; for the command that holds the home's lock."""
    for pid_file in (settings.state / "logs").glob("*.pid"):
        _end_noted(pid_file, settings)


def _end_noted(pid_file: Path, settings: Settings) -> None:
    if pid_file.is_file() and (pid := pid_file.read_text().strip()).isdigit():
        _end(_session(int(pid), settings))


def _session(leader: int, settings: Settings) -> list[psutil.Process]:
    """The processes of this session that work for this home: process ids are reused in time."""
    processes = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if os.getsid(process.pid) == leader and process.environ().get("RUSHES_STATE") == str(settings.state):
                processes.append(process)
    return processes


def _end(processes: list[psutil.Process]) -> None:
    """Interrupt, terminate, then kill."""
    for number, patience_s in ((signal.SIGINT, 15), (signal.SIGTERM, 10), (signal.SIGKILL, 5)):
        for process in processes:
            with contextlib.suppress(psutil.Error):
                process.send_signal(number)
        _, processes = psutil.wait_procs(processes, patience_s)


def dagster_service(settings: Settings) -> Service:
    """Webserver and daemon around one shared code server."""
    command = [sys.executable, "-m", "dagster", "dev", "-h", "127.0.0.1", "-p", str(settings.ui_port)]
    command += ["-w", str(ROOT / "workspace.yaml"), "--log-level", "warning"]
    return Service("dagster", command, settings, f"{settings.ui_url}/server_info")


def mlflow_service(settings: Settings) -> Service:
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(settings.mlflow_port)]
    command += ["--backend-store-uri", settings.mlflow_uri, "--workers", "1"]
    command += ["--artifacts-destination", str(settings.state / "mlflow-artifacts")]
    return Service("mlflow", command, settings, f"{settings.mlflow_url}/health")


def docs_service(settings: Settings) -> Service:
    """Great Expectations' reports, as plain files."""
    folder = settings.state / "data_docs"
    folder.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "http.server", str(settings.docs_port), "--bind", "127.0.0.1", "-d", str(folder)]
    return Service("data_docs", command, settings, f"{settings.docs_url}/")


@contextlib.contextmanager
def running(*services: Service) -> Iterator[None]:
    """The services, up; stopped whatever happens, also when this process is asked to terminate."""
    try:
        with _ending_in_order():
            for service in services:
                service.wait_ready()
            yield
    finally:
        for service in reversed(services):
            service.stop()


@contextlib.contextmanager
def _ending_in_order() -> Iterator[None]:
    """SIGTERM, SIGINT and SIGHUP unwind the stack: the services have sessions of their own and would outlive this process.

    SIGINT too, since a process in the background of a script inherits it as ignored.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread may set signal handlers
        return
    handlers = {signal.SIGTERM: lambda number, frame: sys.exit(128 + number), signal.SIGINT: signal.default_int_handler}
    if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:  # a terminal that was closed; `nohup` ignores it
        handlers[signal.SIGHUP] = handlers[signal.SIGTERM]
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)

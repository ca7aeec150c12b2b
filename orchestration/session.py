"""A working session with Dagster: services up, jobs launched and followed with progress on the terminal."""

from __future__ import annotations

import contextlib
import datetime as dt
import fcntl
import http.client
import json
import os
import time
import urllib.request
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml
from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from orchestration import launch, night, services
from orchestration.resources import open_home
from orchestration.settings import Settings

# steps of each job as the bar counts them; a guess that is wrong only makes the bar end early
EXPECTED_STEPS = {"intake": 10}
ASK_EVERY_S, GONE_S = 10.0, 120.0  # whether Dagster answers, and for how long it may not
LOOK_EVERY_S = 2.0  # whether the services still run
SAY_EVERY_S = 15.0  # a step that works for long is heard of at least this often
SERVICES = (services.dagster_service, services.mlflow_service, services.docs_service)


class Session:
    """Use as a context. Takes the running services of this home, or starts its own and stops them at the end."""

    def __init__(self, settings: Settings, console: Console | None = None) -> None:
        self.settings, self.console = settings, console or Console()
        self._stack = contextlib.ExitStack()
        self._asked_at = self._answered_at = time.monotonic()

    def __enter__(self) -> Session:
        with contextlib.ExitStack() as opening:  # whatever fails on the way in ends what was started before it
            self._open(opening)
            self._stack = opening.pop_all()
        return self

    def _open(self, stack: contextlib.ExitStack) -> None:
        from dagster import DagsterInstance

        if noted := _served(self.settings, stack, self.console):
            self.settings = noted
        else:
            # automation stays off: what runs is what this session asks for
            self.settings = replace(self.settings, ui_port=services.free_port(self.settings.ui_port), automation=False)
            with self.console.status("starting Dagster"):
                stack.enter_context(services.running(services.dagster_service(self.settings)))
        os.environ["DAGSTER_HOME"] = str(services.prepare_instance(self.settings))
        self.instance = stack.enter_context(DagsterInstance.get())
        self.launcher = launch.Launcher(self.settings)

    def __exit__(self, *error: Any) -> None:
        self._stack.close()

    def intake(self, days: Sequence[str] | None = None) -> None:
        """A backfill of `intake` over the given days, or over all days with something to take in.

        Folders that were dropped straight into the inbox come under today, as the sensor has it.
        """
        from assets.ingestion.inbox import adopt_loose_folders, is_day, loose
        from assets.ingestion.progress import waiting
        from assets.reasons import printable

        home = open_home(self.settings)
        adopt_loose_folders(home, dt.datetime.now(dt.UTC).date().isoformat())
        for name in loose(home.store):
            said = f"intake: inbox/{printable(name)} is left where it is: it has no delivery.json, or is still being copied"
            self.console.print(said, highlight=False, markup=False)
        days = sorted(set(days or (one.day for one in waiting(home))))
        if wrong := [day for day in days if not is_day(day)]:
            raise ValueError(f"{wrong[0]!r} is no day; write it as YYYY-MM-DD")
        if not days:
            self.console.print("intake: no delivery folder waits in the inbox")
            return
        launch.add_days(self.instance, days)
        backfill = self.launcher.backfill("intake", days, f"Intake of {days[0]} to {days[-1]}")
        total = len(days) * EXPECTED_STEPS["intake"]
        with self._bar("intake", total) as tell:
            launch.follow_backfill(self.instance, backfill, len(days), tell, self._still_up)
        for one in waiting(home):
            for why in one.why:
                self.console.print(f"intake: {one.day} waits: {why}", highlight=False, markup=False)

    def job(self, name: str, tags: dict[str, str] | None = None) -> str:
        """Launch a job and follow it; the run's id."""
        if name not in {"ask", "refresh", "retrain", "nightly"}:
            raise ValueError(f"no job {name!r}; there are ask, intake, refresh, retrain and nightly")
        if name == "nightly":
            inputs = night.inputs_of(open_home(self.settings), dt.datetime.now(dt.UTC))
            tags = night.night_tags(inputs, "asked for by a person") | (tags or {})
        run_id = self.launcher.run(name, tags)
        with self._bar(name, None) as tell:
            launch.follow_run(self.instance, run_id, tell, self._still_up)
        return run_id

    def _still_up(self) -> None:
        """Raises ServiceError where Dagster has not answered for minutes: nobody would end what is waited for."""
        now = time.monotonic()
        if now - self._asked_at > ASK_EVERY_S:
            self._asked_at = now
            if _answers(self.settings):
                self._answered_at = now
            elif now - self._answered_at > GONE_S:
                where = f"{self.settings.ui_url}, see {self.settings.state / 'logs'}"
                raise services.ServiceError(f"Dagster has not answered for {GONE_S:.0f} s at {where}: start again")

    @contextlib.contextmanager
    def _bar(self, name: str, total: int | None) -> Any:
        columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(bar_width=24), TimeElapsedColumn())
        started = time.monotonic()
        with Progress(*columns, console=self.console, transient=True) as bar:
            task = bar.add_task(name, total=total)
            told, said, said_at = 0, "", started

            def tell(progress: launch.Progress) -> None:
                nonlocal told, said, said_at
                now = time.monotonic()
                bar.update(task, completed=progress.steps_done, description=f"{name}: {progress.message[:60]}")
                quiet = progress.steps_done == told and now - said_at < SAY_EVERY_S
                if progress.message == said or quiet:
                    return
                told, said, said_at = progress.steps_done, progress.message, now
                bar.console.print(f"  {now - started:5.0f} s  {progress.message}", highlight=False, markup=False)

            yield tell
        self.console.print(f"[green]✓[/] {name} in {time.monotonic() - started:.0f} s", highlight=False)


def is_ours(settings: Settings) -> bool:
    """Whether a Dagster webserver of this very home answers at the settings' port.

    The note that one left may be old, and another home's may have taken the port since: so it is asked whose it is.
    """
    marker = settings.dagster_home / "webserver"
    return marker.is_file() and marker.read_text() == settings.ui_url and _answers(settings)


def _answers(settings: Settings) -> bool:
    query = json.dumps({"query": "{ instance { info } }"}).encode()
    request = urllib.request.Request(f"{settings.ui_url}/graphql", query, {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            info = yaml.safe_load(json.load(answer)["data"]["instance"]["info"])
        served = Path(info["local_artifact_storage"]["config"]["base_dir"])
    except (OSError, ValueError, TypeError, KeyError, yaml.YAMLError, http.client.HTTPException):
        return False  # nobody, or something else
    return served.resolve() == settings.dagster_home.resolve()


def _left(settings: Settings) -> Settings:
    """The settings with the port at which this home's webserver was started, where one was: its own may be taken."""
    marker = settings.dagster_home / "webserver"
    try:
        port = urlsplit(marker.read_text()).port
    except (FileNotFoundError, ValueError):  # none, or torn
        port = None
    return replace(settings, ui_port=port) if port else settings


def _served(settings: Settings, stack: contextlib.ExitStack, console: Console) -> Settings | None:
    """The settings of the services that another command runs for this home; None where there is no such command, and
    then none may start any before `stack` is closed: two daemons of one home would do everything twice.

    What answers although nobody holds the lock was left by a command that was killed. One that answers nobody is waited
    for: it starts, or does not share its daemon.
    """
    folder = services.prepare_instance(settings)
    lock, told = stack.enter_context((folder / "services.lock").open("a+")), False
    while True:
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            lock.truncate(0)
            lock.write(str(os.getpid()))
            lock.flush()
            services.end_left(settings)  # before ports are chosen
            return None
        if is_ours(noted := _left(settings)):
            return noted
        if not told:
            lock.seek(0)
            console.print(
                f"another command works in this home (process {lock.read() or '?'}): this one waits for its end"
            )
            told = True
        time.sleep(1)


def serve(settings: Settings, console: Console | None = None) -> None:
    """Both UIs and the daemon, until interrupted; one that ends by itself is started again."""
    console = console or Console()
    with contextlib.ExitStack() as stack:
        if found := _served(settings, stack, console):
            raise services.ServiceError(f"this home is served already: {found.ui_url}")
        _serve(settings, console, stack)


def _serve(settings: Settings, console: Console, stack: contextlib.ExitStack) -> None:
    settings = replace(
        settings,
        ui_port=services.free_port(settings.ui_port),
        mlflow_port=services.free_port(settings.mlflow_port),
        docs_port=services.free_port(settings.docs_port),
    )
    with console.status("starting Dagster and MLflow"):
        started = [service(settings) for service in SERVICES]
        stack.enter_context(services.running(*started))
    marker = settings.dagster_home / "webserver"
    marker.write_text(settings.ui_url)
    stack.callback(marker.unlink, missing_ok=True)
    console.print(f"Dagster UI   [bold]{settings.ui_url}[/]")
    console.print(f"MLflow UI    [bold]{settings.mlflow_url}[/]")
    console.print(f"Data Docs    [bold]{settings.docs_url}[/]")
    console.print(f"data of this home: {settings.home}; logs: {settings.state / 'logs'}; stop with Ctrl-C")
    with contextlib.suppress(KeyboardInterrupt):
        while True:
            time.sleep(LOOK_EVERY_S)
            for service in started:
                if (code := service.process.poll()) is not None:
                    console.print(f"{service.name} ended with code {code} and is started again; see {service.log_path}")
                    service.restart()

"""A working session with Dagster: services up, jobs launched and followed with progress on the terminal."""

from __future__ import annotations

import contextlib
import datetime as dt
import fcntl
import os
import time
from collections.abc import Iterator, Sequence
from typing import Any
from urllib.parse import urlsplit

from dagster import DagsterInstance
from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from assets.ingestion.inbox import adopt_loose_folders, is_day, loose
from assets.ingestion.progress import waiting
from assets.reasons import printable
from orchestration import launch, schedules, services
from orchestration.choices import TrainingChoices
from orchestration.settings import Settings, open_home

JOBS = ("ask", "intake", "refresh", "retrain", "nightly")
TRAINING = ("retrain", "nightly")  # the jobs among them that train
STEPS_A_DAY = 10  # of an intake, as the progress bar counts them; where the number is wrong, the bar ends early
ASK_EVERY_S, GONE_S = 10.0, 120.0  # how often Dagster is asked whether it answers, and for how long it may not
LOOK_EVERY_S = 2.0  # how often the services are looked at
REPORT_EVERY_S = 15.0  # a step that works for long is reported at least this often
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
        if served := _served(self.settings, stack, self.console):
            self.settings = served
        else:
            # automation stays off: only what this session launches runs
            port = services.free_port(self.settings.ui_port)
            self.settings = self.settings.model_copy(update={"ui_port": port, "automation": False})
            with self.console.status("starting Dagster"):
                stack.enter_context(services.running(services.dagster_service(self.settings)))
        os.environ["DAGSTER_HOME"] = str(services.prepare_instance(self.settings))
        self.instance = stack.enter_context(DagsterInstance.get())
        self.client = launch.Client(self.settings)

    def __exit__(self, *error: Any) -> None:
        self._stack.close()

    def intake(self, days: Sequence[str] | None = None) -> None:
        """A backfill of `intake` over the given days, or over all days with something to take in.

        Folders that were dropped straight into the inbox are received today, as by the inbox sensor.
        """
        home = open_home(self.settings)
        adopt_loose_folders(home, dt.datetime.now(dt.UTC).date().isoformat())
        for name in loose(home.store):
            self._print(
                f"inbox/{printable(name)} is left where it is: it has no delivery.json, or is still being copied"
            )
        days = sorted(set(days or (day.day for day in waiting(home))))
        if wrong := [day for day in days if not is_day(day)]:
            raise ValueError(f"{wrong[0]!r} is no day; write it as YYYY-MM-DD")
        if not days:
            self._print("no delivery folder waits in the inbox")
            return
        launch.add_days(self.instance, days)
        backfill = self.client.backfill("intake", days, f"Intake of {days[0]} to {days[-1]}")
        with self._progress("intake", len(days) * STEPS_A_DAY) as report:
            launch.follow_backfill(self.instance, backfill, len(days), report, self._still_up)
        for day in waiting(home):
            for why in day.why:
                self._print(f"{day.day} waits: {why}")

    def job(self, name: str, tags: dict[str, str] | None = None) -> str:
        """Launch a job and follow it; the run's id."""
        if name not in JOBS or name == "intake":
            raise ValueError(f"no job {name!r}; there are {', '.join(JOBS)}")
        if name == "nightly":
            inputs = schedules.inputs_of(open_home(self.settings), dt.datetime.now(dt.UTC))
            tags = schedules.night_tags(inputs, "requested by a person") | (tags or {})
        run_id = self.client.run(name, tags, self._training() if name in TRAINING else None)
        with self._progress(name) as report:
            launch.follow_run(self.instance, run_id, report, self._still_up)
        return run_id

    def _training(self) -> dict[str, Any] | None:
        """The training of this command's environment, if it names any: services that run already have their own."""
        if "training" not in self.settings.model_fields_set:
            return None
        return {"resources": {"training": {"config": TrainingChoices.of(self.settings.training)}}}

    def _print(self, message: str) -> None:
        self.console.print(f"intake: {message}", highlight=False, markup=False)

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
    def _progress(self, name: str, total: int | None = None) -> Iterator[launch.Report]:
        """A bar, and a line for each finished step and for what a long one logs."""
        columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(bar_width=24), TimeElapsedColumn())
        started = time.monotonic()
        with Progress(*columns, console=self.console, transient=True) as bar:
            task = bar.add_task(name, total=total)
            steps, message, printed_at = 0, "", started

            def report(progress: launch.Progress) -> None:
                nonlocal steps, message, printed_at
                now = time.monotonic()
                bar.update(task, completed=progress.steps_done, description=f"{name}: {progress.message[:60]}")
                early = progress.steps_done == steps and now - printed_at < REPORT_EVERY_S
                if progress.message == message or early:
                    return
                steps, message, printed_at = progress.steps_done, progress.message, now
                bar.console.print(f"  {now - started:5.0f} s  {message}", highlight=False, markup=False)

            yield report
        self.console.print(f"[green]✓[/] {name} in {time.monotonic() - started:.0f} s", highlight=False)


def _answers(settings: Settings) -> bool:
    return launch.Client(settings, timeout_s=10).serves(settings.dagster_home)


def is_ours(settings: Settings) -> bool:
    """Whether a Dagster webserver of this very home answers at the settings' port.

    The note of an earlier one may be stale, and another home's may have its port by now: so it is asked whose it is.
    """
    note = settings.dagster_home / "webserver"
    return note.is_file() and note.read_text() == settings.ui_url and _answers(settings)


def _at_noted_port(settings: Settings) -> Settings:
    """The settings with the port at which this home's webserver was started, where one was: its own may be taken."""
    try:
        port = urlsplit((settings.dagster_home / "webserver").read_text()).port
    except (FileNotFoundError, ValueError):  # no note, or a torn one
        port = None
    return settings.model_copy(update={"ui_port": port}) if port else settings


def _served(settings: Settings, stack: contextlib.ExitStack, console: Console) -> Settings | None:
    """The settings of the services that another command runs for this home; None where there is no such command, and
    then none may start any before `stack` is closed: two daemons of one home would do everything twice.

    What answers although nobody holds the lock was left by a killed command. While a command holds it and its webserver
    does not answer, it is waited for: it is starting, or does not share its daemon.
    """
    lock = stack.enter_context((services.prepare_instance(settings) / "services.lock").open("a+"))
    announced = False
    while True:
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            lock.truncate(0)
            lock.write(str(os.getpid()))
            lock.flush()
            services.end_left(settings)  # before ports are chosen
            return None
        if is_ours(served := _at_noted_port(settings)):
            return served
        if not announced:
            lock.seek(0)
            holder = lock.read() or "?"
            console.print(f"another command works in this home (process {holder}): this one waits for its end")
            announced = True
        time.sleep(1)


def serve(settings: Settings, console: Console | None = None) -> None:
    """Both UIs and the daemon, until interrupted; a service that ends by itself is restarted."""
    console = console or Console()
    with contextlib.ExitStack() as stack:
        if served := _served(settings, stack, console):
            raise services.ServiceError(f"this home is served already: {served.ui_url}")
        ports = {name: services.free_port(getattr(settings, name)) for name in ("ui_port", "mlflow_port", "docs_port")}
        settings = settings.model_copy(update=ports)
        with console.status("starting Dagster and MLflow"):
            started = [service(settings) for service in SERVICES]
            stack.enter_context(services.running(*started))
        note = settings.dagster_home / "webserver"
        note.write_text(settings.ui_url)
        stack.callback(note.unlink, missing_ok=True)
        console.print(f"Dagster UI   [bold]{settings.ui_url}[/]")
        console.print(f"MLflow UI    [bold]{settings.mlflow_url}[/]")
        console.print(f"Data Docs    [bold]{settings.docs_url}[/]")
        console.print(f"data of this home: {settings.home}; logs: {settings.state / 'logs'}; stop with Ctrl-C")
        with contextlib.suppress(KeyboardInterrupt):
            _restart_what_ends(started, console)


def _restart_what_ends(started: Sequence[services.Service], console: Console) -> None:
    while True:
        time.sleep(LOOK_EVERY_S)
        for service in started:
            if (code := service.process.poll()) is not None:
                console.print(f"{service.name} ended with code {code} and is restarted; see {service.log_path}")
                service.restart()

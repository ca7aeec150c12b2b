"""Top-level commands that run the graph and read what came of it: `deliver`, `run`, `status`, `search`, `trace`, `demo`, `ui`.

`run`, `demo` and `ui` import Dagster, which takes half a second, only when they are called.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from assets.curation.captioning import embeddings as captions
from assets.ingestion import inbox
from orchestration.commands.shared import home, plain, short, stdout, table
from orchestration.settings import Settings
from orchestration.status import read_status, render_status
from orchestration.trace import trace_of


def register(app: typer.Typer) -> None:
    for command in (deliver, search, run, status, trace, demo, ui):
        app.command()(command)


def deliver(
    folder: Annotated[Path, typer.Argument(help="Holds delivery.json, the files it names, and consent/*.json.")],
    day: Annotated[str | None, typer.Option(help="Received day, YYYY-MM-DD; today by default.")] = None,
) -> None:
    """Copy a delivery into the inbox; the inbox sensor, or `rushes run intake`, takes it from there."""
    place = inbox.deliver(folder, home(), day)
    stdout.print(f"delivered to [bold]{place}[/]; `rushes run intake` registers it now, the daemon within a minute")


def search(
    words: Annotated[str, typer.Argument(help="What the clips show, for instance: sunset over water.")],
    top: Annotated[int, typer.Option(min=1, max=1000, help="How many clips.")] = 10,
) -> None:
    """Find the clips whose captions are nearest in meaning. Withdrawn clips are never shown."""
    hits = captions.search(home(), words, top)
    rows = [
        (short(hit.clip_id, 16), f"{hit.similarity:.3f}", hit.caption, f"{hit.state}{_why(hit.reasons)}")
        for hit in hits
    ]
    title = f"{len(rows)} clips nearest to: {plain(words, 200)}"
    stdout.print(table(title, ("clip", "likeness", "caption", "training"), rows))


def _why(reasons: tuple[str, ...]) -> str:
    return f": {', '.join(reasons[:3])}{' and more' if len(reasons) > 3 else ''}" if reasons else ""


def run(
    job: Annotated[str, typer.Argument(help="ask, intake, refresh, retrain or nightly")] = "nightly",
    day: Annotated[
        list[str] | None, typer.Option(help="Days for intake; by default all days with new deliveries.")
    ] = None,
) -> None:
    """Launch a job on the Dagster instance and follow it to its end (services are started when none are up)."""
    from orchestration.session import Session

    with Session(Settings.load()) as session:
        if job == "intake":
            session.intake(day)
        else:
            session.job(job)


def status() -> None:
    """Show requests, clips, snapshot, model and ledger as they stand."""
    stdout.print(render_status(read_status(home())))


def trace(
    identity: Annotated[
        str, typer.Argument(help="A clip, request, snapshot root, model key or version; a prefix will do.")
    ],
) -> None:
    """Show what a clip, request, snapshot or model came from and went into."""
    stdout.print(trace_of(home(), identity))


def demo() -> None:
    """Build the sample world, run the whole graph on it through Dagster, and summarise the results."""
    from orchestration.demo.run import run_demo

    run_demo(Settings.load())


def ui() -> None:
    """Start Dagster's UI and daemon and MLflow's UI on loopback; stop them with Ctrl-C."""
    from orchestration.session import serve

    serve(Settings.load())

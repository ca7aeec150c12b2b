"""`rushes run`, `rushes status` and `rushes trace`: start the graph, see where everything stands, follow one thing."""

from __future__ import annotations

from typing import Annotated

import typer

from orchestration.commands.shared import home, stdout
from orchestration.settings import Settings


def register(app: typer.Typer) -> None:
    app.command()(run)
    app.command()(status)
    app.command()(trace)


def run(
    job: Annotated[str, typer.Argument(help="ask, intake, refresh, retrain or nightly")] = "nightly",
    day: Annotated[
        list[str] | None, typer.Option(help="Days for intake; all days with new deliveries without it.")
    ] = None,
) -> None:
    """Launch a job on the Dagster instance and follow it to its end (services are started when none are up)."""
    from orchestration.session import Session

    with Session(Settings.from_env()) as session:
        if job == "intake":
            session.intake(day)
        else:
            session.job(job)


def status() -> None:
    """Requests, clips, snapshot, model and ledger as they stand."""
    from orchestration.reading import standing
    from orchestration.summary import show

    show(standing(home()), stdout)


def trace(
    identity: Annotated[
        str, typer.Argument(help="A clip, request, snapshot root, model key or version; a prefix will do.")
    ],
) -> None:
    """What a clip, request, snapshot or model came from and went into."""
    from orchestration.trace import trace_of

    stdout.print(trace_of(home(), identity))

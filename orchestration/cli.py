"""The `rushes` command: commands that run the graph and read what came of it, and the groups of `orchestration.commands`.

Errors that a person can mend end as one line on stderr and exit code 1; anything else is a bug and shows its traceback.
`run`, `demo` and `ui` import Dagster, which takes half a second, only when they are called.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from assets.curation.captioning import embeddings as captions
from assets.ingestion import inbox
from orchestration.commands import consent, curate, models, planning, proofs, requests, reviews
from orchestration.commands.shared import ERRORS_TO_SHOW, home, message_of, plain, short, stderr, stdout, table
from orchestration.settings import Settings, be_quiet
from orchestration.status import read_status, render_status
from orchestration.trace import trace_of

app = typer.Typer(
    name="rushes",
    help="From a request for footage to a registered video model, with the standing consent of everyone in every frame.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.add_typer(requests.app, name="request")
app.add_typer(consent.app, name="consent")
app.add_typer(reviews.app, name="review")
app.add_typer(curate.app, name="curate")
proofs.add_to(consent.app)


@app.command()
def deliver(
    folder: Annotated[Path, typer.Argument(help="Holds delivery.json, the files it names, and consent/*.json.")],
    day: Annotated[str | None, typer.Option(help="Received day, YYYY-MM-DD; today by default.")] = None,
) -> None:
    """Copy a delivery into the inbox, from where the inbox sensor or `rushes run intake` takes it."""
    place = inbox.deliver(folder, home(), day)
    stdout.print(f"delivered to [bold]{place}[/]; `rushes run intake` registers it now, the daemon within a minute")


@app.command()
def search(
    words: Annotated[str, typer.Argument(help="What the clips show, for instance: sunset over water.")],
    top: Annotated[int, typer.Option(min=1, max=1000, help="How many clips.")] = 10,
) -> None:
    """Find the clips whose captions are nearest in meaning. Withdrawn clips are never shown."""
    rows = []
    for hit in captions.search(home(), words, top):
        why = f": {', '.join(hit.reasons[:3])}{' and more' if len(hit.reasons) > 3 else ''}" if hit.reasons else ""
        rows.append((short(hit.clip_id, 16), f"{hit.similarity:.3f}", hit.caption, f"{hit.state}{why}"))
    title = f"{len(rows)} clips nearest to: {plain(words, 200)}"
    stdout.print(table(title, ("clip", "likeness", "caption", "training"), rows))


@app.command()
def run(
    job: Annotated[str, typer.Argument(help="ask, intake, refresh, retrain or nightly")] = "nightly",
    day: Annotated[
        list[str] | None, typer.Option(help="Days for intake; by default all days with new deliveries.")
    ] = None,
) -> None:
    """Launch a job on the Dagster instance and follow it to its end. Starts the services if none are running."""
    from orchestration.session import Session

    with Session(Settings.load()) as session:
        if job == "intake":
            session.intake(day)
        else:
            session.job(job)


@app.command()
def status() -> None:
    """Show requests, clips, snapshot, model and ledger as they stand."""
    stdout.print(render_status(read_status(home())))


@app.command()
def trace(
    identity: Annotated[
        str,
        typer.Argument(
            help="A clip, file, request, snapshot, model, version, consent or withdrawal; the beginning of its name will do."
        ),
    ],
) -> None:
    """Show where something came from, where it went, and what was withdrawn."""
    stdout.print(trace_of(home(), identity))


@app.command()
def demo() -> None:
    """Build the sample world, run the whole graph on it through Dagster, and show what came out."""
    from orchestration.demo.run import run_demo

    run_demo(Settings.load())


@app.command()
def ui() -> None:
    """Start Dagster's UI and daemon, the MLflow UI and the data reports on loopback; stop them with Ctrl-C."""
    from orchestration.session import serve

    serve(Settings.load())


models.register(app)
planning.register(app)
proofs.register(app)


def main() -> None:
    be_quiet()
    try:
        app()
    except ERRORS_TO_SHOW as error:
        stderr.print(f"[bold red]rushes:[/] {plain(message_of(error), 4000)}", highlight=False, soft_wrap=True)
        sys.exit(1)


if __name__ == "__main__":
    main()

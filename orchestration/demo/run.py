"""`make demo`: the sample world goes through the whole graph, as real runs on a real Dagster instance.

Fetch, build the world, then what a week on the platform does: intake of five days as a backfill, a enrolment, a
refresh, two reviewers at their queue, a night. Running it again finds everything done and changes nothing.
"""

from __future__ import annotations

import time

from rich.console import Console
from rich.table import Table

from assets.home import Home
from orchestration.commands.shared import table
from orchestration.demo.cases import CASES, outcome
from orchestration.demo.fetch import fetch
from orchestration.demo.people import enrol_everybody, review_everything
from orchestration.demo.world import build_world
from orchestration.reading import standing
from orchestration.resources import open_home
from orchestration.session import Session
from orchestration.settings import Settings
from orchestration.summary import show


def _cases(home: Home) -> Table:
    """What was wrong in the sample world, and whether the platform noticed."""
    outcomes = [outcome(home.lake, case) for case in CASES]
    rows = [
        (("✓" if o.as_expected else "✗"), o.case.file, o.case.wrong, o.case.reason if o.as_expected else o.found)
        for o in outcomes
    ]
    return table(
        "What was wrong in the sample world, and the verdict it got", ("", "file", "what is wrong", "verdict"), rows
    )


def run_demo(settings: Settings, console: Console | None = None) -> None:
    console, started = console or Console(), time.monotonic()
    home = open_home(settings)
    console.rule("Sample footage and networks")
    fetch(settings.vendor)
    console.rule("The sample world")
    world = build_world(home)
    console.print(f"{len(world.deliveries)} deliveries on {len(world.days)} days, {len(world.requests)} requests")
    with Session(settings, console) as session:
        console.rule("Requests, and the intake of every received day")
        session.job("ask")
        session.intake(world.days)
        console.rule("Enrolment: an officer verifies who holds which key")
        console.print(f"{enrol_everybody(home)} contributors enrolled")
        console.rule("Refresh: duplicates, ledger, warehouse")
        session.job("refresh")
        console.rule("Review: two people look at every clip")
        console.print(f"{review_everything(home)} reviews given")
        console.rule("Night: eligibility, snapshot, training, evaluation, gate, release")
        session.job("nightly", {"rushes/why": "demo"})
    console.rule("What came out")
    show(standing(home), console)
    console.print(_cases(home))
    console.rule()
    console.print(f"The demo took {time.monotonic() - started:.0f} s. Next: [bold]make ui[/], then look at")
    console.print(
        "  · the asset graph and any asset's last materialisation in the Dagster UI (contact sheets, plots, checks)"
    )
    console.print("  · the run and the model version `video-transformer` in the MLflow UI")
    console.print('  · [bold].venv/bin/rushes generate "a red circle moves right" -o sample.mp4[/]')
    console.print("  · [bold].venv/bin/rushes trace ID[/] with a clip, request, snapshot or model identity from above")

"""`make demo`: the sample world goes through the whole graph, as real runs on a real Dagster instance.

Fetch, build the world, then what a week on the platform does: intake of five days as a backfill, an enrolment, a
refresh, two reviewers at their queue, a night, a prompt. Running it again finds everything done and changes nothing.
A demo in which a part of this did not happen fails and says which.
"""

from __future__ import annotations

import shlex
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from assets.home import Home
from orchestration.commands.shared import plain, table
from orchestration.demo import story
from orchestration.demo.deliveries import DELIVERIES, Delivery
from orchestration.demo.fetch import fetch
from orchestration.demo.people import enrol_everybody, review_everything
from orchestration.demo.world import World, build_world
from orchestration.session import Session
from orchestration.settings import DEFAULT_HOME, ROOT, Settings, open_home
from orchestration.status import read_status, render_status


def run_demo(settings: Settings, console: Console | None = None, deliveries: Sequence[Delivery] = DELIVERIES) -> None:
    """Run the demo. Raises LaunchError where a run fails, DemoFailed where a part of the story did not happen."""
    console, started = console or Console(), time.monotonic()
    home = open_home(settings)
    console.rule("Sample footage and networks")
    fetch(settings.vendor)
    console.rule("The sample world")
    world = build_world(home, deliveries)
    console.print(f"{len(world.deliveries)} deliveries on {len(world.days)} days, {len(world.requests)} requests")
    with Session(settings, console) as session:
        console.rule("Requests, and the intake of every received day")
        session.job("ask")
        session.intake()
        console.rule("Enrolment: an officer verifies who holds which key")
        console.print(f"{enrol_everybody(home)} contributors enrolled")
        console.rule("Refresh: duplicates, ledger, warehouse")
        session.job("refresh")
        console.rule("Review: two people look at every clip")
        console.print(f"{review_everything(home)} reviews given")
        console.rule("Night: eligibility, snapshot, training, evaluation, gate, release")
        session.job("nightly", {"rushes/why": "demo"})
    console.rule("A prompt")
    sample = settings.state / "demo-sample.mp4"
    with console.status("the champion answers"):
        answered = story.answer_prompt(home, sample)
    console.print(plain(f'"{story.PROMPT}": ' + (f"{sample} ({answered})" if answered else "no version serves")))
    console.rule("What came out")
    console.print(render_status(read_status(home)))
    console.print(_cases(home, world))
    console.rule()
    console.print(f"The demo took {time.monotonic() - started:.0f} s.")
    story.require(home, world, sample)
    _next_steps(home, settings, console)


def _cases(home: Home, world: World) -> Table:
    """What was wrong in the sample world, and whether the platform noticed."""
    outcomes = [story.outcome(home.lake, case) for case in story.cases_of(world)]
    rows = [
        ("✓" if o.as_expected else "✗", o.case.clip, o.case.wrong, o.case.reason if o.as_expected else o.rows)
        for o in outcomes
    ]
    title = "What was wrong in the sample world, and the verdict it got"
    return table(title, ("", "file", "what is wrong", "verdict"), rows)


def _next_steps(home: Home, settings: Settings, console: Console) -> None:
    """What to look at now; the commands can be copied as they are."""
    variables = {} if settings.home == DEFAULT_HOME else settings.variables()
    prefix = "".join(f"{name}={shlex.quote(variables[name])} " for name in ("RUSHES_HOME", "RUSHES_STATE") if variables)
    tool = Path(sys.executable).with_name("rushes")
    rushes = prefix + shlex.quote(str(tool.relative_to(ROOT) if tool.is_relative_to(ROOT) else tool))
    clip = home.lake.rows("snapshot_members")[0]["clip_id"]
    console.print("Next:")
    for command, why in (
        (f"{prefix}make ui", "the asset graph, every run and version, in the Dagster and MLflow UIs"),
        (f'{rushes} generate "{story.PROMPT}" --seed 1 -o sample.mp4', "another video for a prompt of yours"),
        (f"{rushes} trace {clip[:16]}", "where a training clip came from and went; requests and versions too"),
    ):
        console.print(f"  {plain(command, 4000)}\n      {why}", soft_wrap=True, highlight=False)

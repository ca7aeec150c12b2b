"""`rushes plan`: what training a size would cost on these clips, before anything starts."""

from __future__ import annotations

import re
from typing import Annotated

import typer

from assets.model import budget
from orchestration.commands.shared import facts, home, stdout
from training.model.config import LADDER


def register(app: typer.Typer) -> None:
    app.command()(plan)


def plan(
    size: Annotated[str, typer.Option(help=f"Of the model: {', '.join(LADDER)}.")],
    clips: Annotated[
        int | None, typer.Option(min=1, help="So many clips of --video and --seconds; the sealed snapshot by default.")
    ] = None,
    video: Annotated[str, typer.Option(help="Width and height of those clips.", metavar="WIDTHxHEIGHT")] = "1280x720",
    seconds: Annotated[float, typer.Option(min=0.1, help="Their length.")] = 6.0,
    fps: Annotated[float, typer.Option(min=1, help="Their frames a second.")] = 30.0,
    epochs: Annotated[
        float | None, typer.Option(min=0, help="Of the transformer; as the settings say by default.")
    ] = None,
    mfu: Annotated[float | None, typer.Option(min=0.01, max=1, help="Share of the GPU's peak to assume.")] = None,
) -> None:
    """GPU hours, bytes and shards of a training, counted and not measured. Nothing is started and nothing is written."""
    if size not in LADDER:
        raise ValueError(f"--size {size}: there are {', '.join(LADDER)}")
    if not (sides := re.fullmatch(r"(\d+)x(\d+)", video)):
        raise ValueError(f"--video {video}: write width and height in pixels, for instance 1280x720")
    film = budget.Film(int(sides[1]), int(sides[2]), round(seconds * fps), fps)
    opened = home()
    films = [film] * clips if clips else budget.of_snapshot(opened)
    stdout.print(facts(budget.plan(opened, size, films, mfu, epochs).report()))

"""`rushes deliver`: hand a folder of clips to the inbox."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from orchestration.commands.shared import home, stdout


def register(app: typer.Typer) -> None:
    app.command()(deliver)


def deliver(
    folder: Annotated[Path, typer.Argument(help="Holds delivery.json, the files it names, and consent/*.json.")],
    day: Annotated[str | None, typer.Option(help="Received day, YYYY-MM-DD; today without it.")] = None,
) -> None:
    """Copy a delivery into the inbox; the inbox sensor, or `rushes run intake`, takes it from there."""
    from assets.ingestion import inbox

    where = inbox.deliver(folder, home(), day)
    stdout.print(f"delivered to [bold]{where}[/]; `rushes run intake` registers it now, the daemon within a minute")

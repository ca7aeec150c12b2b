"""`rushes generate` and `rushes promote`: use the champion, and make a version the champion."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from orchestration.commands.shared import facts, home, plain, stdout


def register(app: typer.Typer) -> None:
    app.command()(generate)
    app.command()(promote)


def generate(
    prompt: Annotated[str, typer.Argument(help="What is to be seen.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The mp4 to write.")],
    seed: Annotated[int, typer.Option(help="Same prompt, seed and version: same video.")] = 0,
    version: Annotated[str | None, typer.Option(help="A registered version; the champion without it.")] = None,
) -> None:
    """Generate a video. It leaves with a watermark and C2PA metadata, or not at all."""
    from assets.release.generation import generate_marked

    if output.is_dir():
        raise ValueError(f"{output} is a folder; name the mp4 to write")
    result = generate_marked(home(), prompt, output, seed=seed, version=version)
    stdout.print(facts(result))


def promote(version: Annotated[str, typer.Argument(help="Number of the registered version.")]) -> None:
    """Make a version the champion, if consent, copies and taint allow it; else say why not."""
    from assets.evaluation.promotion import promote as promote_version

    stdout.print(plain(promote_version(home(), version)), highlight=False)

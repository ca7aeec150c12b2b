"""`rushes search`: clips by what is told of them."""

from __future__ import annotations

from typing import Annotated

import typer

from orchestration.commands.shared import home, plain, short, stdout, table


def register(app: typer.Typer) -> None:
    app.command()(search)


def search(
    words: Annotated[str, typer.Argument(help="What is to be seen, for instance: sunset over water.")],
    top: Annotated[int, typer.Option(min=1, max=1000, help="How many clips.")] = 10,
) -> None:
    """The clips whose captions are nearest in meaning, nearest first. Clips that stand withdrawn are never among them."""
    from assets.curation.captioning import embeddings as captions

    hits = captions.search(home(), words, top)
    rows = [
        (short(hit.clip_id, 16), f"{hit.similarity:.3f}", hit.caption, f"{hit.state}{_why(hit.reasons)}")
        for hit in hits
    ]
    title = f"{len(rows)} clips nearest to: {plain(words, 200)}"
    stdout.print(table(title, ("clip", "likeness", "caption", "training"), rows))


def _why(reasons: tuple[str, ...]) -> str:
    return f": {', '.join(reasons[:3])}{' and more' if len(reasons) > 3 else ''}" if reasons else ""

"""`rushes review`, when people disagree: disputes by those concerned, their decision, and a contributor's appeal."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from assets.home import Home
from orchestration.commands.shared import facts, home, plain, short, stdout, table

if TYPE_CHECKING:
    from assets.consent.clip import Clip

Identity = Annotated[str, typer.Argument(metavar="CLIP", help="Clip identity; a prefix will do.")]
Officer = Annotated[str | None, typer.Option(help="The officer who opens it, with --platform.")]


def register(app: typer.Typer) -> None:
    """Add these commands to `rushes review`."""
    for command in (dispute, adjudicate, appeal):
        app.command()(command)
    app.command("disputes")(list_disputes)


def dispute(
    clip: Identity,
    reason: Annotated[
        str, typer.Option(help="A code, for instance legal.privacy; `rushes review reasons` lists them.")
    ],
    party: Annotated[str, typer.Option(help="Whom it concerns.")],
    key: Annotated[Path | None, typer.Option("--key", help="Their own private key (PEM).")] = None,
    platform: Annotated[
        bool, typer.Option("--platform", help="The platform signs, for somebody without a key.")
    ] = False,
    officer: Officer = None,
) -> None:
    """Object to a clip. It is held at once, from every use, until an officer has decided."""
    from assets.consent.disputes import open_dispute, open_for
    from training.consent.keys import load_or_create

    here, now = home(), datetime.now(UTC)
    if (key is None) != platform:
        raise ValueError("sign with your own --key, or let the --platform sign on an --officer's word")
    found = _clip(here, clip)
    if key is not None:
        if not key.is_file():
            raise LookupError(f"there is no key at {key}; the one that was registered for {party} is needed")
        dispute_id = open_dispute(here, found, party, reason, load_or_create(key), now)
    else:
        dispute_id = open_for(here, found, party, reason, officer or "", now)
    stdout.print(facts({"dispute": dispute_id, "the clip is": "held until an officer has decided"}))


def adjudicate(
    dispute_id: Annotated[str, typer.Argument(metavar="DISPUTE")],
    outcome: Annotated[str, typer.Option(help="dismissed: the hold ends; upheld: it is final.")],
    officer: Annotated[str, typer.Option(help="Who decides: nobody who reviewed, delivered or is in it, or objected.")],
) -> None:
    """Decide a dispute, for good."""
    from assets.consent.disputes import adjudicate as decide

    found = decide(home(), dispute_id, outcome, officer, datetime.now(UTC))
    held = "no longer held by it" if outcome == "dismissed" else "barred for good"
    stdout.print(f"{plain(dispute_id)} {outcome}: {len(found.clips)} clips {held}", highlight=False)


def list_disputes(
    all_: Annotated[bool, typer.Option("--all", help="Decided ones too.")] = False,
) -> None:
    """Disputes that are open, oldest first."""
    from assets.consent.disputes import disputes

    now = datetime.now(UTC)
    rows = [
        (
            one.dispute_id,
            one.reason,
            one.party_id,
            one.opened_by,
            ", ".join(short(clip.facts.clip_id, 16) for clip in one.clips),
            one.outcome or f"open for {one.age_hours(now):.0f} h" + (" OVERDUE" if one.overdue(now) else ""),
            one.officer,
        )
        for one in disputes(home())
        if all_ or one.outcome is None
    ]
    columns = ("dispute", "reason", "concerns", "opened by", "clips", "state", "decided by")
    stdout.print(table("Disputes", columns, rows))


def appeal(
    clip: Identity,
    contributor: Annotated[str, typer.Option(help="The contributor of the clip.")],
) -> None:
    """Ask, for a contributor, that people who have not judged the clip yet decide about its rejection."""
    from assets.consent.reviews import appeal as ask_again

    here = home()
    new = ask_again(here.database_url, _clip(here, clip), contributor, datetime.now(UTC))
    stdout.print("It is in the queue again." if new else "The appeal is in the queue already.")


def _clip(here: Home, identity: str) -> Clip:
    from assets.consent.clip_facts import read_clips
    from assets.consent.contact_sheet import find_clip

    return find_clip(read_clips(here), identity)

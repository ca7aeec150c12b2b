"""`rushes review`, the register: who may judge clips, and for which organisation."""

from __future__ import annotations

import getpass
from datetime import UTC, datetime
from typing import Annotated

import typer

from orchestration.commands.shared import home, plain, stdout, table

Name = Annotated[str, typer.Argument(metavar="NAME", help="The reviewer, for instance v-ines.")]
By = Annotated[str | None, typer.Option("--by", help="Who changes the register; you, if not given.")]


def register(app: typer.Typer) -> None:
    """Add these commands to `rushes review`."""
    for command in (enrol, retire):
        app.command()(command)
    app.command("reviewers")(list_reviewers)


def enrol(
    name: Name,
    organisation: Annotated[str, typer.Option(help="Whom they work for. Two of one organisation are one opinion.")],
    by: By = None,
) -> None:
    """Let somebody judge clips, or note that they work for another organisation now."""
    from assets.consent import reviewers

    new = reviewers.enrol(home().database_url, name, organisation, by=by or getpass.getuser(), now=datetime.now(UTC))
    said = "enrolled" if new else "was enrolled already"
    stdout.print(f"{plain(name)} of {plain(organisation)} {said}", highlight=False)


def retire(name: Name, by: By = None) -> None:
    """Let somebody judge no more; what they judged stands."""
    from assets.consent import reviewers

    was_active = reviewers.retire(home().database_url, name, by=by or getpass.getuser(), now=datetime.now(UTC))
    stdout.print(f"{plain(name)} {'is' if was_active else 'was already'} retired", highlight=False)


def list_reviewers() -> None:
    """Everybody on the register, and how much each has judged."""
    from collections import Counter

    from assets.consent.reviewers import read_register
    from assets.consent.reviews import all_reviews

    here = home()
    given = Counter((row["reviewer_id"], row["verdict"]) for row in all_reviews(here.database_url))
    rows = [
        (
            name,
            entry.organisation,
            "active" if entry.active else "retired",
            given[name, "approve"],
            given[name, "reject"],
            entry.recorded_at,
            entry.by,
        )
        for name, entry in sorted(read_register(here.database_url).standing().items())
    ]
    columns = ("reviewer", "organisation", "", "approved", "rejected", "since", "recorded by")
    stdout.print(table("Reviewers", columns, rows))

"""`rushes review`: the queue of clips that wait for people, and a reviewer's approval or rejection."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from assets.home import Home
from orchestration.commands.shared import home, plain, short, stdout, table

app = typer.Typer(
    help="Judge clips: two approvers, neither the contributor nor anyone in the picture.", no_args_is_help=True
)

Reviewer = Annotated[str, typer.Option("--reviewer", "-r", help="Who judges.")]
Persons = Annotated[int, typer.Option(help="Identifiable people you count in the clip.")]
Unidentifiable = Annotated[int, typer.Option(help="People or detections that nobody could recognise.")]


@app.command("list")
def list_() -> None:
    """Clips that wait for an approval."""
    from assets.consent.waiting import review_queue

    here = home()
    rows = [
        (
            short(row["clip_id"], 16),
            row["shot_index"],
            row["contributor_id"],
            f"{row['start_frame']}–{row['end_frame'] - 1}",
            ", ".join(row["reviewers"]),
            here.store.uri(row["media_key"]),
        )
        for row in review_queue(here)
    ]
    stdout.print(table("Waiting for review", ("clip", "shot", "by", "frames", "judged by", "file"), rows))


@app.command()
def approve(
    clip: Annotated[str, typer.Argument(help="Clip identity; a prefix will do.")],
    reviewer: Reviewer,
    persons: Persons = 0,
    unidentifiable: Unidentifiable = 0,
) -> None:
    """Approve a clip that waits in the queue."""
    _judge(clip, reviewer, "approve", (), persons, unidentifiable)


@app.command()
def reject(
    clip: Annotated[str, typer.Argument(help="Clip identity; a prefix will do.")],
    reviewer: Reviewer,
    reason: Annotated[list[str], typer.Option(help="Every reason, for instance quality.focus.")],
    persons: Persons = 0,
) -> None:
    """Reject a clip, with all reasons."""
    _judge(clip, reviewer, "reject", tuple(reason), persons, 0)


def _judge(clip: str, reviewer: str, verdict: str, reasons: tuple[str, ...], persons: int, unidentifiable: int) -> None:
    from assets.consent.reviews import submit_review

    here = home()
    for row in _waiting(here, clip):
        if reviewer in row["barred"]:
            raise ValueError(f"{reviewer} delivered this clip or is said to be in it, and cannot judge it")
        submit_review(
            here.database_url,
            clip_id=row["clip_id"],
            item_id=row["item_id"],
            shot_index=row["shot_index"],
            reviewer_id=reviewer,
            digest=row["digest"],
            verdict=verdict,
            persons_counted=persons,
            now=datetime.now(UTC),
            reasons=reasons,
            non_identifiable=unidentifiable,
        )
        stdout.print(
            f"{verdict}: {short(row['clip_id'], 16)}, shot {row['shot_index']}, by {plain(reviewer)}", highlight=False
        )


def _waiting(here: Home, clip: str) -> list[dict[str, Any]]:
    """The queue's rows of one clip. Raises LookupError for none, or for a prefix that two clips share."""
    from assets.consent.waiting import review_queue

    found = [row for row in review_queue(here) if row["clip_id"].startswith(clip)]
    if not found:
        raise LookupError(f"no clip {clip!r} waits for review; `rushes review list` shows the queue")
    if len({row["clip_id"] for row in found}) > 1:
        raise LookupError(f"{clip!r} could be several clips; give more of it")
    return found

"""`rushes review`: look at clips on contact sheets and judge them, one by one or along the queue.

Who may judge, and what a judgement counts for, is decided in the consent stage. The register of reviewers, disputes and
appeals have modules of their own.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from assets.home import Home
from orchestration.commands import disputes, reviewers
from orchestration.commands.shared import facts, home, open_page, plain, short, stdout, table

if TYPE_CHECKING:
    from assets.consent.clip import Clip

app = typer.Typer(
    help="Judge clips: two reviewers of different organisations, none of whom has a part in it.", no_args_is_help=True
)

Identity = Annotated[str, typer.Argument(metavar="CLIP", help="Clip identity; a prefix will do.")]
Reviewer = Annotated[str, typer.Option("--reviewer", "-r", help="Who judges: a name on the register.")]
Persons = Annotated[int, typer.Option(min=0, help="Identifiable people you count in the clip.")]
Unidentifiable = Annotated[int, typer.Option(min=0, help="People or detections that nobody could recognise.")]
Shot = Annotated[int | None, typer.Option(min=0, help="Which shot, where one clip is in several.")]
Seen = Annotated[
    str | None, typer.Option(help="What the contact sheet gave as --seen; refused if the clip has changed since.")
]


@app.command("list")
def list_(
    reviewer: Annotated[str | None, typer.Option("--reviewer", "-r", help="Only what this reviewer may judge.")] = None,
) -> None:
    """Clips that wait for people, overdue ones first. Nothing is ever accepted because time passed."""
    rows = [
        (
            short(row["clip_id"], 16),
            row["shot_index"],
            row["declared"]["subject"],
            row["contributor_id"],
            f"{row['age_hours']:.0f} h" + (" OVERDUE" if row["overdue"] else ""),
            ", ".join(row["reviewers"]),
            ", ".join(row["offered"]) or "nobody",
            ", ".join([*row["codes"], *(["appeal"] if row["appealed"] else [])]),
        )
        for row in _queue(home(), reviewer)
    ]
    columns = ("clip", "shot", "subject", "by", "waits", "judged by", "asked", "because")
    stdout.print(table("Waiting for review", columns, rows))


@app.command()
def show(
    clip: Identity,
    shot: Shot = None,
    open_: Annotated[bool, typer.Option("--open/--no-open", help="Open the page in the browser.")] = True,
) -> None:
    """Write a clip's contact sheet, one HTML page, and open it in the browser."""
    from assets.consent.contact_sheet import write_page

    here = home()
    path, _ = write_page(here, _clip(here, clip, shot), datetime.now(UTC))
    open_page(path, open_)


@app.command()
def approve(
    clip: Identity,
    reviewer: Reviewer,
    persons: Persons,
    unidentifiable: Unidentifiable = 0,
    shot: Shot = None,
    seen: Seen = None,
) -> None:
    """Approve a clip."""
    here = home()
    _judge(here, _clip(here, clip, shot), reviewer, "approve", (), persons, unidentifiable, seen)


@app.command()
def reject(
    clip: Identity,
    reviewer: Reviewer,
    reason: Annotated[list[str], typer.Option(help="Every reason that applies, for instance quality.focus.")],
    persons: Persons = 0,
    unidentifiable: Unidentifiable = 0,
    shot: Shot = None,
    seen: Seen = None,
) -> None:
    """Reject a clip, with all reasons; `rushes review reasons` lists them."""
    here = home()
    _judge(here, _clip(here, clip, shot), reviewer, "reject", tuple(reason), persons, unidentifiable, seen)


@app.command("next")
def next_(
    reviewer: Reviewer,
    open_: Annotated[bool, typer.Option("--open/--no-open", help="Open each page in the browser.")] = True,
) -> None:
    """Walk through the queue: look at each contact sheet, then approve, reject, skip, or open a dispute."""
    from assets.consent.clip_facts import read_clips
    from assets.consent.contact_sheet import write_page
    from assets.consent.reviewers import read_register

    here = home()
    read_register(here.database_url).judge(reviewer)
    clips = {clip.key: clip for clip in read_clips(here)}
    mine = sorted(_queue(here, reviewer), key=lambda row: reviewer not in row["offered"])  # stable: overdue stay first
    for place, row in enumerate(mine, 1):
        clip = clips[row["clip_id"], row["item_id"], row["shot_index"]]
        path, seen = write_page(here, clip, datetime.now(UTC))
        stdout.rule(f"{place} of {len(mine)}: {plain(row['declared']['subject'])}")
        open_page(path, open_)
        if not _ask(here, clip, reviewer, seen):
            return
    stdout.print("Nothing more waits for you." if mine else "Nothing waits for you.")


@app.command()
def reasons(
    clip: Annotated[
        str | None, typer.Argument(help="A clip: everything that stands against it. All codes without.")
    ] = None,
) -> None:
    """Every code that a rejection or a dispute can give, or all that stands against one clip."""
    from assets.consent.rejections import objections_to
    from assets.reasons import REASONS, fatal, fit_for_catalogue, in_words

    if clip is None:
        costs = {
            code: "fatal" if fatal([code]) else "catalogue" if fit_for_catalogue([code]) else "" for code in REASONS
        }
        listed = [(code, said, costs[code]) for code, said in REASONS.items()]
        stdout.print(table("Reasons", ("code", "what it says", "cost"), listed))
        return
    here = home()
    found = objections_to(here, _clip(here, clip, None), datetime.now(UTC))
    rows = [(one.code, in_words(one.code), one.said_by, one.detail) for one in found]
    stdout.print(table("What stands against this clip", ("code", "what it says", "said by", "found"), rows))


# -- the steps of a judgement ----------------------------------------------------------------------------------------


def _queue(here: Home, reviewer: str | None) -> list[dict[str, Any]]:
    from assets.consent.review_queue import review_queue

    return [row for row in review_queue(here) if reviewer is None or reviewer in row["may_judge"]]


def _clip(here: Home, identity: str, shot: int | None) -> Clip:
    from assets.consent.clip_facts import read_clips
    from assets.consent.contact_sheet import find_clip

    return find_clip(read_clips(here), identity, shot)


def _again(here: Home, clip: Clip) -> Clip:
    """The same clip as it is by now. Raises LookupError where it is gone."""
    from assets.consent.clip_facts import read_clips

    now = next((one for one in read_clips(here) if one.key == clip.key), None)
    if now is None:
        raise LookupError("this clip is no longer there")
    return now


def _judge(
    here: Home,
    clip: Clip,
    reviewer: str,
    verdict: str,
    codes: tuple[str, ...],
    persons: int,
    unidentifiable: int,
    seen: str | None,
) -> None:
    from assets.consent.clip import digest
    from assets.consent.reviewers import ReviewError, read_register
    from assets.consent.reviews import submit_review

    clip_id, item_id, shot_index = clip.key
    now = digest(clip)
    if seen is not None and (len(seen) < 8 or not now.startswith(seen)):
        raise ReviewError("the clip is no longer what that contact sheet showed; look at it again")
    if clip.judged().bars(reviewer, read_register(here.database_url).judge(reviewer).organisation):
        raise ReviewError(f"{reviewer} has a part in this clip, or works for whoever asked for it, and cannot judge it")
    submit_review(
        here.database_url,
        clip_id=clip_id,
        item_id=item_id,
        shot_index=shot_index,
        reviewer_id=reviewer,
        digest=now,
        verdict=verdict,
        persons_counted=persons,
        now=datetime.now(UTC),
        reasons=codes,
        non_identifiable=unidentifiable,
    )
    stdout.print(
        f"{verdict}: {short(clip_id, 16)}, shot {shot_index}, by {plain(reviewer)}"
        + (f", for {', '.join(map(plain, codes))}" if codes else ""),
        highlight=False,
    )


def _ask(here: Home, clip: Clip, reviewer: str, seen: str) -> bool:
    """One clip of the walk, asked until it is answered; False to stop the walk."""
    while True:
        answer = typer.prompt("approve, reject, skip, dispute or quit", default="skip").strip().lower()[:1]
        if answer in ("s", "q"):
            return answer == "s"
        if answer not in ("a", "r", "d"):
            continue
        try:
            if answer == "d":
                _object(here, clip, reviewer)
            else:
                codes = _codes() if answer == "r" else ()
                persons = typer.prompt("identifiable people in it", type=int)
                unidentifiable = typer.prompt("people or detections nobody could recognise", type=int, default=0)
                verdict = "reject" if codes else "approve"
                _judge(here, _again(here, clip), reviewer, verdict, codes, persons, unidentifiable, seen)
            return True
        except (ValueError, LookupError) as error:
            stdout.print(f"[bold red]not taken:[/] {plain(error)}", highlight=False)


def _codes() -> tuple[str, ...]:
    """Codes of a rejection, asked for until there is at least one."""
    while True:
        given = typer.prompt("all reasons, separated by blanks (? lists them)").replace(",", " ").split()
        if given and "?" not in given:
            return tuple(given)
        reasons(None)


def _object(here: Home, clip: Clip, officer: str) -> None:
    """Open a dispute for somebody in the picture who has no key here."""
    from assets.consent.disputes import open_for

    party = typer.prompt("whom does it concern (a name of your own for somebody unknown)")
    (code, *_) = _codes()
    dispute_id = open_for(here, clip, party, code, officer, datetime.now(UTC))
    stdout.print(facts({"dispute": dispute_id, "the clip is": "held until an officer has decided"}))


disputes.register(app)
reviewers.register(app)

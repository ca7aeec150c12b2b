"""`rushes review`: judge clips on contact sheets, keep the register of reviewers, and settle disputes and appeals.

Who may judge, and what a judgement counts for, is decided in the consent stage.
"""

from __future__ import annotations

import getpass
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from assets.consent import disputes as dispute_records
from assets.consent.clips import Clip, digest, read_clips
from assets.consent.contact_sheet import find_clip, write_page
from assets.consent.disputes import appeal as ask_again
from assets.consent.eligibility import objections_to
from assets.consent.review_queue import review_queue
from assets.consent.reviews import (
    ReviewError,
    all_reviews,
    enrol_reviewer,
    read_register,
    retire_reviewer,
    submit_review,
)
from assets.home import Home
from assets.reasons import REASONS, fatal, fit_for_catalogue, in_words
from orchestration.commands.shared import facts, home, open_page, plain, say, short, stdout, table
from training.consent.keys import load_or_create

app = typer.Typer(
    help="Review clips; two reviewers of different organisations, neither with a part in the clip, must approve.",
    no_args_is_help=True,
)

Identity = Annotated[str, typer.Argument(metavar="CLIP", help="Clip identity; a prefix will do.")]
Reviewer = Annotated[str, typer.Option("--reviewer", "-r", help="The reviewer: a name on the register.")]
Persons = Annotated[int, typer.Option(min=0, help="Identifiable people you count in the clip.")]
Unidentifiable = Annotated[int, typer.Option(min=0, help="People or detections that nobody could recognise.")]
Shot = Annotated[int | None, typer.Option(min=0, help="Which shot, where one clip is in several.")]
Seen = Annotated[
    str | None, typer.Option(help="The --seen value of the contact sheet; refused if the clip has changed since.")
]
Name = Annotated[str, typer.Argument(metavar="NAME", help="The reviewer, for instance v-ines.")]
By = Annotated[str | None, typer.Option("--by", help="Who changes the register; you by default.")]


@dataclass(frozen=True)
class Judgement:
    """A reviewer's word on a clip; `seen` is what the contact sheet showed of it."""

    reviewer: str
    verdict: str
    persons: int
    unidentifiable: int = 0
    reasons: tuple[str, ...] = ()
    seen: str | None = None


@app.command("list")
def list_(
    reviewer: Annotated[str | None, typer.Option("--reviewer", "-r", help="Only what this reviewer may judge.")] = None,
) -> None:
    """List clips that wait for review, overdue ones first. Nothing is accepted because time passed."""
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
    site = home()
    path, _ = write_page(site, _clip(site, clip, shot), datetime.now(UTC))
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
    site = home()
    _judge(site, _clip(site, clip, shot), Judgement(reviewer, "approve", persons, unidentifiable, seen=seen))


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
    """Reject a clip, with every reason that applies; `rushes review reasons` lists them."""
    site = home()
    judgement = Judgement(reviewer, "reject", persons, unidentifiable, tuple(reason), seen)
    _judge(site, _clip(site, clip, shot), judgement)


@app.command("next")
def next_(
    reviewer: Reviewer,
    open_: Annotated[bool, typer.Option("--open/--no-open", help="Open each page in the browser.")] = True,
) -> None:
    """Walk through the queue: look at each contact sheet, then approve, reject, skip, or open a dispute."""
    site = home()
    read_register(site.database_url).judge(reviewer)
    clips = {clip.key: clip for clip in read_clips(site)}
    queue = sorted(_queue(site, reviewer), key=lambda row: reviewer not in row["offered"])  # stable: overdue stay first
    for place, row in enumerate(queue, 1):
        clip = clips[row["clip_id"], row["item_id"], row["shot_index"]]
        path, seen = write_page(site, clip, datetime.now(UTC))
        stdout.rule(f"{place} of {len(queue)}: {plain(row['declared']['subject'])}")
        open_page(path, open_)
        if not _ask(site, clip, reviewer, seen):
            return
    stdout.print("Nothing more waits for you." if queue else "Nothing waits for you.")


@app.command()
def reasons(
    clip: Annotated[str | None, typer.Argument(help="A clip; all codes without it.")] = None,
) -> None:
    """List the codes of rejections and disputes, or everything that stands against one clip."""
    if clip is None:
        costs = {
            code: "fatal" if fatal([code]) else "catalogue" if fit_for_catalogue([code]) else "" for code in REASONS
        }
        codes = [(code, words, costs[code]) for code, words in REASONS.items()]
        stdout.print(table("Reasons", ("code", "what it says", "cost"), codes))
        return
    site = home()
    objections = objections_to(site, _clip(site, clip), datetime.now(UTC))
    rows = [(row.code, in_words(row.code), row.said_by, row.detail) for row in objections]
    stdout.print(table("What stands against this clip", ("code", "what it says", "said by", "found"), rows))


# -- the register of reviewers ---------------------------------------------------------------------------------------


@app.command()
def enrol(
    name: Name,
    organisation: Annotated[
        str, typer.Option(help="Whom they work for. Two reviewers of one organisation count as one.")
    ],
    by: By = None,
) -> None:
    """Add a reviewer, or record that they work for another organisation now."""
    by = by or getpass.getuser()
    new = enrol_reviewer(home().database_url, name, organisation, by=by, now=datetime.now(UTC))
    say(f"{plain(name)} of {plain(organisation)} {'enrolled' if new else 'was enrolled already'}")


@app.command()
def retire(name: Name, by: By = None) -> None:
    """Retire a reviewer; their earlier reviews stand."""
    was_active = retire_reviewer(home().database_url, name, by=by or getpass.getuser(), now=datetime.now(UTC))
    say(f"{plain(name)} {'is' if was_active else 'was already'} retired")


@app.command()
def reviewers() -> None:
    """List all reviewers, and how much each has judged."""
    url = home().database_url
    counts = Counter((row["reviewer_id"], row["verdict"]) for row in all_reviews(url))
    rows = [
        (
            name,
            entry.organisation,
            "active" if entry.active else "retired",
            counts[name, "approve"],
            counts[name, "reject"],
            entry.recorded_at,
            entry.by,
        )
        for name, entry in sorted(read_register(url).standing().items())
    ]
    columns = ("reviewer", "organisation", "", "approved", "rejected", "since", "recorded by")
    stdout.print(table("Reviewers", columns, rows))


# -- disputes and appeals --------------------------------------------------------------------------------------------


@app.command()
def dispute(
    clip: Identity,
    reason: Annotated[
        str, typer.Option(help="A code, for instance legal.privacy; `rushes review reasons` lists them.")
    ],
    party: Annotated[str, typer.Option(help="Whom it concerns.")],
    key: Annotated[Path | None, typer.Option("--key", help="Their own private key (PEM).")] = None,
    platform: Annotated[
        bool, typer.Option("--platform", help="The platform signs for somebody without a key.")
    ] = False,
    officer: Annotated[str | None, typer.Option(help="The officer who opens it, with --platform.")] = None,
) -> None:
    """Object to a clip. It is held from every use until an officer has decided."""
    site, now = home(), datetime.now(UTC)
    if (key is None) != platform:
        raise ValueError("sign with your own --key, or let the --platform sign on an --officer's word")
    disputed = _clip(site, clip)
    if key is None:
        _show_dispute(dispute_records.open_dispute(site, disputed, party, reason, officer or "", now))
        return
    if not key.is_file():
        raise LookupError(f"there is no key at {key}; the one that was registered for {party} is needed")
    _show_dispute(dispute_records.open_dispute(site, disputed, party, reason, load_or_create(key), now))


@app.command()
def adjudicate(
    dispute_id: Annotated[str, typer.Argument(metavar="DISPUTE")],
    outcome: Annotated[str, typer.Option(help="dismissed: the hold ends; upheld: it is final.")],
    officer: Annotated[str, typer.Option(help="Who decides: nobody who reviewed, delivered or objected, or is in it.")],
) -> None:
    """Decide a dispute for good."""
    decided = dispute_records.adjudicate(home(), dispute_id, outcome, officer, datetime.now(UTC))
    held = "no longer held by it" if outcome == "dismissed" else "barred for good"
    say(f"{plain(dispute_id)} {outcome}: {len(decided.clips)} clips {held}")


@app.command()
def disputes(
    all_: Annotated[bool, typer.Option("--all", help="Decided ones too.")] = False,
) -> None:
    """List open disputes, oldest first."""
    now = datetime.now(UTC)
    rows = [
        (
            row.dispute_id,
            row.reason,
            row.party_id,
            row.opened_by,
            ", ".join(short(clip.facts.clip_id, 16) for clip in row.clips),
            row.outcome or f"open for {row.age_hours(now):.0f} h" + (" OVERDUE" if row.overdue(now) else ""),
            row.officer,
        )
        for row in dispute_records.disputes(home())
        if all_ or row.outcome is None
    ]
    columns = ("dispute", "reason", "concerns", "opened by", "clips", "state", "decided by")
    stdout.print(table("Disputes", columns, rows))


@app.command()
def appeal(
    clip: Identity,
    contributor: Annotated[str, typer.Option(help="The contributor of the clip.")],
) -> None:
    """Ask, on behalf of a contributor, for a new review of a rejected clip by people who have not judged it."""
    site = home()
    new = ask_again(site.database_url, _clip(site, clip), contributor, datetime.now(UTC))
    stdout.print("It is in the queue again." if new else "The appeal is in the queue already.")


def _show_dispute(dispute_id: str) -> None:
    stdout.print(facts({"dispute": dispute_id, "the clip is": "held until an officer has decided"}))


# -- the steps of a judgement ----------------------------------------------------------------------------------------


def _queue(site: Home, reviewer: str | None) -> list[dict[str, Any]]:
    return [row for row in review_queue(site) if reviewer is None or reviewer in row["may_judge"]]


def _clip(site: Home, identity: str, shot: int | None = None) -> Clip:
    return find_clip(read_clips(site), identity, shot)


def _judge(site: Home, clip: Clip, judgement: Judgement) -> None:
    clip_id, item_id, shot_index = clip.key
    reviewer, seen, now = judgement.reviewer, judgement.seen, digest(clip)
    if seen is not None and (len(seen) < 8 or not now.startswith(seen)):
        raise ReviewError("the clip is no longer what that contact sheet showed; look at it again")
    organisation = read_register(site.database_url).judge(reviewer).organisation
    if clip.judged().bars(reviewer, organisation):
        raise ReviewError(f"{reviewer} has a part in this clip, or works for whoever asked for it, and cannot judge it")
    submit_review(
        site.database_url,
        clip_id=clip_id,
        item_id=item_id,
        shot_index=shot_index,
        reviewer_id=reviewer,
        digest=now,
        verdict=judgement.verdict,
        persons_counted=judgement.persons,
        now=datetime.now(UTC),
        reasons=judgement.reasons,
        non_identifiable=judgement.unidentifiable,
    )
    codes = f", for {', '.join(map(plain, judgement.reasons))}" if judgement.reasons else ""
    say(f"{judgement.verdict}: {short(clip_id, 16)}, shot {shot_index}, by {plain(reviewer)}{codes}")


def _ask(site: Home, clip: Clip, reviewer: str, seen: str) -> bool:
    """Ask about one clip of the walk until there is an answer; False to stop the walk."""
    while True:
        answer = typer.prompt("approve, reject, skip, dispute or quit", default="skip").strip().lower()[:1]
        if answer in ("s", "q"):
            return answer == "s"
        if answer not in ("a", "r", "d"):
            continue
        try:
            if answer == "d":
                party = typer.prompt("whom does it concern (a name of your own for somebody unknown)")
                (code, *_) = _codes()
                _show_dispute(dispute_records.open_dispute(site, clip, party, code, reviewer, datetime.now(UTC)))
            else:
                codes = _codes() if answer == "r" else ()
                persons = typer.prompt("identifiable people in it", type=int)
                unidentifiable = typer.prompt("people or detections nobody could recognise", type=int, default=0)
                verdict = "reject" if codes else "approve"
                _judge(site, _reread(site, clip), Judgement(reviewer, verdict, persons, unidentifiable, codes, seen))
            return True
        except (ValueError, LookupError) as error:
            say(f"[bold red]not taken:[/] {plain(error)}")


def _reread(site: Home, clip: Clip) -> Clip:
    """The same clip as it is now. Raises LookupError where it is gone."""
    for current in read_clips(site):
        if current.key == clip.key:
            return current
    raise LookupError("this clip is no longer there")


def _codes() -> tuple[str, ...]:
    """Codes of a rejection, asked for until there is at least one."""
    while True:
        codes = typer.prompt("all reasons, separated by blanks (? lists them)").replace(",", " ").split()
        if codes and "?" not in codes:
            return tuple(codes)
        reasons(None)

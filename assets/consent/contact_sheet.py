"""A clip's contact sheet: everything that a reviewer needs to judge it, gathered from the lake, the ledger and the file, as
one self-contained HTML page: no script, no request, light and dark, printable.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from assets.consent.clips import Clip, digest, read_clips
from assets.consent.disputes import Dispute, disputes
from assets.consent.ledger import Ledger
from assets.consent.review_counting import POLICY
from assets.consent.review_queue import appealed, hours_between, may_judge, waiting_since, waits
from assets.consent.reviews import read_register
from assets.home import Home
from assets.lake import ClipKey, clip_key
from assets.pages.render import render
from assets.pages.stills import Still, keep_page, take_stills
from assets.reasons import in_words
from training.consent.eligibility import PURPOSE, Release, releases
from training.consent.state import ConsentState, Use
from training.consent.times import HORIZON

PICTURES = 12  # frames on a page
PARTS = {"contributor": "contributor", "depicted": "person", "guardian": "minor"}


@dataclass(frozen=True)
class Sheet:
    """What the page shows. Rows are those of the lake's tables."""

    clip: Clip
    digest: str  # what a judgement of this page binds
    pictures: list[Still]
    releases: list[Release]
    request: dict[str, Any] | None
    media: dict[str, Any]
    verdicts: list[dict[str, Any]]
    duplicates: list[dict[str, Any]]  # of the same group, this clip's first
    disputes: list[Dispute]
    may_judge: tuple[str, ...]
    waiting_since: str
    age_hours: float
    appealed: bool


def find_clip(clips: Sequence[Clip], identity: str, shot_index: int | None = None) -> Clip:
    """The clip that a prefix of its identity names; where the same footage came twice, the one that people judge.

    Raises LookupError for none, or for a prefix that several share.
    """
    matches = [clip for clip in clips if identity and clip.facts.clip_id.startswith(identity)]
    matches = [clip for clip in matches if shot_index in (None, clip.facts.shot_index)]
    if not matches:
        raise LookupError(f"no clip {identity!r}; `rushes review list` shows those that wait")
    if len({clip.facts.clip_id for clip in matches}) > 1:
        raise LookupError(f"{identity!r} could be several clips; give more of it")
    return min(matches, key=lambda clip: (not waits(clip), not clip.facts.duplicate_ok, clip.key))


def build_sheet(home: Home, key: ClipKey, now: datetime, pictures: int = PICTURES) -> Sheet:
    """Gather the sheet of a clip. Raises LookupError for a clip that the lake does not know."""
    state = ConsentState.fold(Ledger(home.database_url).events())
    clips = read_clips(home, state)
    clip = next((clip for clip in clips if clip.key == key), None)
    if clip is None:
        raise LookupError(f"no clip {key[0]!r} with this file and shot")
    since, item_id = waiting_since(clip), clip.facts.item_id
    return Sheet(
        clip=clip,
        digest=digest(clip),
        pictures=take_stills(home, clip.media_key, clip.start_frame, clip.end_frame, pictures),
        releases=releases(clip.facts, Use(clip.facts.assets, PURPOSE, now, now + HORIZON), state),
        request=_row(home, "requests", request_id=clip.declared["request_id"]),
        media=_row(home, "media", item_id=item_id) or {},
        verdicts=[row for row in home.lake.rows("verdicts") if clip_key(row) == clip.key],
        duplicates=_group(home, clip),
        disputes=[dispute for dispute in disputes(home, clips) if clip in dispute.clips],
        may_judge=tuple(sorted(may_judge(clip, read_register(home.database_url)))),
        waiting_since=since,
        age_hours=hours_between(since, now),
        appealed=appealed(clip),
    )


def _row(home: Home, table: str, **wanted: Any) -> dict[str, Any] | None:
    rows = home.lake.rows(table)
    return next((row for row in rows if all(row[name] == value for name, value in wanted.items())), None)


def _group(home: Home, clip: Clip) -> list[dict[str, Any]]:
    """Rows of the clip's duplicate group, its own first."""
    rows = [row for row in home.lake.rows("duplicates") if row["dup_group"] == clip.facts.dup_group]
    return sorted(rows, key=lambda row: (clip_key(row) != clip.key, row["item_id"], row["shot_index"]))


def write_page(home: Home, clip: Clip, now: datetime) -> tuple[Path, str]:
    """Write the clip's page below the home's state folder, for its owner only: (path, digest of what it shows)."""
    sheet = build_sheet(home, clip.key, now)
    rest = f"{clip.facts.item_id}-{clip.facts.shot_index}"
    return keep_page(home, clip.facts.clip_id, rest, page(sheet), now), sheet.digest


# -- the page --------------------------------------------------------------------------------------------------------


def page(sheet: Sheet) -> str:
    """The page of a clip: `contact_sheet.html`."""
    return render(
        "contact_sheet.html",
        sheet=sheet,
        states=_states(sheet),
        people=_people(sheet),
        parties=_parties(sheet),
        compared=_compared(sheet),
    )


def _states(sheet: Sheet) -> list[tuple[str, str]]:
    facts, late = sheet.clip.facts, sheet.age_hours > POLICY.sla_hours
    chips = [(f"{facts.approvals} of {POLICY.approvals} approvals", "good" if facts.approvals >= 2 else "open")]
    if facts.rejections:
        chips.append((f"rejected by {facts.rejections}", "bad"))
    if sheet.appealed:
        chips.append(("appealed: asks for people who have not judged it", "open"))
    if any(dispute.outcome is None for dispute in sheet.disputes):
        chips.append(("held by a dispute", "bad"))
    if any(dispute.outcome == "upheld" for dispute in sheet.disputes):
        chips.append(("barred by a dispute that was upheld", "bad"))
    chips += [(in_words(code), "open") for code in sheet.clip.count.codes]
    if facts.approvals < POLICY.approvals:
        chips.append((f"waits {sheet.age_hours:.0f} h{', overdue' if late else ''}", "bad" if late else "quiet"))
    return chips


def _people(sheet: Sheet) -> dict[str, Any]:
    """The people in it, as numbers that have to add up."""
    facts = sheet.clip.facts
    released = sum(r.identifiable and not r.against for r in sheet.releases if r.role in ("depicted", "guardian"))
    seen = max(facts.faces_max or 0, facts.persons_counted or 0)
    adds_up = facts.faces_max is not None and seen <= released + facts.non_identifiable
    if facts.faces_max is None:
        explanation = "no detector looked at it, so it cannot be used even if approved"
    elif adds_up:
        explanation = "nobody is seen beyond those"
    else:
        explanation = "more people are seen than have agreed or cannot be recognised"
    return {"released": released, "adds_up": adds_up, "explanation": explanation}


def _parties(sheet: Sheet) -> list[dict[str, Any]]:
    property_of = {owned["owner_id"]: owned.get("what") or "property" for owned in sheet.clip.properties}
    return [
        {
            "party_id": release.party_id,
            "part": PARTS.get(release.role) or f"owner of {property_of.get(release.party_id, 'property')}",
            "release": release,
        }
        for release in sheet.releases
        if release.party_id
    ]


def _compared(sheet: Sheet) -> list[dict[str, Any]]:
    """What the contributor declares beside what was measured, where something was."""
    declared, media = sheet.clip.declared, sheet.media
    checks = {row["check"]: row for row in sheet.verdicts}
    both = declared.get("latitude"), declared.get("longitude")

    def size(row: dict[str, Any]) -> str | None:
        return f"{row['width']}x{row['height']}" if row.get("width") else None

    def value(check: str) -> str | None:
        return checks[check]["value"] if check in checks else None

    rows = [
        ("subject", declared.get("subject"), "you decide", None),
        ("location", declared.get("location"), value("location"), "location"),
        ("time of day", declared.get("time_of_day"), value("time_of_day"), "time_of_day"),
        ("resolution", size(declared), size(media), "resolution"),
        ("aspect ratio", declared.get("aspect_ratio"), value("aspect_ratio"), "aspect_ratio"),
        ("length in s", declared.get("duration_s"), media.get("duration_s"), "length"),
        ("captured at", declared.get("captured_at"), None, None),
        ("position", None if None in both else "{:.5f}, {:.5f}".format(*both), None, None),
        ("device", declared.get("device"), None, None),
        ("source", declared.get("source_name"), None, None),
        ("licence", declared.get("source_licence"), None, None),
    ]
    return [
        {"name": name, "declared": claim, "measured": measured, "check": checks.get(check or "")}
        for name, claim, measured, check in rows
        if claim is not None
    ]

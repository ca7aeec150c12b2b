"""A clip's contact sheet: everything that a reviewer needs to judge it, gathered from the lake, the ledger and the file.

How the page looks is `sheet_page`'s business, its pictures are `curation.stills`'.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from assets.consent.clip_facts import Clip, read_clips
from assets.consent.disputes import Dispute, disputes
from assets.consent.review_queue import appealed, hours_between, may_judge, waiting_since, waits
from assets.consent.reviewers import read_register
from assets.consent.reviews import digest
from assets.home import Home
from assets.pages.stills import Still, keep_page, take_stills
from training.consent.eligibility import PURPOSE
from training.consent.ledger import Ledger
from training.consent.state import ConsentState, Use
from training.consent.times import HORIZON

PICTURES = 12  # frames on a page


@dataclass(frozen=True)
class Release:
    """Whether somebody whom the clip concerns has agreed; `codes` say what is missing, `consent_ids` what covers."""

    party_id: str
    part: str  # contributor, person, minor or owner of ...
    covered: bool
    consent_ids: tuple[str, ...]
    codes: tuple[str, ...]
    identifiable: bool = True


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
    found = [clip for clip in clips if identity and clip.facts.clip_id.startswith(identity)]
    found = [clip for clip in found if shot_index in (None, clip.facts.shot_index)]
    if not found:
        raise LookupError(f"no clip {identity!r}; `rushes review list` shows those that wait")
    if len({clip.facts.clip_id for clip in found}) > 1:
        raise LookupError(f"{identity!r} could be several clips; give more of it")
    return min(found, key=lambda clip: (not waits(clip), not clip.facts.duplicate_ok, clip.key))


def build_sheet(home: Home, clip_key: tuple[str, str, int], now: datetime, pictures: int = PICTURES) -> Sheet:
    """Gather the sheet of a clip. Raises LookupError for a clip that the lake does not know."""
    state = ConsentState.fold(Ledger(home.database_url).events())
    clips = read_clips(home, state)
    clip = next((clip for clip in clips if clip.key == clip_key), None)
    if clip is None:
        raise LookupError(f"no clip {clip_key[0]!r} with this file and shot")
    since, item_id = waiting_since(clip), clip.facts.item_id
    return Sheet(
        clip=clip,
        digest=digest(clip),
        pictures=take_stills(home, clip.media_key, clip.start_frame, clip.end_frame, pictures),
        releases=releases(clip, state, now),
        request=_row(home, "requests", request_id=clip.declared["request_id"]),
        media=_row(home, "media", item_id=item_id) or {},
        verdicts=[row for row in home.lake.rows("verdicts") if _is_of(row, clip)],
        duplicates=_group(home, clip),
        disputes=[found for found in disputes(home, clips) if clip in found.clips],
        may_judge=tuple(sorted(may_judge(clip, read_register(home.database_url)))),
        waiting_since=since,
        age_hours=hours_between(since, now),
        appealed=appealed(clip),
    )


def releases(clip: Clip, state: ConsentState, at: datetime) -> list[Release]:
    """Who has to agree to training on this clip, and whether they have, over the training horizon from `at` on."""
    facts, found = clip.facts, []
    if facts.contributor_id:
        found.append(_release(clip, state, at, facts.contributor_id, "contributor", "contributor", (PURPOSE,)))
    for person in facts.persons:
        minor = person.minor or state.is_guarded(person.person_id)
        role, part = ("guardian", "minor") if minor else ("depicted", "person")
        scopes = (PURPOSE, "train_minor") if minor else (PURPOSE,)
        found.append(_release(clip, state, at, person.person_id, role, part, scopes, person.identifiable))
    for one in clip.properties:
        part = f"owner of {one['what']}" if one.get("what") else "owner of property"
        found.append(_release(clip, state, at, one["owner_id"], "property_owner", part, (PURPOSE,)))
    return found


def _release(
    clip: Clip,
    state: ConsentState,
    at: datetime,
    party_id: str,
    role: str,
    part: str,
    scopes: tuple[str, ...],
    identifiable: bool = True,
) -> Release:
    covering: set[str] = set()
    missing: set[str] = set()
    for scope in scopes:
        use = Use(clip.facts.assets, scope, at, at + HORIZON)
        asked = {c.consent_id: c.objections(use) for c in state.consents(party_id, use.assets, role)}
        good = {consent_id for consent_id, codes in asked.items() if not codes}
        covering |= good
        if not good:
            missing |= set().union(*asked.values()) if asked else {"consent.none"}
    codes = tuple(sorted(missing))
    return Release(party_id, part, not missing, tuple(sorted(covering)), codes, identifiable)


def _is_of(row: dict[str, Any], clip: Clip) -> bool:
    return (row["clip_id"], row["item_id"], row["shot_index"]) == clip.key


def _row(home: Home, table: str, **wanted: Any) -> dict[str, Any] | None:
    rows = home.lake.rows(table)
    return next((row for row in rows if all(row[name] == value for name, value in wanted.items())), None)


def _group(home: Home, clip: Clip) -> list[dict[str, Any]]:
    """Rows of the clip's duplicate group, its own first."""
    rows = [row for row in home.lake.rows("duplicates") if row["dup_group"] == clip.facts.dup_group]
    return sorted(rows, key=lambda row: (not _is_of(row, clip), row["item_id"], row["shot_index"]))


def write_page(home: Home, clip: Clip, now: datetime) -> tuple[Path, str]:
    """Write the clip's page below the home's state folder, for its owner only: (path, digest of what it shows)."""
    from assets.consent.contact_sheet_page import render

    sheet = build_sheet(home, clip.key, now)
    return keep_page(
        home, clip.facts.clip_id, f"{clip.facts.item_id}-{clip.facts.shot_index}", render(sheet), now
    ), sheet.digest

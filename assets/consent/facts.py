"""What the lake and the reviewers know of every clip, gathered into the facts that the eligibility rule takes.

Belongs here: joining tables. Not here: any rule. The eligibility table and the training snapshot start from the same facts.
"""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from assets.consent import reviews
from assets.home import Home
from training.consent.canonical import sha256_hex
from training.consent.eligibility import ClipFacts, ConsentState, Decision, Person, decision_window, eligible
from training.consent.ledger import Ledger

_DECLARED = (
    *("declared_subject", "declared_location", "declared_time_of_day", "declared_width", "declared_height"),
    *("declared_aspect_ratio", "captured_at", "source_name", "source_licence"),
)


@dataclass(frozen=True)
class Clip:
    """A clip's facts with what a reviewer is shown beside them."""

    facts: ClipFacts
    media_key: str
    start_frame: int
    end_frame: int
    declared: dict[str, Any]
    consent_ids: tuple[str, ...]  # consents of its contributor and people that ever spoke of it
    reviewable: bool = False  # every check ran and no fatal one stands against it: people may look at it

    @property
    def key(self) -> reviews.ClipKey:
        return self.facts.clip_id, self.facts.item_id, self.facts.shot_index


def clip_facts(home: Home) -> list[ClipFacts]:
    """The facts of every clip in the lake, in order of clip, item and shot."""
    return [clip.facts for clip in read_clips(home)]


def read_clips(home: Home, state: ConsentState | None = None) -> list[Clip]:
    """Every clip in the lake, in order of clip, item and shot. `state` is the ledger's, read when not given."""
    state = state or ConsentState.fold(Ledger(home.database_url).events())
    items = {row["item_id"]: row for row in home.lake.rows("delivery_items")}
    frames = _column(home, "media", ("item_id",), "frames_sha256")
    faces = _column(home, "signals", ("clip_id", "item_id", "shot_index"), "faces_max")
    duplicates = {_key(row): row for row in home.lake.rows("duplicates")}
    verdicts = _verdicts(home)
    given = reviews.by_clip(home.database_url)
    clips = []
    for shot in sorted(home.lake.rows("shots"), key=_key):
        key, item = _key(shot), items.get(shot["item_id"], {})
        clip = _clip(shot, item, frames.get((shot["item_id"],)), faces.get(key), duplicates.get(key), state)
        found = verdicts.get(key)
        objections = found["fatal"] | found["quality"] if found else set()
        clip = replace(
            clip,
            facts=_checked(clip.facts, duplicates.get(key), objections, complete=found is not None),
            reviewable=found is not None and not found["fatal"],
        )
        tally = reviews.tally(clip, given.get(key, []))
        clips.append(replace(clip, facts=replace(clip.facts, **vars(tally))))
    return clips


def _clip(
    shot: dict[str, Any],
    item: dict[str, Any],
    frames_sha256: str | None,
    faces_max: int | None,
    duplicate: dict[str, Any] | None,
    state: ConsentState,
) -> Clip:
    facts = ClipFacts(
        clip_id=shot["clip_id"],
        item_id=shot["item_id"],
        shot_index=shot["shot_index"],
        bytes_sha256=shot["bytes_sha256"],
        frames=(frames_sha256,) if frames_sha256 else (),
        contributor_id=item.get("contributor_id"),
        persons=tuple(Person(**person) for person in json.loads(item.get("persons_json", "[]"))),
        faces_max=faces_max,
        dup_group=duplicate["dup_group"] if duplicate else "",
    )
    parties = {facts.contributor_id or "", *(person.person_id for person in facts.persons)}
    speaking = (c for party in parties for c in state.by_party.get(party, {}).values() if c.concerns(facts.assets))
    return Clip(
        facts=facts,
        media_key=shot["media_key"],
        start_frame=shot["start_frame"],
        end_frame=shot["end_frame"],
        declared={name.removeprefix("declared_"): item.get(name) for name in _DECLARED},
        consent_ids=tuple(sorted(consent.consent_id for consent in speaking)),
    )


def _checked(facts: ClipFacts, duplicate: dict[str, Any] | None, objections: set[str], complete: bool) -> ClipFacts:
    """With the outcome of curation: unknown counts as failed."""
    duplicate_ok = duplicate is not None and duplicate["verdict"] == "pass"
    codes = set(objections)
    if duplicate is not None and not duplicate_ok:
        codes.add(duplicate["reason"] or "dup.unresolved")
    return replace(
        facts,
        duplicate_ok=duplicate_ok,
        verdicts_ok=complete and not objections,
        objections=tuple(sorted(codes)),
    )


def _verdicts(home: Home) -> dict[reviews.ClipKey, dict[str, set[str]]]:
    """By clip that was checked: codes of what did not pass, by severity. Unmeasurable and not-yet do not pass.

    Fatal and quality checks both stand against training; only fatal ones keep a clip from being reviewed, since what
    misses a brief may still be good for the catalogue.
    """
    found: dict[reviews.ClipKey, dict[str, set[str]]] = defaultdict(lambda: {"fatal": set(), "quality": set()})
    wanted = ["clip_id", "item_id", "shot_index", "check", "verdict", "severity", "reason"]
    for row in home.lake.read("verdicts").select(wanted).to_pylist():
        codes = found[_key(row)]
        if row["severity"] in codes and row["verdict"] != "pass":
            codes[row["severity"]].add(row["reason"] or f"quality.{row['check']}_{row['verdict']}")
    return dict(found)


def _key(row: dict[str, Any]) -> reviews.ClipKey:
    return row["clip_id"], row["item_id"], row["shot_index"]


def _column(home: Home, table: str, key: tuple[str, ...], column: str) -> dict[tuple[Any, ...], Any]:
    rows = home.lake.read(table).select([*key, column]).to_pylist()
    return {tuple(row[name] for name in key): row[column] for row in rows}


def decide(home: Home, purpose: str, now: datetime) -> list[tuple[ClipFacts, Decision]]:
    """Every clip's decision for a purpose, over the window that `now` and the ledger's head give."""
    ledger = Ledger(home.database_url)
    head = ledger.head()
    state = ConsentState.fold(ledger.events(upto=head.size))
    at, until = decision_window(head, now)
    return [(clip.facts, eligible(clip.facts, purpose, at, until, state)) for clip in read_clips(home, state)]


def eligible_digest(home: Home, now: datetime, purpose: str = "train") -> str:
    """Digest of what may be used as of `now`: it changes when a consent lapses, with no event."""
    return sha256_hex(
        [
            [facts.clip_id, facts.item_id, facts.shot_index, list(decision.consent_ids)]
            for facts, decision in decide(home, purpose, now)
            if decision.eligible
        ]
    )

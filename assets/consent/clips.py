"""A clip as people and rules see it: its facts, what is declared of it, and the judgements that were given.

Belongs here: joining the lake's tables with the ledger and the reviews. Not here: any rule. The eligibility table and the
training snapshot start from the same facts.
"""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import dataclass, field, replace
from typing import Any

from assets.consent import review_counting
from assets.consent.ledger import Ledger
from assets.consent.review_counting import Count, Judged
from assets.consent.reviews import Appeal, Review, appeals_by_clip, read_register, reviews_by_clip
from assets.home import Home
from assets.lake import ClipKey, clip_key
from training.consent.canonical import sha256_hex
from training.consent.eligibility import ClipFacts, Person
from training.consent.state import ConsentState

_DECLARED = (
    *("declared_subject", "declared_location", "declared_time_of_day", "declared_width", "declared_height"),
    *("declared_aspect_ratio", "declared_duration_s", "captured_at", "latitude", "longitude", "device"),
    *("source_name", "source_licence", "request_id"),
)
CLIP = ("clip_id", "item_id", "shot_index")


@dataclass(frozen=True)
class Clip:
    """A clip's facts with what a reviewer is shown beside them."""

    facts: ClipFacts
    media_key: str
    start_frame: int
    end_frame: int
    declared: dict[str, Any]
    consent_ids: tuple[str, ...]  # standing consents of its parties that ever spoke of it
    received_at: str = ""
    properties: tuple[dict[str, str], ...] = ()  # {owner_id, what} as declared
    guardians: tuple[str, ...] = ()  # of the minors in it
    payer: str | None = None  # the organisation whose request it answers
    reviewable: bool = False  # every check ran and no fatal one stands against it: people may look at it
    reviews: tuple[Review, ...] = ()
    appeals: tuple[Appeal, ...] = ()
    count: Count = field(default_factory=Count)

    @property
    def key(self) -> ClipKey:
        return self.facts.clip_id, self.facts.item_id, self.facts.shot_index

    @property
    def concerned(self) -> frozenset[str]:
        """Everybody whom the clip concerns; none of them may judge it."""
        return self.facts.parties | set(self.guardians)

    def judged(self) -> Judged:
        """The clip as the counting rule takes it."""
        return Judged(digest(self), self.facts.contributor_id, self.concerned, self.payer, self.appeals)


def digest(clip: Clip) -> str:
    """What a reviewer judges, as one digest: the pictures, the people and property declared to be in them, everything
    that is declared, and the consents that stand. A consent that is withdrawn or given anew is another digest."""
    return sha256_hex(
        {
            "clip_id": clip.facts.clip_id,
            "bytes_sha256": clip.facts.bytes_sha256,
            "contributor_id": clip.facts.contributor_id,
            "persons": clip.facts.to_dict()["persons"],
            "properties": clip.properties,
            "declared": clip.declared,
            "consent_ids": list(clip.consent_ids),
        }
    )


# -- gathered from the lake, the ledger and the reviews ----------------------------------------------------------------


def clip_facts(home: Home) -> list[ClipFacts]:
    """The facts of every clip in the lake, in order of clip, item and shot."""
    return [clip.facts for clip in read_clips(home)]


def read_clips(home: Home, state: ConsentState | None = None) -> list[Clip]:
    """Every clip in the lake, in order of clip, item and shot. `state` is the ledger's, read when not given."""
    state = state or ConsentState.fold(Ledger(home.database_url).events())
    tables = _Tables.of(home)
    clips = {clip_key(shot): _clip(shot, tables, state) for shot in sorted(home.lake.rows("shots"), key=clip_key)}
    judgements, appeals = reviews_by_clip(home.database_url), appeals_by_clip(home.database_url)
    for key, clip in clips.items():
        clips[key] = replace(clip, reviews=judgements.get(key, ()), appeals=appeals.get(key, ()))
    judged = {key: clip.judged() for key, clip in clips.items()}
    counts = review_counting.count(judged, judgements, read_register(home.database_url))
    return [_counted(clip, counts[key]) for key, clip in clips.items()]


def _counted(clip: Clip, count: Count) -> Clip:
    facts = replace(
        clip.facts,
        approvals=count.approvals,
        rejections=count.rejections,
        persons_counted=count.persons_counted,
        non_identifiable=count.non_identifiable,
        objections=tuple(sorted({*clip.facts.objections, *count.codes})),
    )
    return replace(clip, facts=facts, count=count)


@dataclass(frozen=True)
class _Tables:
    """What is looked up for each clip."""

    items: dict[str, dict[str, Any]]
    received_at: dict[str, str]  # by delivery
    payers: dict[str, str]  # by request
    frames: dict[str, str | None]  # by file
    faces: dict[ClipKey, int | None]
    duplicates: dict[ClipKey, dict[str, Any]]
    verdicts: dict[ClipKey, dict[str, set[str]]]

    @classmethod
    def of(cls, home: Home) -> _Tables:
        return cls(
            items={row["item_id"]: row for row in home.lake.rows("delivery_items")},
            received_at=_column(home, "deliveries", "delivery_id", "received_at"),
            payers=_column(home, "requests", "request_id", "org_id"),
            frames=_column(home, "media", "item_id", "frames_sha256"),
            faces={clip_key(row): row["faces_max"] for row in _columns(home, "signals", *CLIP, "faces_max")},
            duplicates={clip_key(row): row for row in home.lake.rows("duplicates")},
            verdicts=_verdicts(home),
        )


def _clip(shot: dict[str, Any], tables: _Tables, state: ConsentState) -> Clip:
    key, item = clip_key(shot), tables.items.get(shot["item_id"], {})
    frames_sha256, properties = tables.frames.get(shot["item_id"]), json.loads(item.get("properties_json") or "[]")
    facts = ClipFacts(
        clip_id=shot["clip_id"],
        item_id=shot["item_id"],
        shot_index=shot["shot_index"],
        bytes_sha256=shot["bytes_sha256"],
        frames=(frames_sha256,) if frames_sha256 else (),
        contributor_id=item.get("contributor_id"),
        persons=tuple(Person(**person) for person in json.loads(item.get("persons_json", "[]"))),
        properties=tuple(sorted({owned["owner_id"] for owned in properties})),
        faces_max=tables.faces.get(key),
    )
    failed = tables.verdicts.get(key)
    return Clip(
        facts=_checked(facts, tables.duplicates.get(key), failed),
        media_key=shot["media_key"],
        start_frame=shot["start_frame"],
        end_frame=shot["end_frame"],
        declared={name.removeprefix("declared_"): item.get(name) for name in _DECLARED},
        consent_ids=_standing_consents(facts, state),
        received_at=tables.received_at.get(item.get("delivery_id", "")) or f"{shot['received_day']}T00:00:00Z",
        properties=tuple(properties),
        guardians=tuple(sorted({g for p in facts.persons for g in state.guardians.get(p.person_id, ())})),
        payer=tables.payers.get(item.get("request_id") or ""),
        reviewable=failed is not None and not failed["fatal"],
    )


def _standing_consents(facts: ClipFacts, state: ConsentState) -> tuple[str, ...]:
    """Consents of the clip's parties that ever spoke of it and are not withdrawn, by name."""
    speaking = (consent for party in facts.parties for consent in state.consents(party, facts.assets))
    return tuple(sorted({consent.consent_id for consent in speaking if consent.revoked_from is None}))


def _checked(facts: ClipFacts, duplicate: dict[str, Any] | None, failed: dict[str, set[str]] | None) -> ClipFacts:
    """With the outcome of curation: unknown counts as failed."""
    objections = failed["fatal"] | failed["quality"] if failed is not None else {"quality.unresolved"}
    duplicate_ok = duplicate is not None and duplicate["verdict"] == "pass"
    codes = set(objections)
    if duplicate is not None and not duplicate_ok:
        codes.add(duplicate["reason"] or "dup.unresolved")
    return replace(
        facts,
        dup_group=duplicate["dup_group"] if duplicate else "",
        duplicate_ok=duplicate_ok,
        verdicts_ok=not objections,
        objections=tuple(sorted(codes)),
    )


def _verdicts(home: Home) -> dict[ClipKey, dict[str, set[str]]]:
    """By clip that was checked: codes of what did not pass, by severity. Unmeasurable and not-yet do not pass.

    Fatal and quality checks both stand against training; only fatal ones keep a clip from being reviewed, since what
    misses a brief may still be good for the catalogue.
    """
    failed: dict[ClipKey, dict[str, set[str]]] = defaultdict(lambda: {"fatal": set(), "quality": set()})
    for row in _columns(home, "verdicts", *CLIP, "check", "verdict", "severity", "reason"):
        codes = failed[clip_key(row)]
        if row["severity"] in codes and row["verdict"] != "pass":
            codes[row["severity"]].add(row["reason"] or f"quality.{row['check']}_{row['verdict']}")
    return dict(failed)


def _column(home: Home, table: str, key: str, column: str) -> dict[str, Any]:
    return {row[key]: row[column] for row in _columns(home, table, key, column)}


def _columns(home: Home, table: str, *names: str) -> list[dict[str, Any]]:
    return home.lake.read(table).select(names).to_pylist()

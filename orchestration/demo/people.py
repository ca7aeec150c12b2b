"""The people of the sample world: contributors with their own keys, an officer who verifies them, and two reviewers.

Private keys are made on this machine and stay below the home's state folder. The reviewers know what is in each clip
because all of it was watched when the sample world was written; they leave clips of others alone.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from assets.consent.notices import BUILT_IN
from assets.consent.platform import enrol
from assets.consent.review_queue import review_queue
from assets.consent.reviews import enrol_reviewer, submit_review
from assets.home import Home
from assets.ingestion.delivery_items import item_id
from orchestration.demo.deliveries import DELIVERIES, EVERYTHING, Clip, Delivery
from training.consent import events, keys
from training.consent.canonical import sha256_hex
from training.consent.events import Envelope
from training.consent.times import now_utc, parse_time

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

OFFICER = "officer-nadia"
FORGER, FORGED_PERSON = "c-nasa-desk", "p-engineer"  # who invents a release, and whose
TERMS = "You made the footage, everyone recognisable in it has agreed, and you are paid for every accepted clip."
ENROLLED_AT = parse_time("2026-11-01T09:00:00Z")
REVIEWERS = {"reviewer-ines": "org-clear-sight", "reviewer-tomas": "org-second-look"}  # name: organisation


class People:
    """Keys by person, and what these people sign."""

    def __init__(self, home: Home) -> None:
        self.folder = home.state / "demo_people"
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    def papers(self, delivery: Delivery, digests: dict[str, str]) -> list[Envelope]:
        """The signed events that come with a delivery: key, grants, withdrawals. `digests`: file -> SHA-256."""
        person = delivery.contributor_id
        signed_at = parse_time(delivery.received_at) - timedelta(minutes=30)
        key = self.key(person)
        bodies = [_registration(person, key)]
        for consent_id, clips in grants(delivery).items():
            covered = [digests[clip.file] for clip in clips]
            ends = clips[0].expires_at
            terms = {"scopes": clips[0].consent, "expires_at": parse_time(ends) if ends else None}
            bodies.append(_grant(person, "contributor", consent_id, covered, signed_at, **terms))
        for consent_id in withdrawn_by(delivery):
            event_id = f"event-revoke-{consent_id}"
            bodies.append(events.revoke(consent_id, person, "contributor", signed_at, event_id=event_id))
        signed = [events.sign(body, key) for body in bodies]
        return signed + (self._forged(delivery, digests, signed_at) if person == FORGER else [])

    def key(self, person: str) -> Ed25519PrivateKey:
        return keys.load_or_create(self.folder / f"{person}.key")

    def _forged(self, delivery: Delivery, digests: dict[str, str], signed_at: datetime) -> list[Envelope]:
        """A release in somebody else's name: the contributor made up a key for the person in the picture."""
        key = self.key(f"{FORGED_PERSON}-forged-by-{delivery.contributor_id}")
        seen = [digests[clip.file] for clip in delivery.clips if FORGED_PERSON in dict(clip.persons)]
        release = _grant(FORGED_PERSON, "depicted", f"consent-{FORGED_PERSON}", seen, signed_at, scopes=EVERYTHING)
        return [events.sign(body, key) for body in (_registration(FORGED_PERSON, key), release)]


def enrol_everybody(home: Home) -> int:
    """The officer checks the identity papers of every contributor against their key; returns how many were new.

    Nobody showed papers for a person who was only named, so nothing that is signed in that name is accepted.
    """
    people, papers = People(home), sha256_hex(b"identity document, seen in person")
    contributors = sorted({delivery.contributor_id for delivery in DELIVERIES})
    key_ids = {person: keys.key_id_of(keys.public_bytes(people.key(person))) for person in contributors}
    return sum(
        enrol(home, person, key_id, officer=OFFICER, evidence_sha256=papers) for person, key_id in key_ids.items()
    )


def _registration(person: str, key: Ed25519PrivateKey) -> events.Body:
    return events.register_key(person, key, ENROLLED_AT, event_id=f"event-key-{person}")


def _grant(
    person: str, role: str, consent_id: str, covered: list[str], signed_at: datetime, **terms: Any
) -> events.Body:
    return events.grant(
        person,
        role,
        covered,
        terms.pop("scopes"),
        signed_at,
        notice_sha256=BUILT_IN[-1].sha256,
        terms_sha256=sha256_hex(TERMS.encode()),
        consent_id=consent_id,
        event_id=f"event-grant-{consent_id}",
        **terms,
    )


def grants(delivery: Delivery) -> dict[str, list[Clip]]:
    """Consent by consent what a delivery's contributor grants: one for all ordinary clips, one for each special one."""
    granted: dict[str, list[Clip]] = {}
    ordinary = delivery.clips[0].consent, None, None
    for clip in delivery.clips:
        if clip.consent:
            special = (clip.consent, clip.expires_at, clip.revoked_by) != ordinary
            name = f"consent-{delivery.delivery_id}" + (f"-{Path(clip.file).stem}" if special else "")
            granted.setdefault(name, []).append(clip)
    return granted


def withdrawn_by(delivery: Delivery) -> list[str]:
    """The earlier consents that a delivery brings the withdrawal of."""
    return [
        consent_id
        for earlier in DELIVERIES
        for consent_id, clips in grants(earlier).items()
        if any(clip.revoked_by == delivery.delivery_id for clip in clips)
    ]


def review_everything(home: Home) -> int:
    """Two reviewers work through the queue; returns how many reviews they gave.

    They approve what is in the queue, count the people who could be recognised, and mark every further face that the
    detector saw as nobody's. Whether each person agreed is decided from the ledger.
    """
    for reviewer, organisation in REVIEWERS.items():
        enrol_reviewer(home.database_url, reviewer, organisation, by="demo", now=now_utc())
    clips = {item_id(d.delivery_id, place): clip for d in DELIVERIES for place, clip in enumerate(d.clips)}
    submitted = 0
    for task in review_queue(home):
        clip = clips.get(task["item_id"])
        if clip is None:
            continue  # somebody's own footage: a person has to look at it
        strangers = sum(not identifiable for _, identifiable in clip.persons)
        for reviewer in REVIEWERS:
            if reviewer in task["reviewers"]:
                continue
            submit_review(
                home.database_url,
                clip_id=task["clip_id"],
                item_id=task["item_id"],
                shot_index=task["shot_index"],
                reviewer_id=reviewer,
                digest=task["digest"],
                verdict="approve",
                persons_counted=clip.identifiable,
                non_identifiable=max(strangers, (task["faces_max"] or 0) - clip.identifiable),
                now=now_utc(),
            )
            submitted += 1
    return submitted

"""Random histories: each begins well (whoever has to consent does) and then goes wrong in a few ways.

Clocks that are off, forgers, second thoughts, lost keys, guardians who change, disputes, and deliveries out of order. A
mishap is a public method of `_Story`. What a history is, and who is in it, is in `histories`.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from random import Random
from typing import Any

from tests.training.consent.histories import (
    BOB,
    CAT,
    CONTRIBUTOR,
    DAY,
    EDGES,
    ELSE,
    EVE,
    FILE,
    FRAMES,
    HOUR,
    IAN,
    KID,
    MAL,
    OFFICER,
    OWNER,
    PEOPLE,
    SECOND,
    SHOTS,
    START,
    TURNS,
    UNTIL,
    WITHIN,
    History,
    Submission,
)
from tests.training.consent.people import NOTICE, TERMS, key_id, key_of
from training.consent import events as ev
from training.consent.eligibility import ClipFacts, Person
from training.consent.events import PLATFORM, Envelope
from training.consent.times import time_text


def story(number: int) -> History:
    """The random history of this number; the same number always tells the same one."""
    return _Story(Random(number), str(number)).history()


class _Story:
    """Writes one history. Everybody signs with their own key unless the story says otherwise."""

    def __init__(self, random: Random, name: str) -> None:
        self.random, self.name = random, name
        self.written: list[Envelope] = []
        self.terms: list[ev.Body] = []  # grants and amendments written so far, admitted or not
        self.disputes: list[str] = []
        self.count = 0

    def history(self) -> History:
        clips = self._clips()
        self._begins_well(clips[0])
        for _ in range(self.random.choice((0, 0, 1, 1, 2, 2, 3, 4, 6))):
            self.random.choice(_MISHAPS)(self)
        return History(self.name, clips, tuple(self._delivered()))

    # -- the footage ---------------------------------------------------------------------------------------------------

    def _clips(self) -> tuple[ClipFacts, ...]:
        """One or two shots of a file, against which nothing stands but what consent and people may say."""
        persons = tuple(
            Person(name, identifiable=self._mostly(0.9), minor=(name == KID) is self._mostly(0.9))
            for name in self._names()
        )
        owners = (OWNER,) * self.random.choice((0, 0, 0, 1, 2))
        item: dict[str, Any] = {
            "item_id": "i-1",
            "bytes_sha256": FILE,
            "frames": (FRAMES,) if self._mostly(0.8) else (),
            "contributor_id": CONTRIBUTOR if self._mostly(0.98) else None,
            "persons": persons,
            "properties": owners,
        }
        return tuple(
            ClipFacts(clip_id=SHOTS[shot], shot_index=shot, **item, **self._seen(persons))
            for shot in range(self.random.choice((1, 1, 2)))
        )

    def _names(self) -> list[str]:
        """Who is in it, by the delivery: now and then somebody twice, or whoever films."""
        names = self.random.sample((BOB, CAT, KID), self.random.choice((0, 0, 1, 1, 2, 3)))
        return names if self._mostly(0.95) else [*names, self.random.choice((CONTRIBUTOR, OWNER, *names))]

    def _seen(self, persons: tuple[Person, ...]) -> dict[str, Any]:
        identifiable = sum(person.identifiable for person in persons)
        return {
            "faces_max": self.random.randint(0, identifiable)
            if self._mostly(0.93)
            else self.random.choice((None, identifiable + 1)),
            "persons_counted": identifiable if self._mostly(0.95) else identifiable + 1,
            "non_identifiable": 0 if self._mostly(0.9) else 1,
            "approvals": 2,
            "duplicate_ok": True,
            "verdicts_ok": True,
        }

    # -- a good beginning ----------------------------------------------------------------------------------------------

    def _begins_well(self, clip: ClipFacts) -> None:
        self._grant(CONTRIBUTOR, "contributor")
        for person in clip.persons:
            if person.person_id == KID or person.minor:
                self._appoint(person.person_id, EVE)
                self._grant_for_minor(person.person_id, EVE)
            elif person.identifiable:
                self._grant(person.person_id, "depicted")
        for owner in set(clip.properties):
            self._grant(owner, "property_owner")

    def _grant_for_minor(self, minor: str, guardian: str) -> None:
        scopes = ["train", "train_minor", "eval", "finetune_client", "synthetic_derivation"]
        if self._mostly(0.7):
            self._grant(minor, "guardian", actor=guardian, scopes=scopes)
        else:  # one consent a scope
            self._grant(minor, "guardian", actor=guardian, scopes=scopes[:1])
            self._grant(minor, "guardian", actor=guardian, scopes=scopes[1:])

    def _grant(self, party: str, role: str, *, signer: str | None = None, **more: Any) -> None:
        expires = self.random.choice((*EDGES, *WITHIN)) if self._mostly(0.1) else None
        effective = self.random.choice(TURNS) if self._mostly(0.15) else None
        given: dict[str, Any] = {
            "scopes": self._scopes(),
            "assets": self._assets(),
            "territories": self._places(),
            "recipients": self._recipients(),
            "consent_id": self._id("k"),
            "effective_at": effective,
            "expires_at": expires or (UNTIL + 300 * DAY if self._mostly(0.3) else None),
        } | more
        issued, shown = self._issued(), {"notice_sha256": NOTICE, "terms_sha256": TERMS}
        body = ev.grant(party, role, issued_at=issued, event_id=self._id("e"), **shown, **given)
        self.terms.append(body)
        self._sign(body, signer)

    def _appoint(self, minor: str, guardian: str, *, ended: bool = False, signer: str = PLATFORM) -> None:
        body = ev.guardian(minor, guardian, self._issued(), ended=ended, event_id=self._id("e"), **OFFICER)
        self._sign(body, signer)

    # -- what goes wrong -----------------------------------------------------------------------------------------------

    def changes_terms(self) -> None:
        """An amendment, narrower or wider, of the latest terms or of stale ones."""
        previous = self.terms[-1] if self._mostly(0.3) else self.random.choice(self.terms)
        field = self.random.choice(
            ("scopes", "territories", "recipients", "assets", "expires_at", "effective_at", "none")
        )
        values: dict[str, Any] = {
            "scopes": self._scopes(),
            "territories": self._places(),
            "recipients": self._recipients(),
            "assets": self._assets(),
            "expires_at": self.random.choice((None, time_text(self.random.choice(EDGES)))),
            "effective_at": self._claimed(self.random.choice(TURNS)),
        }
        more = {field: values[field]} if field in values else {}
        if self._mostly(0.4):
            more["effective_at"] = values["effective_at"]
        body = ev.amend(previous, self._issued(), event_id=self._id("e"), **more)
        self.terms.append(body)
        self._sign(body)

    def extends(self) -> None:
        """A consent that ends near an edge is continued from some moment on: in time, or with a gap."""
        previous = self.random.choice(self.terms)
        self._grant(
            previous["party_id"],
            previous["role"],
            actor=previous["actor"],
            expires_at=self.random.choice((*EDGES, *WITHIN)),
            effective_at=None,
        )
        moment = self._claimed(self.random.choice((*EDGES, *WITHIN)))
        body = ev.amend(self.terms[-1], self._issued(), expires_at=None, effective_at=moment, event_id=self._id("e"))
        self.terms.append(body)
        self._sign(body)

    def withdraws(self) -> None:
        self._revoke(self.random.choice(self.terms))

    def withdraws_after_the_window(self) -> None:
        self._revoke(self.random.choice(self.terms), issued=UNTIL + SECOND, effective=UNTIL + SECOND)

    def somebody_else_withdraws(self) -> None:
        """Under another's name, which is refused, or under their own, which means nothing; or the platform does."""
        body = self.random.choice(self.terms)
        way = self.random.choice(("forged", "own", "platform", "guardian"))
        if way == "own":
            self._revoke({**body, "party_id": MAL, "actor": MAL})
        else:
            actor = {"forged": MAL, "platform": PLATFORM, "guardian": EVE}[way]
            self._revoke({**body, "actor": actor})

    def changes_mind(self) -> None:
        """A withdrawal and a new grant, under a new consent_id or, which is refused, the old one."""
        body = self.random.choice(self.terms)
        self._revoke(body)
        same = {"consent_id": body["consent_id"]} if self._mostly(0.2) else {}
        self._grant(body["party_id"], body["role"], actor=body["actor"], **same)

    def grants_more(self) -> None:
        body = self.random.choice(self.terms)
        self._grant(body["party_id"], body["role"], actor=body["actor"])

    def minor_signs_alone(self) -> None:
        self._grant(self.random.choice((KID, BOB)), "depicted", scopes=["train", "train_minor"])

    def forger_grants(self) -> None:
        """In another's name, with a key of their own; or as a guardian whom nobody appointed."""
        if self._mostly(0.5):
            self._grant(self.random.choice((CONTRIBUTOR, BOB)), "depicted", signer=MAL)
        else:
            self._grant(KID, "guardian", actor=self.random.choice((MAL, IAN)))

    def is_tampered_with(self) -> None:
        envelope = self.random.choice(self.written)
        changed = {"event_id": self._id("e"), "effective_at": "2026-01-01T00:00:00Z"}
        self.written.append({**envelope, "body": {**envelope["body"], **changed}})

    def is_sent_again(self) -> None:
        self.written.append(self.random.choice(self.written))

    def event_id_is_reused(self) -> None:
        taken = self.random.choice(self.written)["body"]["event_id"]
        self._sign({**self.random.choice(self.terms), "event_id": taken, "scopes": ["train"]})

    def guardian_changes(self) -> None:
        minor = self.random.choice((KID, KID, BOB))
        way = self.random.choice(("ends", "second", "forged", "ends-and-again"))
        if way == "forged":
            self._appoint(minor, MAL, signer=MAL)
        if way == "second":
            self._appoint(minor, IAN)
            self._grant_for_minor(minor, IAN)
        if way.startswith("ends"):
            self._appoint(minor, EVE, ended=True)
        if way == "ends-and-again":
            self._appoint(minor, EVE)

    def is_disputed(self) -> None:
        dispute_id = self._id("d")
        party = self.random.choice((BOB, MAL, PLATFORM))
        assets = self.random.sample((FILE, FRAMES, *SHOTS, ELSE), self.random.choice((1, 1, 2)))
        issued = self._issued()
        body = ev.dispute(party, assets, "legal.privacy", issued, dispute_id=dispute_id, event_id=self._id("e"))
        if self._mostly(0.3):
            body["effective_at"] = self._claimed(self.random.choice(TURNS))
        self._sign(body)
        self.disputes.append(dispute_id)
        if self._mostly(0.6):
            self._adjudicate(dispute_id)

    def dispute_is_decided(self) -> None:
        """By the platform or somebody who may not; some dispute, perhaps a decided one, perhaps none."""
        self._adjudicate(self.random.choice([*self.disputes, "d-none"]), self.random.choice((PLATFORM, MAL)))

    def key_is_rotated(self) -> None:
        """A new key, endorsed by the old one or not, signs on; the old one may be revoked, or all."""
        actor = self.random.choice(PEOPLE)
        new, issued = f"{actor} again", self._issued()
        envelope = ev.sign(ev.register_key(actor, key_of(new), issued, event_id=self._id("e")), key_of(new))
        self.written.append(ev.endorse(envelope, key_of(actor)) if self._mostly(0.7) else envelope)
        if self._mostly(0.5):
            signer = self.random.choice((actor, new))
            self._sign(ev.revoke_key(actor, key_id(actor), issued, event_id=self._id("e")), signer)
        role = "contributor" if actor == CONTRIBUTOR else "property_owner" if actor == OWNER else "depicted"
        self._grant(actor, role, signer=self.random.choice((actor, new)))

    def key_is_revoked(self) -> None:
        """By its owner, by the platform or, which is refused, by a stranger; what it signed before stays."""
        owner = self.random.choice(PEOPLE)
        actor = self.random.choice((owner, PLATFORM, MAL))
        body = ev.revoke_key(owner, key_id(owner), self._issued(), actor=actor, event_id=self._id("e"))
        self._sign(body)

    def _revoke(self, body: ev.Body, *, issued: datetime | None = None, effective: datetime | None = None) -> None:
        claimed = effective or (self.random.choice(TURNS) if self._mostly(0.6) else None)
        revocation = ev.revoke(
            body["consent_id"],
            body["party_id"],
            body["role"],
            issued or self._issued(),
            actor=body["actor"],
            effective_at=claimed,
            event_id=self._id("e"),
        )
        self._sign(revocation)

    def _adjudicate(self, dispute_id: str, signer: str = PLATFORM) -> None:
        outcome = self.random.choice(("dismissed", "dismissed", "upheld"))
        body = ev.adjudicate(dispute_id, outcome, self._issued(), officer="o-ida", event_id=self._id("e"))
        self._sign(body, signer)

    # -- words ---------------------------------------------------------------------------------------------------------

    def _scopes(self) -> list[str]:
        usual = ["train", "eval", "finetune_client", "synthetic_derivation"]
        return usual if self._mostly(0.9) else self.random.choice((["train"], ["eval", "train_minor"], ["review"]))

    def _assets(self) -> list[str]:
        if self._mostly(0.8):
            return [FILE]
        return self.random.sample((FILE, FRAMES, *SHOTS, ELSE), self.random.choice((0, 1, 1, 2, 3)))

    def _places(self) -> list[str]:
        return ["*"] if self._mostly(0.93) else self.random.choice((["BE"], ["BE", "NL"], ["NL"], [], ["*", "US"]))

    def _recipients(self) -> list[str]:
        return ["*"] if self._mostly(0.93) else self.random.choice((["org-1"], ["org-1", "org-2"], ["org-2"], []))

    def _issued(self) -> datetime:
        """Most clocks are right; some run ahead, a little or much."""
        if self._mostly(0.93):
            return START
        return self.random.choice((START + 4 * 60 * SECOND, START + 20 * DAY, UNTIL + DAY, START - 3650 * DAY))

    def _claimed(self, at: datetime) -> str:
        """A claimed time, now and then finer than a second."""
        text = time_text(at)
        return text if self._mostly(0.9) else text.replace("Z", self.random.choice((".5Z", ".000001Z")))

    def _id(self, kind: str) -> str:
        self.count += 1
        return f"{kind}-{self.count:02}"

    def _mostly(self, share: float) -> bool:
        return self.random.random() < share

    def _sign(self, body: ev.Body, signer: str | None = None) -> None:
        self.written.append(ev.sign(body, key_of(signer or body["actor"])))

    def _delivered(self) -> Iterator[Submission]:
        """As written, shuffled, or with some swapped; the platform's clock goes on, jumps, stands still or steps back."""
        envelopes = list(self.written)
        if self._mostly(0.15):
            self.random.shuffle(envelopes)
        elif self._mostly(0.2) and len(envelopes) > 1:
            place = self.random.randrange(len(envelopes) - 1)
            envelopes[place], envelopes[place + 1] = envelopes[place + 1], envelopes[place]
        clock = START
        for envelope in envelopes:
            yield Submission(envelope, clock)
            if self._mostly(0.05):
                clock = self.random.choice(TURNS)
            else:
                clock += self.random.choice((0 * SECOND, SECOND, 10 * SECOND, HOUR, DAY))


_MISHAPS = tuple(value for name, value in vars(_Story).items() if not name.startswith("_") and name != "history")

"""Histories of a small cast around one delivered file: submissions that the real rules sign, judge and fold.

Belongs here: what a history is, who is in it, and every order of delivery of a few submissions. Random histories are
told in `stories`. Not here: what a history means for a clip.
"""

from __future__ import annotations

import functools
import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import permutations
from typing import Any

from assets.consent.admission import Register, judge
from tests.training.consent.people import EVIDENCE, NOTICE, TERMS, key_id, key_of
from training.consent import events as ev
from training.consent.eligibility import ClipFacts
from training.consent.events import PLATFORM, Envelope, Event
from training.consent.state import ConsentState
from training.consent.times import SKEW, time_text

SECOND, HOUR, DAY = timedelta(seconds=1), timedelta(hours=1), timedelta(days=1)
START = datetime(2026, 11, 2, 8, 0, tzinfo=UTC)
AT = datetime(2026, 11, 20, tzinfo=UTC)
UNTIL = AT + 30 * DAY
# moments at which something may turn: the window's edges, as they are and as the clocks' allowance moves them
EDGES = tuple(
    edge + sign * offset
    for edge in (AT, UNTIL)
    for offset in (0 * SECOND, SECOND, SKEW - SECOND, SKEW, SKEW + SECOND)
    for sign in (-1, 1)
)
WITHIN = tuple(AT + days * DAY for days in (1, 2, 10, 20, 29))
OUTSIDE = (START - 10 * DAY, START + DAY, START + 5 * DAY, UNTIL + DAY, UNTIL + 400 * DAY)
TURNS = EDGES + WITHIN + OUTSIDE

CONTRIBUTOR, BOB, CAT, KID, EVE, IAN, OWNER, MAL = (
    *("c-ann", "p-bob", "p-cat", "m-kid", "g-eve", "g-ian", "o-own", "x-mal"),
)
PEOPLE = (CONTRIBUTOR, BOB, CAT, KID, EVE, IAN, OWNER, MAL)
OFFICER = {"evidence_sha256": EVIDENCE, "officer": "o-ida"}


def digest(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()


FILE, FRAMES, SHOTS, ELSE = digest("file"), digest("frames"), (digest("shot 0"), digest("shot 1")), digest("other")


@dataclass(frozen=True)
class Submission:
    """A signed envelope, and what the platform's clock shows when it arrives."""

    envelope: Envelope
    clock: datetime


@dataclass(frozen=True)
class History:
    name: str
    clips: tuple[ClipFacts, ...]
    submissions: tuple[Submission, ...]

    @functools.cached_property
    def outcome(self) -> tuple[tuple[Event, ...], Counter[str]]:
        return admit(self.submissions)

    @property
    def events(self) -> tuple[Event, ...]:
        """What the ledger admits of it, in order."""
        return self.outcome[0]

    @functools.cached_property
    def state(self) -> ConsentState:
        return ConsentState.fold(self.events)

    def __str__(self) -> str:
        """A few lines for people: the facts, then what was submitted, when, and whether it was admitted."""
        admitted = {event.body["event_id"]: event for event in self.events}
        hidden = {"schema", "event_id", "issued_at", "type", "notice_sha256", "notice_lang", "terms_sha256"}
        lines = [f"history {self.name}", *(f"  {clip}" for clip in self.clips)]
        for submission in self.submissions:
            body = submission.envelope["body"]
            event = admitted.get(body["event_id"])
            fate = f"#{event.seq} at {time_text(event.recorded_at)}" if event and event.body == body else "refused"
            fields = {name: value for name, value in body.items() if name not in hidden}
            lines.append(f"  {fate}: {body['type']} {fields}")
        text = "\n".join(lines)
        for name, value in {
            "FILE": FILE,
            "FRAMES": FRAMES,
            "SHOT 0": SHOTS[0],
            "SHOT 1": SHOTS[1],
            "ELSE": ELSE,
        }.items():
            text = text.replace(value, name)
        return text


@functools.cache
def founding() -> tuple[Envelope, ...]:
    """The platform's key and one enrolled key for everybody; the same for all histories."""
    day_before = START - DAY
    envelopes = [ev.sign(ev.register_key(PLATFORM, key_of(PLATFORM), day_before), key_of(PLATFORM))]
    for name in PEOPLE:
        envelopes.append(ev.sign(ev.enrol(name, key_id(name), day_before, **OFFICER), key_of(PLATFORM)))
        envelopes.append(ev.sign(ev.register_key(name, key_of(name), day_before), key_of(name)))
    return tuple(envelopes)


def admit(submissions: Iterable[Submission]) -> tuple[tuple[Event, ...], Counter[str]]:
    """The events that a ledger admits, founded and with everybody's key, and how many it refuses by which rule."""
    register, events, refused = Register(), [], Counter[str]()
    for seq, envelope in enumerate(founding()):
        register.record(envelope)
        events.append(Event(seq, START - DAY, envelope["body"], envelope["key_id"], ""))
    recorded = START - DAY
    for submission in submissions:
        recorded = max(submission.clock.replace(microsecond=0), recorded)  # a ledger's clock never steps back
        refusal = judge(register, submission.envelope, recorded)
        if refusal is None:
            register.record(submission.envelope)
            body, key = submission.envelope["body"], submission.envelope["key_id"]
            events.append(Event(len(events), recorded, body, key, ""))
        else:
            refused[refusal.rule] += 1
    return tuple(events), refused


# -- every order of a few ----------------------------------------------------------------------------------------------


@functools.cache
def catalogue() -> dict[str, Envelope]:
    """What may be said about one clip in which nobody is seen, each under the name that an order of delivery shows."""
    before, within = AT - 5 * DAY, AT + 10 * DAY
    given: dict[str, Any] = {"notice_sha256": NOTICE, "terms_sha256": TERMS, "assets": [FILE], "scopes": ["train"]}
    grant = ev.grant(CONTRIBUTOR, "contributor", issued_at=before, consent_id="k-1", event_id="e-1", **given)
    again = ev.grant(CONTRIBUTOR, "contributor", issued_at=before, consent_id="k-2", event_id="e-2", **given)
    narrowed = ev.amend(grant, before, scopes=["eval"], effective_at=time_text(within), event_id="e-3")
    barely_long_enough = {"scopes": ["train"], "expires_at": time_text(UNTIL + SKEW + SECOND)}
    bodies = {
        "grant": grant,
        "grant-again": again,
        "narrow": narrowed,
        "widen": ev.amend(grant, before, scopes=["eval", "train"], event_id="e-4"),
        "restore": ev.amend(narrowed, before, event_id="e-5", **barely_long_enough),
        "revoke-later": ev.revoke("k-1", CONTRIBUTOR, "contributor", before, effective_at=UNTIL + DAY, event_id="e-6"),
        "revoke-again": ev.revoke("k-2", CONTRIBUTOR, "contributor", before, effective_at=START - DAY, event_id="e-7"),
        "stranger-revokes": ev.revoke("k-1", MAL, "contributor", before, event_id="e-8"),
        "dispute": ev.dispute(MAL, [SHOTS[0]], "legal.privacy", before, dispute_id="d-1", event_id="e-9"),
        "dismiss": ev.adjudicate("d-1", "dismissed", before, officer="o-ida", event_id="e-10"),
        "lose-key": ev.revoke_key(CONTRIBUTOR, key_id(CONTRIBUTOR), before, actor=PLATFORM, event_id="e-11"),
    }
    signed = {name: ev.sign(body, key_of(body["actor"])) for name, body in bodies.items()}
    return {**signed, "replay": signed["grant"]}


def every_order(most: int = 4) -> Iterator[History]:
    """Every ordered choice of up to `most` from the catalogue, recorded an hour apart before the window begins."""
    clip = ClipFacts(
        clip_id=SHOTS[0],
        item_id="i-1",
        shot_index=0,
        bytes_sha256=FILE,
        frames=(FRAMES,),
        contributor_id=CONTRIBUTOR,
        faces_max=0,
        persons_counted=0,
        approvals=2,
        duplicate_ok=True,
        verdicts_ok=True,
    )
    for length in range(1, most + 1):
        for names in permutations(catalogue(), length):
            arrivals = enumerate(names)
            submissions = tuple(Submission(catalogue()[name], AT - DAY + hour * HOUR) for hour, name in arrivals)
            yield History(" ".join(names), (clip,), submissions)

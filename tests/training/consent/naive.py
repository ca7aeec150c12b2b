"""The consent rules once more, as naively as they can be said: at each moment of the window, who allows what?

A second opinion for tests. It shares no code with `training.consent.state` and `eligibility`, folds nothing, and is slow.
Nothing changes between two of the moments named in the events, so that asking at each of these is asking at all.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta

from training.consent.eligibility import ClipFacts
from training.consent.events import Event

_ALLOWANCE = timedelta(minutes=5)


def naive_consents(
    clip: ClipFacts,
    purpose: str,
    at: datetime,
    until: datetime,
    events: Sequence[Event],
    territory: str = "*",
    recipient: str = "*",
) -> set[str] | None:
    """The consents that allow the use at every moment from `at` to `until`, None when it is not allowed."""
    moments = [moment for moment in {at, until, *_named(events)} if at <= moment <= until]
    there = (territory, recipient)

    def allowing(party: str | None, role: str, scope: str) -> set[str]:
        mine = [e for e in events if e.type in ("grant", "amend") and e.body["party_id"] == party]
        names = {event.body["consent_id"] for event in mine if event.body["role"] == role}
        return {name for name in names if all(_allows(events, party, name, clip, scope, *there, t) for t in moments)}

    needed = [allowing(clip.contributor_id, "contributor", purpose)]
    seen = set()
    for person in clip.persons:
        if not person.identifiable:
            continue
        seen.add(person.person_id)
        if person.minor or _guarded(events, person.person_id):
            needed.append(allowing(person.person_id, "guardian", purpose))
            if purpose in ("train", "finetune_client", "synthetic_derivation"):
                needed.append(allowing(person.person_id, "guardian", "train_minor"))
        else:
            needed.append(allowing(person.person_id, "depicted", purpose))
    needed += [allowing(owner, "property_owner", purpose) for owner in clip.properties]
    if not all(needed) or clip.faces_max is None or any(_held(events, clip, moment) for moment in moments):
        return None
    if max(clip.faces_max, clip.persons_counted or 0) > len(seen) + clip.non_identifiable:
        return None
    return set().union(*needed)


def _named(events: Iterable[Event]) -> Iterable[datetime]:
    for event in events:
        yield event.recorded_at
        for field in ("effective_at", "expires_at"):
            if text := event.body.get(field):
                yield datetime.fromisoformat(text)
                yield datetime.fromisoformat(text) - _ALLOWANCE


def _claimed(event: Event) -> datetime:
    return datetime.fromisoformat(event.body["effective_at"])


def _allows(
    events: Iterable[Event],
    party: str | None,
    consent_id: str,
    clip: ClipFacts,
    scope: str,
    territory: str,
    recipient: str,
    moment: datetime,
) -> bool:
    """Whether this consent allows it at this moment, by the last terms in the ledger that had begun to act by then."""
    last = None
    for event in events:
        if (event.body["party_id"], event.body.get("consent_id")) != (party, consent_id):
            continue
        if event.type == "revoke" and (event.recorded_at <= moment or _claimed(event) <= moment):
            return False
        if event.type != "revoke" and event.recorded_at <= moment and _claimed(event) <= moment:
            last = event.body
    if last is None:
        return False
    named = {clip.clip_id, clip.bytes_sha256, *clip.frames} & set(last["assets"])
    lapsed = last["expires_at"] is not None and moment >= datetime.fromisoformat(last["expires_at"]) - _ALLOWANCE
    places, readers = last["territories"], last["recipients"]
    somewhere = "*" in places or territory in places
    somebody = "*" in readers or recipient in readers
    return bool(named) and not lapsed and scope in last["scopes"] and somewhere and somebody


def _guarded(events: Iterable[Event], party: str) -> bool:
    said = {e.body["guardian_id"]: e.type for e in events if "guardian_id" in e.body and e.body["party_id"] == party}
    return "guardian" in said.values()


def _held(events: Sequence[Event], clip: ClipFacts, moment: datetime) -> bool:
    dismissed = {e.body["dispute_id"] for e in events if e.body.get("outcome") == "dismissed"}
    digests = {clip.clip_id, clip.bytes_sha256, *clip.frames}
    return any(
        event.type == "dispute"
        and event.body["dispute_id"] not in dismissed
        and bool(digests & set(event.body["assets"]))
        and (event.recorded_at <= moment or _claimed(event) <= moment)
        for event in events
    )

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


def naive_answer(
    clip: ClipFacts,
    purpose: str,
    at: datetime,
    until: datetime,
    events: Sequence[Event],
    audience: tuple[str, str] = ("*", "*"),
) -> tuple[set[str], set[str]]:
    """Codes of what stands against the use at some moment from `at` to `until`, and the consents that allow it at all.

    For a clip that nothing but consent and people may stand against.
    """
    moments = [moment for moment in {at, until, *_named(events)} if at <= moment <= until]

    def asking(party: str | None, role: str, *scopes: str) -> tuple[set[str], set[str]]:
        against, allowing = set(), set()
        own = [e for e in events if e.type in ("grant", "amend") and e.body["party_id"] == party]
        names = {e.body["consent_id"] for e in own if e.body["role"] == role and _digests(clip) & set(e.body["assets"])}
        about = {name: [event for event in events if _concerns(event, party, name)] for name in names}
        for scope in scopes:
            use = (clip, scope, audience)
            codes = {n: set().union(*(_objections(about[n], *use, moment) for moment in moments)) for n in names}
            if yes := {name for name in names if not codes[name]}:
                allowing |= yes
            else:
                against |= set().union(*codes.values()) if names else {"consent.none"}
        return against, allowing

    reasons, consents = asking(clip.contributor_id, "contributor", purpose)
    asked = [(owner, "legal.property_release", "property_owner", purpose) for owner in clip.properties]
    for person in clip.persons:
        if person.identifiable and (person.minor or _guarded(events, person.person_id)):
            more = ["train_minor"] if purpose in ("train", "finetune_client", "synthetic_derivation") else []
            asked.append((person.person_id, "legal.minor_no_guardian", "guardian", purpose, *more))
        elif person.identifiable:
            asked.append((person.person_id, "legal.missing_model_release", "depicted", purpose))
    released = set()
    for party, missing, role, *scopes in asked:
        against, allowing = asking(party, role, *scopes)
        reasons |= (against - {"consent.none"}) | {missing} if against else set()
        consents |= allowing
        released |= {party} if not against and role != "property_owner" else set()
    reasons |= set().union(*(_holds(events, clip, moment) for moment in moments))
    if clip.faces_max is None:
        reasons.add("legal.persons_unmeasurable")
    if max(clip.faces_max or 0, clip.persons_counted or 0) > len(released) + clip.non_identifiable:
        reasons.add("legal.missing_model_release")
    return reasons, set() if reasons else consents


def _digests(clip: ClipFacts) -> set[str]:
    return {clip.clip_id, clip.bytes_sha256, *clip.frames}


def _named(events: Iterable[Event]) -> Iterable[datetime]:
    for event in events:
        yield event.recorded_at
        for field in ("effective_at", "expires_at"):
            if text := event.body.get(field):
                yield datetime.fromisoformat(text)
                yield datetime.fromisoformat(text) - _ALLOWANCE


def _claimed(event: Event) -> datetime:
    return datetime.fromisoformat(event.body["effective_at"])


def _concerns(event: Event, party: str | None, consent_id: str) -> bool:
    return event.body.get("consent_id") == consent_id and event.body["party_id"] == party


def _objections(
    events: Iterable[Event],
    clip: ClipFacts,
    scope: str,
    audience: tuple[str, str],
    moment: datetime,
) -> set[str]:
    """What this consent lacks at this moment, by the last terms in the ledger that had begun to act by then."""
    territory, recipient = audience
    last, codes = None, set()
    for event in events:
        if event.type == "revoke" and (event.recorded_at <= moment or _claimed(event) <= moment):
            codes.add("consent.revoked")
        if event.type != "revoke" and event.recorded_at <= moment and _claimed(event) <= moment:
            last = event.body
    if last is None:
        return codes | {"consent.not_yet"}
    if last["expires_at"] is not None and moment >= datetime.fromisoformat(last["expires_at"]) - _ALLOWANCE:
        codes.add("consent.expires")
    if not _digests(clip) & set(last["assets"]):
        codes.add("consent.none")
    if scope not in last["scopes"]:
        codes.add("consent.scope")
    if not {"*", territory} & set(last["territories"]):
        codes.add("consent.territory")
    if not {"*", recipient} & set(last["recipients"]):
        codes.add("consent.recipient")
    return codes


def _guarded(events: Iterable[Event], party: str) -> bool:
    about = {e.body["guardian_id"]: e.type for e in events if "guardian_id" in e.body and e.body["party_id"] == party}
    return "guardian" in about.values()


def _holds(events: Sequence[Event], clip: ClipFacts, moment: datetime) -> set[str]:
    outcomes = {e.body["dispute_id"]: e.body["outcome"] for e in events if e.type == "adjudicate"}
    standing = {
        event.body["dispute_id"]
        for event in events
        if event.type == "dispute"
        and bool(_digests(clip) & set(event.body["assets"]))
        and (event.recorded_at <= moment or _claimed(event) <= moment)
    }
    about = {outcomes.get(dispute, "open") for dispute in standing}
    return {f"dispute.{outcome}" for outcome in about if outcome != "dismissed"}

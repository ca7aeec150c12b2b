"""Asking the ledger about sealed clips: few of them, with the events of their people alone.

Belongs here: from changes in the ledger to the sealed members that they can have touched, and those members' decisions.
Nothing here reads all events, all manifests or all clips; that it finds the same as reading everything is tested.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from assets.consent.sealed_members import Member, SealedSnapshots, Sealing
from assets.consent.withdrawal_log import Cause, Pair, WithdrawalLog
from training.consent.eligibility import ClipFacts, eligible
from training.consent.events import DISPUTE_TYPES, Event
from training.consent.ledger import LedgerReader, proven_events
from training.consent.state import Audience, ConsentState, Use
from training.consent.times import SKEW, shifted, time_text

Reached = Mapping[str, Mapping[str, tuple[str, ...]]]  # snapshot root -> clip_id -> reasons


@dataclass(frozen=True)
class Touched:
    """People and digests about which something changed."""

    parties: frozenset[str]
    digests: frozenset[str]

    def __or__(self, other: Touched) -> Touched:
        return Touched(self.parties | other.parties, self.digests | other.digests)


@dataclass(frozen=True)
class Reach:
    """What was found of some members: `reached` pairs with reasons and causes, `held` pairs that stand without a gap,
    and the clips of any of them that could be sealed again now."""

    reached: dict[Pair, tuple[str, ...]]
    causes: dict[Pair, tuple[Cause, ...]]
    held: frozenset[Pair]
    usable: frozenset[str]


def touched_since(ledger: LedgerReader, log: WithdrawalLog, size: int, after: datetime, now: datetime) -> Touched:
    """By events from `size` on, and by terms that end or come into force in (after, now]."""
    parties = ledger.parties_since(size)
    if now > after:
        # terms lapse earlier than they say by the allowance for clocks
        parties |= ledger.ending_between(after, shifted(now, SKEW)) | log.coming(after, now)
    return Touched(frozenset(parties), frozenset(ledger.disputed_since(size)))


def state_for(ledger: LedgerReader, members: Iterable[Member], upto: int) -> tuple[ConsentState, list[Event]]:
    """The state as far as these members' eligibility may depend on it, and the events it is folded from.

    Each event is proven to be what the ledger's tree commits to; raises EvidenceBroken.
    """
    parties = {party for member in members for party in member.facts.parties}
    if not parties:
        return ConsentState(), []
    with ledger.engine.connect() as connection:
        events = proven_events(connection, parties, upto)
    return ConsentState.fold(events), events


def decide(
    ledger: LedgerReader, snapshots: SealedSnapshots, numbers: Collection[int], now: datetime, upto: int
) -> Reach:
    """Decide these members again for every snapshot that holds them, from its first sealing until `now`."""
    held = snapshots.holding(numbers)
    members = snapshots.members({number for holding in held.values() for number in holding})
    state, events = state_for(ledger, members.values(), upto)
    about = _by_subject(events)
    reached: dict[Pair, tuple[str, ...]] = {}
    causes: dict[Pair, tuple[Cause, ...]] = {}
    standing: set[Pair] = set()
    usable: set[str] = set()
    for sealing in first_sealings(snapshots):
        for member in (members[number] for number in held.get(sealing.root, ())):
            pair, asked = (sealing.root, member.clip_id), (state, sealing.audience)
            if eligible(member.facts, sealing.purpose, now, now, *asked).eligible:
                usable.add(member.clip_id)  # it could be sealed again, whatever happened in between
            decision = eligible(member.facts, sealing.purpose, min(sealing.at, now), now, *asked)
            if decision.eligible:
                standing.add(pair)
                continue
            reached[pair] = decision.reasons
            theirs = [event for subject in _subjects(member.facts, state) for event in about.get(subject, ())]
            causes[pair] = causes_of(member.facts, sealing, state, theirs, now)
    return Reach(reached, causes, frozenset(standing - set(reached)), frozenset(usable))


Subject = tuple[str, str]  # a party and its consent, or "" for what is about the party; "" and a dispute


def decide_apart(
    ledger: LedgerReader, snapshots: SealedSnapshots, numbers: Collection[int], now: datetime, upto: int
) -> tuple[Reach, dict[int, str]]:
    """As `decide`; members that cannot be decided are left out, each with why, and hold up no others."""
    try:
        return decide(ledger, snapshots, numbers, now, upto), {}
    except Exception as error:  # whatever an event nobody thought of makes of the rules
        ordered = sorted(numbers)
        if len(ordered) < 2:
            return Reach({}, {}, frozenset(), frozenset()), dict.fromkeys(ordered, error_line(error))
        middle = len(ordered) // 2
        (first, failed), (other, more) = (
            decide_apart(ledger, snapshots, half, now, upto) for half in (ordered[:middle], ordered[middle:])
        )
        both = Reach(
            first.reached | other.reached,
            first.causes | other.causes,
            first.held | other.held,
            first.usable | other.usable,
        )
        return both, failed | more


def error_line(error: Exception) -> str:
    """What went wrong, in a line."""
    return f"{type(error).__name__}: {(str(error).splitlines() or ['no text'])[0][:300]}"


def _by_subject(events: Iterable[Event]) -> dict[Subject, list[Event]]:
    about: dict[Subject, list[Event]] = defaultdict(list)
    for event in events:
        dispute = event.body.get("dispute_id")
        subject = ("", dispute) if dispute else (event.body["party_id"], event.body.get("consent_id", ""))
        about[subject].append(event)
    return about


def _subjects(facts: ClipFacts, state: ConsentState) -> set[Subject]:
    """What an event must be about to affect this clip's consent: not everything that its people ever signed."""
    consents = {(p, consent.consent_id) for p in facts.parties for consent in state.consents(p, facts.assets)}
    disputes = {("", d.dispute_id) for digest in facts.assets for d in state.disputes_by_digest.get(digest, ())}
    return consents | disputes | {(party, "") for party in facts.parties}


def first_sealings(snapshots: SealedSnapshots) -> list[Sealing]:
    """Of every snapshot and use the earliest sealing: from then on its clips were in use."""
    earliest: dict[tuple[str, str, Audience], Sealing] = {}
    for sealing in snapshots.sealings():
        use = (sealing.root, sealing.purpose, sealing.audience)
        if use not in earliest or sealing.at < earliest[use].at:
            earliest[use] = sealing
    return sorted(earliest.values(), key=lambda sealing: sealing.number)


# -- what took it ----------------------------------------------------------------------------------------------------


def causes_of(
    facts: ClipFacts, sealing: Sealing, state: ConsentState, events: Iterable[Event], now: datetime
) -> tuple[Cause, ...]:
    """What took the consent from a reached clip. `events` are all of its people, and all disputes, in ledger order."""
    use = Use(facts.assets, sealing.purpose, min(sealing.at, now), now, sealing.audience)
    causes = {cause for event in events if (cause := _event_cause(event, facts, use, state))} | _endings(
        facts, use, state
    )
    if not causes:  # an event that was erased, or one that no rule here names: reported all the same
        subject = facts.contributor_id or facts.clip_id
        causes = {Cause(subject, "unexplained", f"{sealing.root}/{facts.clip_id}", time_text(sealing.at))}
    return tuple(sorted(causes, key=lambda cause: (cause.seq is None, cause.seq or 0, cause.identity)))


def _event_cause(event: Event, facts: ClipFacts, use: Use, state: ConsentState) -> Cause | None:
    body = event.body
    if event.type in DISPUTE_TYPES:
        subject, guilty = body["dispute_id"], _holds(body["dispute_id"], facts, state)
    elif event.type in ("revoke", "amend"):
        subject = body["party_id"]
        spoke = state.consents(subject, facts.assets) if subject in facts.parties else []
        guilty = any(consent.consent_id == body["consent_id"] and consent.objections(use) for consent in spoke)
    elif event.type in ("guardian", "end_guardian"):
        subject = body["party_id"]
        guilty = any(person.person_id == subject and person.identifiable for person in facts.persons)
    else:
        return None
    return Cause(subject, event.type, event.leaf_hash, time_text(event.recorded_at), event.seq) if guilty else None


def _holds(dispute_id: str, facts: ClipFacts, state: ConsentState) -> bool:
    about = {d.dispute_id for digest in facts.assets for d in state.disputes_by_digest.get(digest, ())}
    return dispute_id in about and state.disputes[dispute_id].outcome != "dismissed"


def _endings(facts: ClipFacts, use: Use, state: ConsentState) -> set[Cause]:
    """Terms about this clip that were in force when they ended."""
    return {
        Cause(party, "expiry", f"{consent.consent_id}@{time_text(terms.ends_at)}", time_text(terms.ends_at))
        for party in facts.parties
        for consent in state.consents(party, facts.assets)
        for terms in consent.terms
        if terms.assets & facts.assets
        and terms.ends_at is not None
        and use.at < terms.ends_at <= use.until
        and consent.in_force(terms.ends_at - timedelta(microseconds=1)) is terms
    }

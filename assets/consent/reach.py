"""Asking the ledger about sealed clips: few of them, with the events of their people alone.

Belongs here: from changes in the ledger to the sealed members that they can have touched, and those members' decisions.
Nothing here reads all events, all manifests or all clips; that it finds the same as reading everything is tested.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime

from assets.consent.sealed_member_rows import Member, Sealing
from assets.consent.sealed_members import Graph
from assets.consent.withdrawal_log import Journal
from assets.withdrawals.lineage import Cause, Pair, causes_of, reached_members, usable_now
from training.consent.eligibility import ClipFacts, ConsentState
from training.consent.events import Event
from training.consent.ledger import Ledger
from training.consent.ledger.evidence import proven_events
from training.consent.times import SKEW, shifted


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


def touched_since(ledger: Ledger, journal: Journal, size: int, after: datetime, now: datetime) -> Touched:
    """By events from `size` on, and by terms that end or come into force in (after, now]."""
    parties = ledger.parties_since(size)
    if now > after:
        # terms lapse earlier than they say by the allowance for clocks
        parties |= ledger.ending_between(after, shifted(now, SKEW)) | journal.coming(after, now)
    return Touched(frozenset(parties), frozenset(ledger.disputed_since(size)))


def state_for(ledger: Ledger, members: Iterable[Member], upto: int) -> tuple[ConsentState, list[Event]]:
    """The state as far as these members' eligibility may depend on it, and the events it is folded from.

    Each event is proven to be what the ledger's tree commits to; raises EvidenceBroken.
    """
    parties = {party for member in members for party in member.facts.parties}
    if not parties:
        return ConsentState(), []
    with ledger.engine.connect() as connection:
        events = proven_events(connection, parties, upto)
    return ConsentState.fold(events), events


def decide(ledger: Ledger, graph: Graph, numbers: Collection[int], now: datetime, upto: int) -> Reach:
    """Decide these members again for every snapshot that holds them, from its first sealing until `now`."""
    held = graph.holding(numbers)
    members = graph.members({number for found in held.values() for number in found})
    state, events = state_for(ledger, members.values(), upto)
    about = _by_subject(events)
    reached: dict[Pair, tuple[str, ...]] = {}
    causes: dict[Pair, tuple[Cause, ...]] = {}
    standing: set[Pair] = set()
    usable: set[str] = set()
    for sealing in first_sealings(graph):
        for member in (members[number] for number in held.get(sealing.root, ())):
            pair = (sealing.root, member.clip_id)
            found = reached_members(sealing, [member], state, now)
            if usable_now(sealing, member, state, now):
                usable.add(member.clip_id)
            if not found:
                standing.add(pair)
                continue
            reached[pair] = found[member.clip_id]
            theirs = [event for subject in _subjects(member.facts, state) for event in about.get(subject, ())]
            causes[pair] = causes_of(member.facts, sealing, state, theirs, now)
    return Reach(reached, causes, frozenset(standing - set(reached)), frozenset(usable))


Subject = tuple[str, str]  # a party and its consent, or "" for what is about the party; "" and a dispute


def decide_apart(
    ledger: Ledger, graph: Graph, numbers: Collection[int], now: datetime, upto: int
) -> tuple[Reach, dict[int, str]]:
    """As `decide`; members that cannot be decided are left out, each with why, and hold up no others."""
    try:
        return decide(ledger, graph, numbers, now, upto), {}
    except Exception as error:  # whatever an event nobody thought of makes of the rules
        ordered = sorted(numbers)
        if len(ordered) < 2:
            return Reach({}, {}, frozenset(), frozenset()), dict.fromkeys(ordered, told(error))
        middle = len(ordered) // 2
        (one, failed), (other, more) = (
            decide_apart(ledger, graph, half, now, upto) for half in (ordered[:middle], ordered[middle:])
        )
        both = Reach(
            one.reached | other.reached, one.causes | other.causes, one.held | other.held, one.usable | other.usable
        )
        return both, failed | more


def told(error: Exception) -> str:
    """What went wrong, in a line."""
    return f"{type(error).__name__}: {(str(error).splitlines() or ['no text'])[0][:300]}"


def _by_subject(events: Iterable[Event]) -> dict[Subject, list[Event]]:
    found: dict[Subject, list[Event]] = defaultdict(list)
    for event in events:
        dispute = event.body.get("dispute_id")
        subject = ("", dispute) if dispute else (event.body["party_id"], event.body.get("consent_id", ""))
        found[subject].append(event)
    return found


def _subjects(facts: ClipFacts, state: ConsentState) -> set[Subject]:
    """Whatever an event must be about to have taken this clip's consent; not all that its people ever said."""
    spoken = {(p, consent.consent_id) for p in facts.parties for consent in state.consents(p, facts.assets)}
    disputes = {("", d.dispute_id) for digest in facts.assets for d in state.disputes_by_digest.get(digest, ())}
    return spoken | disputes | {(party, "") for party in facts.parties}


def first_sealings(graph: Graph) -> list[Sealing]:
    """Of every snapshot and use the earliest sealing: from then on its clips were in use."""
    earliest: dict[tuple[str, str, str, str], Sealing] = {}
    for sealing in graph.sealings():
        use = (sealing.root, sealing.purpose, sealing.territory, sealing.recipient)
        if use not in earliest or sealing.at < earliest[use].at:
            earliest[use] = sealing
    return sorted(earliest.values(), key=lambda sealing: sealing.number)

"""How far a withdrawal reaches: from consents to clips, to the snapshots that hold them, to every model downstream.

Pure: takes what is known and returns what is reached. Acting on it is `taint`'s business. A consent reaches its clips
when it was revoked, narrowed by an amendment, or has expired; a clip that was consented to again later stays reached,
because it was in use in between.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from training.consent.eligibility import ClipFacts, ConsentState, eligible
from training.consent.event_schema import CONSENT_TYPES
from training.consent.events import Event
from training.consent.times import instant

Withdrawn = Mapping[str, Mapping[str, tuple[str, ...]]]  # snapshot root -> clip_id -> reasons


@dataclass(frozen=True)
class Model:
    """A trained model: what it was trained on, and the model whose weights it started from."""

    key: str
    snapshot_root: str
    parent: str | None = None


@dataclass(frozen=True)
class Closure:
    """`clips` by clip with the reasons, `snapshots` by root with the clips in it, `models` by key with the cause."""

    clips: Mapping[str, tuple[str, ...]]
    snapshots: Mapping[str, tuple[str, ...]]
    models: Mapping[str, str]


def touched_parties(new_events: Iterable[Event], state: ConsentState, now: datetime) -> set[str]:
    """Parties whose consents may hold less than before: by a new event, or because terms have ended by `now`."""
    moved = {event.body["party_id"] for event in new_events if event.type in CONSENT_TYPES}
    lapsed = {
        party
        for party, consents in state.by_party.items()
        if any(terms.ends_at and terms.ends_at <= now for consent in consents.values() for terms in consent.terms)
    }
    return moved | lapsed


def concerns(facts: ClipFacts, parties: set[str]) -> bool:
    return facts.contributor_id in parties or any(person.person_id in parties for person in facts.persons)


def withdrawn_members(
    manifest: Mapping[str, Any], state: ConsentState, parties: set[str], now: datetime
) -> dict[str, tuple[str, ...]]:
    """Members of a snapshot whose consent did not hold without a gap from its sealing until `now`, with the reasons."""
    start = min(instant(manifest["at"]), now)
    found = {}
    for member in manifest["members"]:
        facts = ClipFacts.from_dict(member["facts"])
        if concerns(facts, parties):
            decision = eligible(facts, manifest["purpose"], start, now, state, manifest["territory"])
            if not decision.eligible:
                found[facts.clip_id] = decision.reasons
    return found


def withdrawn(
    manifests: Mapping[str, Mapping[str, Any]], state: ConsentState, parties: set[str], now: datetime
) -> Withdrawn:
    """What withdrawn consents of `parties` reach in sealed snapshots (manifests by root)."""
    found = {root: withdrawn_members(manifest, state, parties, now) for root, manifest in sorted(manifests.items())}
    return {root: members for root, members in found.items() if members}


def closure(reached: Withdrawn, models: Iterable[Model]) -> Closure:
    """Everything downstream of what was withdrawn; `models` in any order."""
    clips = {clip: why for members in reached.values() for clip, why in members.items()}
    return Closure(
        clips=dict(sorted(clips.items())),
        snapshots={root: tuple(sorted(members)) for root, members in reached.items()},
        models=_downstream(reached, models),
    )


def _downstream(reached: Withdrawn, models: Iterable[Model]) -> dict[str, str]:
    """Causes by model: trained on a reached snapshot, or started, at any distance, from a model that was."""
    everything = {model.key: model for model in models}
    causes = {
        model.key: _cause(model.snapshot_root, reached[model.snapshot_root])
        for model in everything.values()
        if model.snapshot_root in reached
    }
    frontier = sorted(causes)
    while frontier:
        children = sorted(m.key for m in everything.values() if m.parent in frontier and m.key not in causes)
        causes |= {key: f"started from {everything[key].parent}, which is tainted" for key in children}
        frontier = children
    return causes


def _cause(root: str, members: Mapping[str, tuple[str, ...]]) -> str:
    codes = sorted({code for reasons in members.values() for code in reasons})
    shown = ", ".join(clip[:16] for clip in sorted(members)[:10])
    more = f" and {len(members) - 10} more" if len(members) > 10 else ""
    return f"{', '.join(codes)} on {len(members)} clips of snapshot {root[:16]}: {shown}{more}"

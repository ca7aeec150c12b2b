"""The training process's own refusal: it recomputes the snapshot's root and asks the ledger again, trusting nobody.

Called before the first step and at every checkpoint. It needs the manifests of all snapshots that the weights ever saw, the
roots they must have and the ledger's database, and no other part of the platform. What the ledger says is proven as it is
read (`ledger`); whether a clip may be used is decided in `eligibility`.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any

from sqlalchemy.exc import SQLAlchemyError

from training.consent.canonical import CanonicalError, parse_strictly, sha256_hex
from training.consent.eligibility import ClipFacts, eligible
from training.consent.keys import Checkpoint
from training.consent.ledger import LedgerMissing, LedgerReader, proven_events, require_all_bodies, require_bodies
from training.consent.snapshot import SnapshotError, verify_manifest
from training.consent.state import Audience, ConsentState
from training.consent.times import instant, now_utc, time_text

WHOLE = "*"  # key of reasons that concern the whole snapshot or the weights, not one clip


class ConsentViolation(Exception):
    """Training must not start or go on. `reasons` holds codes by clip; `"*"` stands for the whole snapshot."""

    def __init__(self, reasons: dict[str, tuple[str, ...]], detail: str = "") -> None:
        shown = "; ".join(f"{clip}: {', '.join(codes)}" for clip, codes in sorted(reasons.items())[:5])
        more = f" and {len(reasons) - 5} more" if len(reasons) > 5 else ""
        super().__init__(f"consent does not hold for {shown}{more}" + (f" ({detail})" if detail else ""))
        self.reasons = reasons

    @classmethod
    def of_all(cls, code: str, detail: str) -> ConsentViolation:
        """One code against everything."""
        return cls({WHOLE: (code,)}, detail)

    @property
    def names_clips(self) -> bool:
        """Whether clips lost their consent, rather than the manifest, the weights or the ledger being unfit to ask."""
        return set(self.reasons) != {WHOLE}


@dataclass(frozen=True)
class Held:
    """A snapshot that is held to the ledger: its verified manifest, and since when its clips must be consented to."""

    manifest: dict[str, Any]
    sha256: str  # of the manifest's file
    since: datetime
    facts: list[ClipFacts]


@dataclass(frozen=True)
class _Passed:
    """Where the last check that found nothing stood, and which later times may change its answer, by party."""

    size: int
    root: str
    turns: dict[str, tuple[datetime, ...]]


class RenderedOnly:
    """The guard of a run that reads nobody's clips: there is nothing to ask a ledger about.

    `seen` is what the weights that it starts from saw; raises ConsentViolation where that is anything.
    """

    exposure: Mapping[str, str] = MappingProxyType({})
    manifest_sha256 = ""

    def __init__(self, seen: Mapping[str, str]) -> None:
        if seen:
            raise ConsentViolation.of_all(
                "exposure.unproven",
                "the weights to start from saw clips, and this run names no ledger to ask about them",
            )

    def check(self) -> None:
        """There is nothing to check."""


class ConsentGuard:
    """Holds the snapshots that weights ever saw to the consent they rest on.

    `seen` are the roots that earlier training saw, each with the time of its first use, and `ancestors` the manifests by
    root. All are read and verified once, here; raises ConsentViolation when one is missing or not what its root says.
    """

    def __init__(
        self,
        manifest_path: Path | str,
        expected_root: str,
        database_url: str,
        purpose: str = "train",
        seen: Mapping[str, str] = MappingProxyType({}),
        ancestors: Mapping[str, Path | str] = MappingProxyType({}),
    ) -> None:
        self.database_url = database_url
        own = _read(Path(manifest_path), expected_root, seen.get(expected_root))
        if own.manifest["purpose"] != purpose:
            raise ConsentViolation.of_all("consent.scope", f"sealed for {own.manifest['purpose']}, not {purpose}")
        if absent := sorted(set(seen) - {expected_root} - set(ancestors)):
            raise ConsentViolation.of_all("exposure.unproven", f"no manifest of snapshot {absent[0]}, which was seen")
        older = [_read(Path(ancestors[root]), root, seen[root]) for root in sorted(seen) if root != expected_root]
        self.held, self.manifest, self.manifest_sha256 = [own, *older], own.manifest, own.sha256
        self._members = [(held, facts) for held in self.held for facts in held.facts]
        self._by_party, self._by_digest = _index(self._members)
        self._passed: _Passed | None = None
        self._latest: datetime | None = None  # the latest time any check was asked about

    @property
    def exposure(self) -> dict[str, str]:
        """Roots of all snapshots that are held to the ledger, each with the time of its first use."""
        return dict(sorted((held.manifest["root"], time_text(held.since)) for held in self.held))

    def check(self, now: datetime | None = None) -> None:
        """Raise ConsentViolation, with every reason by clip, unless consent stands at the ledger's head for every member.

        Consent must have held without a gap since the snapshot was first used and must hold until its horizon, so a
        revocation followed by a new grant still needs a new snapshot. No ledger means no consent. The first check asks
        about every member; a later one only about those whose answer may have changed since, which gives the same.
        """
        now = instant(now or now_utc())
        try:
            ledger = LedgerReader(self.database_url)
            try:
                self._check(ledger, now)
            finally:
                ledger.engine.dispose()
        except (LedgerMissing, SQLAlchemyError) as error:
            raise ConsentViolation.of_all("ledger.unreadable", str(error)) from error
        except (LookupError, ValueError) as error:  # EvidenceBroken, or an invalid hash, time or JSON
            raise ConsentViolation.of_all("ledger.broken", str(error)) from error

    def _check(self, ledger: LedgerReader, now: datetime) -> None:
        last, self._passed = self._passed, None  # a check that fails leaves the next one everything to ask
        head = ledger.head()
        self._require_same_history(ledger, head, last)
        earlier, self._latest = self._latest, max(now, head.recorded_at or now, self._latest or now)
        now = self._latest  # a clock that lags behind the ledger's, or steps back, is wrong
        due = self._due(ledger, last, earlier, now) if last and earlier else set(range(len(self._members)))
        with ledger.engine.connect() as connection:
            require_bodies(connection, last.size, head.size) if last else require_all_bodies(connection)
            parties = {party for member in due for party in self._members[member][1].parties}
            state = ConsentState.fold(proven_events(connection, parties, head.size) if due else [])
        self._judge(due, state, now)
        turns = (last.turns if last else {}) | {party: _turns(state, party, now) for party in parties}
        self._passed = _Passed(head.size, head.root, turns)

    def _require_same_history(self, ledger: LedgerReader, head: Checkpoint, last: _Passed | None) -> None:
        """What each snapshot was sealed on, or what the last check read, must be a prefix of the ledger as it stands."""
        earlier = {(last.size, last.root)} if last else set()
        for held in self.held if last is None else []:
            earlier.add((held.manifest["ledger"]["size"], held.manifest["ledger"]["root"]))
        for size, root in earlier:
            if head.size < size or ledger.head(upto=size).root != root:
                raise ConsentViolation.of_all("ledger.rewritten", "the ledger no longer contains what was sealed")

    def _due(self, ledger: LedgerReader, last: _Passed, earlier: datetime, now: datetime) -> set[int]:
        """Members that something happened to since: an event about a party, a dispute, terms that begin or end."""
        turned = {party for party, turns in last.turns.items() if any(earlier < turn <= now for turn in turns)}
        parties = (ledger.parties_since(last.size) | turned) & self._by_party.keys()
        digests = ledger.disputed_since(last.size) & self._by_digest.keys()
        touched = [self._by_party[party] for party in parties] + [self._by_digest[digest] for digest in digests]
        return set().union(*touched)

    def _judge(self, due: Iterable[int], state: ConsentState, now: datetime) -> None:
        reasons: dict[str, set[str]] = {}
        for held, facts in (self._members[member] for member in due):
            m = held.manifest
            until = max(instant(m["until"]), now)
            audience = Audience(m["territory"], m["recipient"])
            decision = eligible(facts, m["purpose"], held.since, until, state, audience)
            if not decision.eligible:
                reasons.setdefault(facts.clip_id, set()).update(decision.reasons)
        if reasons:
            raise ConsentViolation({clip_id: tuple(sorted(codes)) for clip_id, codes in reasons.items()})


Guard = ConsentGuard | RenderedOnly


def _index(members: Sequence[tuple[Held, ClipFacts]]) -> tuple[dict[str, set[int]], dict[str, set[int]]]:
    """Places of members by party and by digest."""
    by_party: dict[str, set[int]] = defaultdict(set)
    by_digest: dict[str, set[int]] = defaultdict(set)
    for place, (_, facts) in enumerate(members):
        for party in facts.parties:
            by_party[party].add(place)
        for digest in facts.assets:
            by_digest[digest].add(place)
    return by_party, by_digest


def _turns(state: ConsentState, party: str, now: datetime) -> tuple[datetime, ...]:
    """Times still to come at which terms of this party begin or end."""
    terms = [terms for consent in state.by_party.get(party, {}).values() for terms in consent.terms]
    times = {time for each in terms for time in (each.acts_from, each.ends_at) if time is not None and time > now}
    return tuple(sorted(times))


def _read(path: Path, expected_root: str, since: str | None) -> Held:
    """The manifest in a file, verified; `since` is when it was first used, where that was before it was sealed anew."""
    try:
        content = path.read_bytes()
        manifest = parse_strictly(content.decode("utf-8"))
        if not expected_root:
            raise SnapshotError("snapshot.root", "no root to train on was given")
        verify_manifest(manifest, expected_root)
    except SnapshotError as error:
        raise ConsentViolation.of_all(error.code, str(error)) from error
    except (OSError, UnicodeError, CanonicalError, json.JSONDecodeError) as error:
        raise ConsentViolation.of_all("snapshot.unreadable", str(error)) from error
    first = min(manifest["at"], since or manifest["at"], key=instant)
    facts = [ClipFacts.from_dict(member["facts"]) for member in manifest["members"]]
    return Held(manifest, sha256_hex(content), instant(first), facts)

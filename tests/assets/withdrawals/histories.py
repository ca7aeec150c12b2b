"""Random histories of consent over sealed clips, in which the ledger is looked at now and then."""

from __future__ import annotations

import random
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from assets.consent.intake import Admitted
from assets.consent.sealed_members import manifest_key, record_snapshot, sealed_snapshots
from assets.consent.withdrawal_log import WithdrawalLog
from assets.home import Home
from assets.withdrawals.plan import read_ledger
from tests.training.consent.people import People
from training.consent import events as ev
from training.consent.canonical import canonical, sha256_hex
from training.consent.eligibility import ClipFacts, Person, eligible
from training.consent.events import PLATFORM
from training.consent.guard import ConsentGuard, ConsentViolation
from training.consent.snapshot import seal
from training.consent.state import ConsentState
from training.consent.times import instant, time_text

CONTRIBUTORS, PEOPLE, MINOR, GUARDIAN = ("c-ann", "c-ben"), ("p-bob", "p-cat"), "p-cat", "g-eve"


def facts_of(number: int) -> ClipFacts:
    """Clip `number`: by one of the contributors; some show somebody, some somebody's house, some share a file."""
    persons = (Person(PEOPLE[number % 2]),) if number % 3 == 0 else ()
    clip_id = sha256_hex(f"clip {number}".encode())
    return ClipFacts(
        clip_id=clip_id, item_id=f"i-{number}", shot_index=0, bytes_sha256=sha256_hex(f"file {number // 2}".encode()),
        frames=(), contributor_id=CONTRIBUTORS[number % 2], persons=persons, faces_max=len(persons),
        persons_counted=len(persons), approvals=2, duplicate_ok=True, verdicts_ok=True, dup_group=clip_id,
        properties=("p-bob",) if number == 4 else (),
    )  # fmt: skip


CLIPS = [facts_of(number) for number in range(7)]


@dataclass
class History:
    """Something happens at random, again and again; the ledger is looked at now and then."""

    home: Home
    chance: random.Random
    people: People = field(init=False)
    consents: list[dict[str, Any]] = field(default_factory=list)
    gone: set[str] = field(default_factory=set)
    disputes: list[str] = field(default_factory=list)
    sealed: list[dict[str, Any]] = field(default_factory=list)
    unrecorded: list[dict[str, Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.people = People(self.home.database_url, *CONTRIBUTORS, *PEOPLE, GUARDIAN)
        for facts in CLIPS:
            self._grant(facts.contributor_id or "", "contributor", facts)
            for person in facts.persons:
                self._grant(person.person_id, "depicted", facts)
            for owner in facts.properties:
                self._grant(owner, "property_owner", facts)

    @property
    def now(self) -> datetime:
        return self.people.now

    def _grant(self, party: str, role: str, facts: ClipFacts, **more: Any) -> None:
        digests = [self.chance.choice([facts.clip_id, facts.bytes_sha256])]
        self.consents.append(self.people.grant(party, role, assets=digests, **more))

    def step(self) -> None:
        options = (self.grant, self.amend, self.revoke, self.erase, self.guard, self.dispute, self.decide)
        self.chance.choice((*options, self.revoke, self.seal, self.seal, self.wait, self.look))()

    def _times(self) -> dict[str, Any]:
        days = self.chance.choice
        later = {"effective_at": self.now + timedelta(days=days((0, 2, 45)))} if self.chance.random() < 0.4 else {}
        ending = {"expires_at": self.now + timedelta(days=days((3, 31, 60)))} if self.chance.random() < 0.4 else {}
        return later | ending

    def grant(self) -> None:
        facts = self.chance.choice(CLIPS)
        roles = [(facts.contributor_id or "", "contributor"), *((p.person_id, "depicted") for p in facts.persons)]
        self._grant(*self.chance.choice(roles), facts, **self._times())

    def amend(self) -> None:
        body = self.chance.choice(self.consents)
        if body["consent_id"] in self.gone:
            return
        times = {name: time_text(value) for name, value in self._times().items()}
        narrowed = self.chance.choice(({}, {"scopes": ["eval"]}, {"territories": ["BE"]}, {"scopes": ["train"]}))
        amended = ev.amend(body, self.now, **times, **narrowed)
        if isinstance(self.people.append(amended, body["actor"]), Admitted):
            self.consents[self.consents.index(body)] = amended

    def revoke(self) -> None:
        body = self.chance.choice(self.consents)
        if body["consent_id"] not in self.gone:
            self.people.revoke(body)
            self.gone.add(body["consent_id"])

    def erase(self) -> None:
        """What was revoked may be erased, also before anybody has looked."""
        if self.gone and self.chance.random() < 0.3:
            self.people.ledger.erase(self.chance.choice(sorted(self.gone)), "asked", self.now)

    def guard(self) -> None:
        self.people.appoint(MINOR, GUARDIAN, ended=self.chance.random() < 0.5)

    def dispute(self) -> None:
        facts = self.chance.choice(CLIPS)
        name = f"d-{len(self.disputes)}"
        body = ev.dispute(
            PLATFORM, [self.chance.choice(sorted(facts.assets))], "legal.privacy", self.now, dispute_id=name
        )
        assert isinstance(self.people.append(body, PLATFORM), Admitted)
        self.disputes.append(name)

    def decide(self) -> None:
        if self.disputes:
            name, outcome = self.chance.choice(self.disputes), self.chance.choice(("dismissed", "dismissed", "upheld"))
            self.people.append(ev.adjudicate(name, outcome, self.now, officer="o-ida"), PLATFORM)

    def wait(self) -> None:
        self.people.now += timedelta(days=self.chance.choice((1, 5, 40)))

    def seal(self) -> None:
        """Seal some of what is eligible for thirty days; a process may be killed before the graph hears of it."""
        state, head = ConsentState.fold(self.people.ledger.events()), self.people.ledger.head()
        at, until = self.now, self.now + timedelta(days=30)
        decided = [(facts, eligible(facts, "train", at, until, state)) for facts in CLIPS if self.chance.random() < 0.7]
        members = [member_of(facts, decision.consent_ids) for facts, decision in decided if decision.eligible]
        if members:
            manifest = seal(members, purpose="train", at=at, until=until, ledger=head)
            self.sealed.append(manifest)
            if self.chance.random() < 0.3:
                self.unrecorded.append(manifest)
            else:
                record_snapshot(self.home, manifest)
                self.home.store.put(manifest_key(manifest["root"]), canonical(manifest))

    def arrive(self) -> None:
        """What was sealed and not recorded lies in the store, where the next look finds it."""
        for manifest in self.unrecorded:
            self.home.store.put(manifest_key(manifest["root"]), canonical(manifest))
        self.unrecorded.clear()

    def look(self) -> None:
        if self.chance.random() < 0.5:
            self.arrive()
        log, snapshots = WithdrawalLog(self.home.database_url), sealed_snapshots(self.home)
        head = self.people.ledger.head()
        while read_ledger(self.people.ledger, snapshots, log, head, self.now) < head.size:
            pass

    # -- the same by reading everything ----------------------------------------------------------------------------------

    def first_sealed(self) -> dict[str, datetime]:
        first: dict[str, datetime] = {}
        for manifest in self.sealed:
            at = instant(manifest["at"])
            first[manifest["root"]] = min(at, first.get(manifest["root"], at))
        return first

    def reached(self) -> set[tuple[str, str]]:
        """Pairs of snapshot and clip whose consent has a gap, by asking about every member of every manifest."""
        state, first = ConsentState.fold(self.people.ledger.events()), self.first_sealed()
        return {
            (manifest["root"], member["clip_id"])
            for manifest in self.sealed
            for member in manifest["members"]
            if not eligible(
                ClipFacts.from_dict(member["facts"]), "train", first[manifest["root"]], self.now, state
            ).eligible
        }

    def unusable(self) -> set[str]:
        state = ConsentState.fold(self.people.ledger.events())
        return {facts.clip_id for facts in CLIPS if not eligible(facts, "train", self.now, self.now, state).eligible}

    def by_guard(self, root: str) -> dict[str, list[str]]:
        path = self.home.store.fetch(manifest_key(root))
        since = {root: time_text(self.first_sealed()[root])}
        try:
            ConsentGuard(path, root, self.home.database_url, "train", since).check(self.now)
        except ConsentViolation as violation:
            return {clip_id: list(reasons) for clip_id, reasons in violation.reasons.items()}
        return {}


def member_of(facts: ClipFacts, consent_ids: tuple[str, ...]) -> dict[str, Any]:
    plain = facts.to_dict()
    named = ("clip_id", "item_id", "shot_index", "bytes_sha256", "contributor_id", "dup_group")
    return {name: plain[name] for name in named} | {
        "media_key": f"media/{facts.bytes_sha256}.mp4", "start_frame": 0, "end_frame": 9, "split": "train",
        "caption": "a scene", "caption_short": "a scene", "facts": plain, "consent_ids": list(consent_ids),
    }  # fmt: skip


@contextmanager
def history(seed: int) -> Iterator[History]:
    with tempfile.TemporaryDirectory() as folder:
        yield History(Home.local(Path(folder) / "home"), random.Random(seed))

"""From the ledger to consequences: what new events, and terms that have ended, reach; planned, then carried out.

The sensor on the ledger calls this and nothing else. The path from an event to an alias that moved reads the new events, the
members that they touch and those members' people, and nothing else.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import islice

from assets.consent import reach
from assets.consent.ledger import Ledger
from assets.consent.reach import Reach, Touched
from assets.consent.sealed_members import SealedSnapshots, sealed_snapshots
from assets.consent.withdrawal_log import EVENT, MEMBER, Cause, Failing, Mark, Pair, Plan, Withdrawal, WithdrawalLog
from assets.home import Home
from assets.withdrawals.execute import SERVING, Execution
from assets.withheld import RESTORATION, WITHDRAWAL, withheld
from training.consent.events import CONSENT_TYPES, DISPUTE_TYPES, Event
from training.consent.keys import Checkpoint
from training.consent.times import instant, now_utc, parse_time, shifted, time_text

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
SLICE = 20_000  # events that one planning reads at most
BUDGET_S = 40.0  # after which a call leaves the rest to the next one; what serves is never left
AUDIT_EVERY = timedelta(hours=1)  # for what a run that had begun before made anew of withdrawn clips


@dataclass(frozen=True)
class Actions:
    """What withdrawals reached and what was done about it.

    `withdrawals` are those that the call reports, `unfinished` those that a later call goes on with; `cursor` is the
    number of the last one kept. `affected_clips` are clips of sealed snapshots, and of the lake where consent to them was
    revoked before they were sealed; `champion` says what became of the
    alias, None where it was not touched; `proposals` are the requests for replacement that now stand. `failing` is what
    could not be acted on, each with why: it holds up nothing else, and every later call tries it again.
    """

    ledger_size: int
    affected_clips: tuple[str, ...] = ()
    affected_snapshots: tuple[str, ...] = ()
    tainted_versions: tuple[str, ...] = ()
    champion: str | None = None
    proposals: tuple[str, ...] = ()
    withdrawals: tuple[str, ...] = ()
    unfinished: tuple[str, ...] = ()
    failing: tuple[str, ...] = ()
    cursor: int = -1

    @property
    def summary(self) -> str:
        parts = [
            f"{len(self.affected_clips)} clips",
            f"{len(self.affected_snapshots)} snapshots",
            f"model versions {', '.join(self.tainted_versions)}" if self.tainted_versions else "no model version",
        ]
        reached = f"withdrawn consent reaches {', '.join(parts)}"
        asked = f"{len(self.proposals)} replacements proposed" if self.proposals else ""
        left = f"{len(self.unfinished)} withdrawals go on with the next look" if self.unfinished else ""
        failed = f"could not be acted on: {', '.join(self.failing)}" if self.failing else ""
        return "; ".join(part for part in (reached, self.champion, asked, left, failed) if part)


def act_on_ledger(
    home: Home, since_seq: int, now: datetime | None = None, *, after: int | None = None, budget_s: float = BUDGET_S
) -> Actions:
    """Draw the consequences of all that the ledger says by `now`, go on with what was begun, and report.

    What was read before is remembered here, not by the caller: `since_seq` (a ledger size) and `after` (the number of a
    withdrawal) only say which withdrawals the report is about. Acting again changes nothing.
    """
    ledger, snapshots, log = Ledger(home.database_url), sealed_snapshots(home), WithdrawalLog(home.database_url)
    moment = instant(now) if now else None
    execution = Execution(home, snapshots, log, clock=lambda: moment or now_utc())
    started, last = time.monotonic(), log.last()
    begun = {withdrawal.number for withdrawal in log.unfinished()}
    while True:
        head, at = ledger.head(), moment or now_utc()
        at = max(at, head.recorded_at or at)  # never before the last event
        read = read_ledger(ledger, snapshots, log, head, at)
        with execution.apart("the registry"):
            execution.serve_no_more(log.unfinished())
        if read == head.size or time.monotonic() - started > budget_s:
            break
    late: list[str] = []
    with execution.apart("models registered since"):
        late = execution.taint_latecomers()
    for withdrawal in log.unfinished():
        if time.monotonic() - started > budget_s:
            break
        with execution.apart(f"withdrawal {withdrawal.id}"):
            execution.complete(withdrawal)
    last_audit = log.audited()
    if last_audit is None or (at - last_audit >= AUDIT_EVERY and not log.unfinished()):
        with execution.apart("reading again what was withdrawn"):
            if last_audit:
                execution.audit()
            log.set_audited(at)
    # what was reported long ago is not read again with every look
    floor = min([after, last, *(number - 1 for number in begun)]) if after is not None else -1
    seen = [
        withdrawal
        for withdrawal in log.withdrawals(after=floor)
        if _reported(withdrawal, since_seq, after) or withdrawal.number > last or withdrawal.number in begun
    ]
    in_lake: set[str] = set()
    with execution.apart("clips that were never sealed"):
        in_lake = _in_lake(home, ledger, seen)
    return replace(_report(log, head, seen, late, in_lake), failing=_failing(log, execution))


def _failing(log: WithdrawalLog, execution: Execution) -> tuple[str, ...]:
    failing = {f"{kind} {number}": why for (kind, number), why in log.failing().items()} | execution.failing
    return tuple(f"{name} ({why})" for name, why in sorted(failing.items()))


def _reported(withdrawal: Withdrawal, since_seq: int, after: int | None) -> bool:
    return withdrawal.number > after if after is not None else withdrawal.ledger_size > since_seq


def read_ledger(ledger: Ledger, snapshots: SealedSnapshots, log: WithdrawalLog, head: Checkpoint, now: datetime) -> int:
    """Plan what the next slice of the ledger asks for; returns up to which size it was read now.

    What fails is kept by itself and tried again with what is new at the next look.
    """
    mark, failed = log.mark(), log.failing()
    upto = min(head.size, mark.ledger_size + SLICE)
    again = [number for kind, number in failed if kind == EVENT]
    new, failing = _readable(ledger, again, mark.ledger_size, upto)
    touched = _touched(ledger, new)
    if upto == head.size:
        touched |= reach.touched_since(ledger, log, mark.ledger_size, mark.at or EPOCH, now)
    numbers = snapshots.concerned(touched.parties, touched.digests) | _unseen(ledger, snapshots, log, mark, now)
    numbers |= {number for kind, number in failed if kind == MEMBER}
    reached, undecided = reach.decide_apart(ledger, snapshots, numbers, now, upto=upto)
    failing |= {(MEMBER, number): why for number, why in undecided.items()}
    new, waiting = _without(new, snapshots, undecided)
    failing |= waiting
    plans = [*_withdrawals(log, reached, new), *_restorations(log, reached, upto)]
    sealings = snapshots.sealings(after=mark.sealing)
    later = Mark(upto, now if upto == head.size else mark.at, sealings[-1].number if sealings else mark.sealing)
    if plans or replace(later, at=mark.at) != mark or touched.parties or failing != failed:
        log.plan(plans, later, _coming(new, now), now, failing)
    return upto


def _readable(ledger: Ledger, again: Iterable[int], since: int, upto: int) -> tuple[list[Event], Failing]:
    """The events at these places and from `since` to `upto`; those that cannot be read each with why."""
    readable: list[Event] = []
    failing: Failing = {}
    places: Iterable[int] = again
    try:
        readable += islice(ledger.iter_events(since=since, upto=upto), SLICE)
    except Exception:  # a row that was written past the ledger's rules: the others are read one by one
        readable, places = [], [*again, *range(since, upto)]
    for seq in places:
        try:
            readable += filter(None, [ledger.entry(seq)])
        except Exception as error:
            failing[EVENT, seq] = reach.error_line(error)
    return sorted(readable, key=lambda event: event.seq), failing


def _without(new: list[Event], snapshots: SealedSnapshots, undecided: Mapping[int, str]) -> tuple[list[Event], Failing]:
    """The events, but for those of people with a member that could not be decided: they wait for it.

    A revocation would otherwise be receipted as one that reaches nothing.
    """
    why = {party: undecided[n] for n, member in snapshots.members(undecided).items() for party in member.facts.parties}
    waiting = {(EVENT, event.seq): why[p] for event in new if (p := event.body["party_id"]) in why}
    return [event for event in new if (EVENT, event.seq) not in waiting], waiting


def _touched(ledger: Ledger, new: Iterable[Event]) -> Touched:
    """Whom and what these events are about."""
    new = list(new)
    parties = {event.body["party_id"] for event in new if event.type in (*CONSENT_TYPES, "guardian", "end_guardian")}
    disputes = {event.body["dispute_id"] for event in new if event.type in DISPUTE_TYPES}
    opened = ledger.disputes() if disputes else []
    digests = {d for e in opened if e.type == "dispute" and e.body["dispute_id"] in disputes for d in e.body["assets"]}
    return Touched(frozenset(parties), frozenset(digests))


def _unseen(ledger: Ledger, snapshots: SealedSnapshots, log: WithdrawalLog, mark: Mark, now: datetime) -> set[int]:
    """Members of sealings recorded since the last look, that what was read before it may have touched already."""
    unseen: set[int] = set()
    for sealing in snapshots.sealings(after=mark.sealing):
        if sealing.ledger_size < mark.ledger_size or sealing.until < now:
            touched = reach.touched_since(ledger, log, sealing.ledger_size, sealing.until, now)
            numbers = snapshots.concerned(touched.parties, touched.digests)
            unseen.update(snapshots.holding(numbers, sealing.root).get(sealing.root, ()))
    return unseen


def _withdrawals(log: WithdrawalLog, reached: Reach, new: Iterable[Event]) -> Iterator[Plan]:
    """One withdrawal a person or dispute, of what no earlier one did for the same causes.

    A revocation that reaches no sealed clip counts, too, so that everybody who withdraws gets a receipt.
    """
    handled = log.handled({clip_id for _, clip_id in reached.reached})
    causes: dict[str, set[Cause]] = defaultdict(set)
    pairs: dict[str, dict[Pair, tuple[str, ...]]] = defaultdict(dict)
    for pair, reasons in reached.reached.items():
        for cause in reached.causes[pair]:
            if cause.identity not in handled.get(pair, ()):
                causes[cause.subject].add(cause)
                pairs[cause.subject][pair] = reasons
    named = {cause.identity for some in reached.causes.values() for cause in some}
    for event in new:
        if event.type == "revoke" and event.leaf_hash not in named:
            subject, at = event.body["party_id"], time_text(event.recorded_at)
            causes[subject].add(Cause(subject, "revoke", event.leaf_hash, at, event.seq))
    for subject in sorted(causes):
        yield Plan(WITHDRAWAL, subject, tuple(sorted(causes[subject], key=_order)), pairs[subject])


def _order(cause: Cause) -> tuple[bool, int, str]:
    return cause.seq is None, cause.seq or 0, cause.identity


def _restorations(log: WithdrawalLog, reached: Reach, upto: int) -> Iterator[Plan]:
    """What nothing stands against any more: a dispute that was dismissed, a clip that was granted anew.

    Pairs are restored where consent stands without a gap; a clip that was merely granted anew returns to use alone,
    and what was made of it before stays tainted.
    """
    standing = log.standing()
    held = withheld(log.url, {clip_id for _, clip_id in reached.held | set(reached.reached)})
    back: dict[str, dict[Pair, tuple[str, ...]]] = defaultdict(dict)
    for root, clip_id in sorted(reached.held):
        if clip_id in standing.get(root, ()):
            back[held.get(clip_id, root)][root, clip_id] = ()
    whole = {clip_id for pairs in back.values() for _, clip_id in pairs}
    newly: dict[str, list[str]] = defaultdict(list)  # roots by clip: of two looks at one ledger each reaches other ones
    for root, clip_id in sorted(reached.reached):
        newly[clip_id].append(root)
    for clip_id in sorted(reached.usable & (held.keys() | newly.keys()) - whole):
        back[held.get(clip_id, clip_id)]["", clip_id] = ()
    for by, pairs in sorted(back.items()):
        identity = "@".join((by, str(upto), *newly.get(by, ())))
        yield Plan(RESTORATION, by, (Cause(by, "restored", identity, ""),), pairs)


def _coming(new: Iterable[Event], now: datetime) -> Iterator[tuple[datetime, str]]:
    """Terms that come into force later, with no event: rounded up to the second that a mark can name."""
    for event in new:
        if event.type in ("grant", "amend"):
            acts_from = parse_time(event.body["effective_at"])
            if acts_from > now:
                yield shifted(acts_from, timedelta(microseconds=999_999)), event.body["party_id"]


def _in_lake(home: Home, ledger: Ledger, seen: Iterable[Withdrawal]) -> set[str]:
    """Clips in the lake that were never sealed and that revoked consents had covered."""
    digests: set[str] = set()
    for withdrawal in seen:
        if withdrawal.kind == WITHDRAWAL and not withdrawal.reach:
            places = [cause.seq for cause in withdrawal.causes if cause.seq is not None]
            revoked = {e.body["consent_id"] for seq in places if (e := ledger.entry(seq))}
            theirs = ledger.events(parties=[withdrawal.subject])
            digests |= {d for e in theirs if e.body.get("consent_id") in revoked for d in e.body.get("assets", ())}
    if not digests:
        return set()
    shots = home.lake.read("shots").select(["clip_id", "item_id", "bytes_sha256"]).to_pylist()
    media = home.lake.read("media").select(["item_id", "frames_sha256"]).to_pylist()
    files = {row["item_id"] for row in media if row["frames_sha256"] in digests}
    return {r["clip_id"] for r in shots if {r["clip_id"], r["bytes_sha256"]} & digests or r["item_id"] in files}


def _report(
    log: WithdrawalLog, head: Checkpoint, seen: list[Withdrawal], late: list[str], in_lake: set[str]
) -> Actions:
    steps = {withdrawal.number: log.steps(withdrawal.number) for withdrawal in seen}
    forward = [withdrawal for withdrawal in seen if withdrawal.kind == WITHDRAWAL]
    versions = {
        n for withdrawal in forward for n in steps[withdrawal.number].get(SERVING, {}).get("versions", {})
    } | set(late)
    aliases = [steps[withdrawal.number].get(SERVING, {}).get("aliases", {}) for withdrawal in forward]
    proposals = {
        p for withdrawal in forward for p in steps[withdrawal.number].get("replacement", {}).get("proposals", ())
    }
    return Actions(
        ledger_size=head.size,
        affected_clips=tuple(sorted({clip_id for withdrawal in forward for clip_id in withdrawal.clip_ids} | in_lake)),
        affected_snapshots=tuple(sorted({root for withdrawal in forward for root in withdrawal.roots})),
        tainted_versions=tuple(sorted(versions, key=int)),
        champion=next((alias["champion"] for alias in reversed(aliases) if "champion" in alias), None),
        proposals=tuple(sorted(proposals)),
        withdrawals=tuple(withdrawal.id for withdrawal in seen),
        unfinished=tuple(withdrawal.id for withdrawal in log.unfinished()),
        cursor=log.last(),
    )

"""Withdrawals in the trace: everything that a clip had reached, what was done there and when, and where the receipt is.

Read from the withdrawals' log, which outlives what it speaks of.
"""

from __future__ import annotations

from collections.abc import Iterable

from rich.tree import Tree

from assets.consent.ledger import Ledger
from assets.consent.sealed_members import SealedSnapshots, sealed_snapshots
from assets.consent.withdrawal_log import DONE, Item, Withdrawal, WithdrawalLog
from assets.home import Home
from assets.withdrawals import receipt
from assets.withheld import RESTORATION
from orchestration.commands.shared import plain, short

_ACTS = {"delete": "deleted", "seal": "sealed", "tag": "tagged", "take away": "taken away", "lift": "taint lifted"}


def add_withdrawals(home: Home, tree: Tree, clip_id: str) -> None:
    """A branch for every withdrawal that reached this clip, in order."""
    log = WithdrawalLog(home.database_url)
    for one in log.of_clip(clip_id):
        _show(home, log, tree, one, clip_id)


def withdrawal_tree(home: Home, identity: str) -> Tree | None:
    """The tree of a withdrawal's id, or of everything that one person or dispute withdrew."""
    log = WithdrawalLog(home.database_url)
    found = log.find(identity)
    if not found:
        return None
    ids = sorted({one.id for one in found if one.id.startswith(identity)})
    if len(ids) > 1 and identity not in ids:
        raise LookupError(f"{identity!r} could be {', '.join(ids[:5])}; give more of it")
    tree = Tree(f"withdrawals of [bold]{plain(identity)}[/]" if not ids else f"withdrawal [bold]{ids[0]}[/]")
    for one in (one for one in found if not ids or one.id == ids[0]):
        _show(home, log, tree, one, None)
    return tree


def consent_tree(home: Home, identity: str) -> Tree | None:
    """The tree of a consent: its events, the sealed clips that rested on it, and its withdrawals."""
    ledger, snapshots, log = Ledger(home.database_url), sealed_snapshots(home), WithdrawalLog(home.database_url)
    events = ledger.of_consent(identity)
    if not events:
        return None
    tree = Tree(f"consent [bold]{plain(identity)}[/] of {plain(events[0].body['party_id'])}")
    for event in events:
        said = f", {' '.join(event.body['scopes'])}" if "scopes" in event.body else ""
        tree.add(f"entry {event.seq}: {event.type} of {event.recorded_at:%Y-%m-%d %H:%M:%S}Z{said}")
    numbers = snapshots.concerned({events[0].body["party_id"]}, ())
    rested = {n: member for n, member in snapshots.members(numbers).items() if identity in member.consent_ids}
    _snapshots(snapshots, tree, rested.keys())
    leaves = {event.leaf_hash for event in events}
    for one in log.find(events[0].body["party_id"]):
        if leaves & {cause.identity for cause in one.causes} or any(identity in c.identity for c in one.causes):
            _show(home, log, tree, one, None)
    return tree


def _snapshots(snapshots: SealedSnapshots, tree: Tree, numbers: Iterable[int]) -> None:
    held = snapshots.holding(list(numbers))
    members = snapshots.members({number for found in held.values() for number in found})
    for root, found in held.items():
        clips = sorted(members[number].clip_id for number in found)
        shown = ", ".join(short(clip, 16) for clip in clips[:10])
        tree.add(f"{len(clips)} of its clips went into snapshot {root}: {shown}")


def _show(home: Home, log: WithdrawalLog, tree: Tree, one: Withdrawal, clip_id: str | None) -> None:
    """One withdrawal: why, what it reached, what was done; with a clip, what concerns that clip and models alone."""
    said = "given back to use" if one.kind == RESTORATION else "[red]withdrawn[/]"
    branch = tree.add(f"{said} by {one.id} of {one.opened_at}, for {plain(one.subject)}")
    for cause in one.causes:
        where = f"entry {cause.seq} of the ledger" if cause.seq is not None else plain(cause.identity)
        branch.add(f"because of {cause.kind}{f' of {cause.at}' if cause.at else ''}: {where}")
    for (root, clip), reasons in sorted(one.reach.items()):
        if root and clip_id in (None, clip):
            why = f": {', '.join(reasons)}" if reasons else ""
            branch.add(f"clip {short(clip, 16)} in snapshot {root}{why}")
    steps = log.steps(one.number)
    items = [item for item in log.items(one.number) if not item.clip_id or clip_id in (None, item.clip_id)]
    _models(home, branch, items)
    _things(branch, [item for item in items if item.kind not in ("versions", "aliases")])
    for name, sentence in steps.get("serving", {}).get("aliases", {}).items():
        branch.add(f"alias {name}: {plain(sentence)}")
    for restored in steps.get("restored", {}).get("items", ()):
        branch.add(f"brought back: {plain(restored)}")
    for proposal in steps.get("replacement", {}).get("proposals", ()):
        branch.add(f"replacement asked for: {proposal}")
    if DONE in steps:
        done = steps[DONE]
        branch.add(f"[green]completed[/] {done['done_at']}, receipt at {home.store.uri(receipt.key(one.id))}")
    else:
        branch.add("[red]not completed yet[/]: the ledger sensor goes on with it")


def _models(home: Home, branch: Tree, items: Iterable[Item]) -> None:
    """Versions with their aliases at the time and now."""
    from assets.registry.versions import Registry

    noted = [item for item in items if item.kind == "versions"]
    now = {version.number: version for version in Registry(home).versions()} if noted else {}
    for item in sorted(noted, key=lambda item: int(item.item.removeprefix("version "))):
        number = item.item.removeprefix("version ")
        version = now.get(number)
        today = ", ".join(version.aliases) or "none" if version else "the version is gone"
        key = f", {version.model_key}" if version else ""
        branch.add(
            f"model version {number}{key}: {_ACTS[item.action]} {item.planned_at};"
            f" aliases then {item.before or 'none'}, now {today}"
        )


def _things(branch: Tree, items: Iterable[Item]) -> None:
    for item in items:
        branch.add(f"{item.kind}: {plain(item.item)} {_ACTS[item.action]} {item.planned_at}")

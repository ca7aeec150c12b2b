"""What a thing came from, went into and lost: request, delivery, file, clip, consent, snapshot, model, release, as a tree.

What a withdrawal reached and did is read from the withdrawals' own log, which outlives what it names.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rich.tree import Tree

from assets.consent.ledger import Ledger
from assets.consent.sealed_members import manifest_key, sealed_snapshots
from assets.consent.withdrawal_log import DONE, Item, Withdrawal, WithdrawalLog
from assets.home import Home
from assets.registry import Registry
from assets.withdrawals.artifacts import made_of
from assets.withdrawals.receipt import key as receipt_key
from assets.withheld import RESTORATION
from orchestration.commands.shared import plain, short
from orchestration.status import mart

Row = Mapping[str, Any]

_ACTS = {"delete": "deleted", "seal": "sealed", "tag": "tagged", "take away": "taken away", "lift": "taint lifted"}


def trace_of(home: Home, identity: str) -> Tree:
    """The tree of whatever `identity` names (a prefix of at least 4 characters will do).

    Raises LookupError when nothing, or more than one thing, has that identity.
    """
    if not identity.isdigit() and len(identity) < 4:
        raise LookupError(f"{identity!r} is too short to name one thing; give at least 4 characters")
    lookups = (_clip, _request, _item, _snapshot, _consent, _withdrawal, _model)
    for lookup in (_model,) if identity.isdigit() and len(identity) < 4 else lookups:
        if (tree := lookup(home, identity)) is not None:
            return tree
    raise LookupError(f"no clip, file, request, snapshot, consent, withdrawal or model is called {identity!r}")


def _resolve(values: Iterable[str | None], identity: str) -> str | None:
    """The one value that begins with `identity`; None where there is none. Raises LookupError for several."""
    matches = sorted({value for value in values if value and value.startswith(identity)})
    if identity in matches:
        return identity
    if len(matches) > 1:
        options = ", ".join(short(value, 24) for value in matches[:5])
        raise LookupError(f"{identity!r} could be {options}; give more of it")
    return matches[0] if matches else None


def _row(home: Home, table: str, key: str, identity: str) -> Row | None:
    """The row of a table whose key begins with `identity`; None where there is none."""
    rows = {row[key]: row for row in home.lake.rows(table)}
    return rows.get(_resolve(rows, identity) or "")


def _clip(home: Home, identity: str) -> Tree | None:
    shots = home.lake.rows("shots")
    clip_id = _resolve((row["clip_id"] for row in shots), identity)
    if clip_id is None:
        return None
    tree = Tree(f"clip [bold]{clip_id}[/]")
    for shot in (row for row in shots if row["clip_id"] == clip_id):
        _shot(home, tree, shot)
    _judgement(home, tree, clip_id)
    _went_into(home, tree, clip_id)
    log = WithdrawalLog(home.database_url)
    for withdrawal in log.of_clip(clip_id):
        _show_withdrawal(home, log, tree, withdrawal, clip_id)
    return tree


def _shot(home: Home, tree: Tree, shot: Row) -> None:
    span = f"frames {shot['start_frame']} to {shot['end_frame'] - 1}, {shot['start_s']:.2f} to {shot['end_s']:.2f} s"
    branch = tree.add(f"shot {shot['shot_index']} of file {shot['item_id']} ({span})")
    branch.add(f"bytes {shot['bytes_sha256']} at {home.store.uri(shot['media_key'])}")
    if shot["not_measured"]:
        branch.add(f"[yellow]not measured[/], by an error of the platform: {plain(shot['not_measured'])}")
    for item in home.lake.rows("delivery_items"):
        if item["item_id"] == shot["item_id"]:
            _delivered(branch, item)
            return


def _delivered(branch: Tree, item: Row) -> None:
    branch.add(
        f"delivered as {plain(item['file_name'])} in {item['delivery_id']} on {item['received_day']}"
        f" by {item['contributor_id']}" + (f", for request {item['request_id']}" if item["request_id"] else "")
    )
    if item["source_name"]:
        branch.add(f"source: {plain(item['source_name'])}; licence: {plain(item['source_licence'])}")


def _judgement(home: Home, tree: Tree, clip_id: str) -> None:
    verdicts, duplicates, eligibility = (
        [row for row in home.lake.rows(table) if row["clip_id"] == clip_id]
        for table in ("verdicts", "duplicates", "eligibility")
    )
    counts = Counter(row["verdict"].replace("_", " ") for row in verdicts)
    summary = ", ".join(f"{count} {verdict}" for verdict, count in counts.most_common())
    branch = tree.add(f"{len(verdicts)} checks: {summary or 'none made'}")
    for row in (row for row in verdicts if row["verdict"] != "pass"):
        colour = "dim" if row["severity"] == "info" else "red" if row["verdict"] == "fail" else "yellow"
        branch.add(
            f"[{colour}]{row['check']} ({row['severity']}): {row['verdict'].replace('_', ' ')}[/]"
            f" {row['reason'] or 'stands against nothing'}: {plain(row['detail'] or row['value'])}"
        )
    for row in duplicates:
        if row["kind"] != "unique":
            tree.add(f"duplicate group {short(row['dup_group'])}: {row['kind']}, distance {row['distance']}")
    for row in eligibility:
        state = "[green]eligible[/]" if row["eligible"] else f"[red]not eligible[/]: {', '.join(row['reasons'])}"
        consents = ", ".join(row["consent_ids"]) or "none"
        tree.add(f"for {row['purpose']}: {state}").add(f"rests on consents: {consents}")


def _went_into(home: Home, tree: Tree, clip_id: str) -> None:
    """What is made of the clip now, every sealed snapshot that has it, and every model version trained on those."""
    if made := made_of(home, [clip_id], "keep"):
        branch = tree.add(f"{len(made)} things are made of it now")
        for item in made:
            branch.add(f"{item.kind}: {home.store.uri(item.item)}")
    snapshots = sealed_snapshots(home)
    roots = snapshots.holding([member.number for member in snapshots.of_clips([clip_id])])
    if not roots:
        tree.add("went into no snapshot")
    for root in sorted(roots):
        _versions(home, tree.add(f"snapshot {root}"), root)


def _versions(home: Home, branch: Tree, root: str) -> None:
    for version in Registry(home).versions():
        if version.snapshot_root == root:
            taint = f"[red]tainted: {plain(version.taint)}[/]" if version.taint else "clean"
            aliases = f" ({', '.join(version.aliases)})" if version.aliases else ""
            node = branch.add(f"model version {version.number}{aliases}, {version.model_key}: {taint}")
            for key in home.store.list(f"release/{version.model_key}"):
                if key.endswith(".mp4"):
                    node.add(f"released {home.store.uri(key)}")


def _request(home: Home, identity: str) -> Tree | None:
    request = _row(home, "requests", "request_id", identity)
    if request is None:
        return None
    request_id = request["request_id"]
    order = plain(f"{request['org_id']}: {request['title']} ({request['status']})")
    tree = Tree(f"request [bold]{request_id}[/] of {order}")
    for row in mart(home, "fct_clips"):
        if row.get("request_id") == request_id:
            state = "eligible" if row.get("eligible") else "not eligible"
            tree.add(f"clip {short(row['clip_id'], 16)} by {row.get('contributor_id')}: {state}")
    return tree


def _item(home: Home, identity: str) -> Tree | None:
    item = _row(home, "delivery_items", "item_id", identity)
    if item is None:
        return None
    item_id = item["item_id"]
    tree = Tree(f"file [bold]{item_id}[/]: {item['state']} {plain(', '.join(item['reasons']))}")
    _delivered(tree, item)
    for media in home.lake.rows("media", item["received_day"]):
        if media["item_id"] == item_id:
            outcome = f"{media['state']} {', '.join(media['reasons'])}; bytes {media['bytes_sha256']}"
            tree.add(f"decoded: {plain(outcome)}")
    for shot in home.lake.rows("shots", item["received_day"]):
        if shot["item_id"] == item_id:
            tree.add(f"clip {shot['clip_id']}")
    return tree


def _snapshot(home: Home, identity: str) -> Tree | None:
    manifests = (key for key in home.store.list("snapshots") if key.endswith("/manifest.json"))
    root = _resolve((key.split("/")[1] for key in manifests), identity)
    if root is None:
        return None
    manifest = json.loads(home.store.get(manifest_key(root)))
    ledger, members = manifest["ledger"], manifest["members"]
    tree = Tree(f"snapshot [bold]{root}[/] for {manifest['purpose']} until {manifest['until']}")
    tree.add(f"ledger at {ledger['size']} events, root {ledger['root']}")
    branch = tree.add(f"{len(members)} clips")
    for row in members:
        by = f"by {row['contributor_id']}: {plain(row['caption'])}"
        branch.add(f"{short(row['clip_id'], 16)} ({row['split']}) {by}")
    _versions(home, tree, root)
    return tree


def _model(home: Home, identity: str) -> Tree | None:
    for version in Registry(home).versions():
        if version.number == identity or version.model_key.startswith(identity):
            tree = Tree(f"model version [bold]{version.number}[/], {version.model_key}")
            for name, value in sorted(version.tags.items()):
                tree.add(f"{name}: {plain(value)}")
            if snapshot := _snapshot(home, version.snapshot_root):
                tree.children.append(snapshot)
            return tree
    return None


def _consent(home: Home, identity: str) -> Tree | None:
    """The tree of a consent: its events, the sealed clips that rested on it, and its withdrawals."""
    events = Ledger(home.database_url).of_consent(identity)
    if not events:
        return None
    snapshots, log, party = sealed_snapshots(home), WithdrawalLog(home.database_url), events[0].body["party_id"]
    tree = Tree(f"consent [bold]{plain(identity)}[/] of {plain(party)}")
    for event in events:
        scopes = f", {' '.join(event.body['scopes'])}" if "scopes" in event.body else ""
        tree.add(f"entry {event.seq}: {event.type} of {event.recorded_at:%Y-%m-%d %H:%M:%S}Z{scopes}")
    members = snapshots.members(snapshots.concerned({party}, ())).items()
    rested = [number for number, member in members if identity in member.consent_ids]
    for root, numbers in snapshots.holding(rested).items():
        clips = sorted(member.clip_id for member in snapshots.members(set(numbers)).values())
        shown = ", ".join(short(clip, 16) for clip in clips[:10])
        tree.add(f"{len(clips)} of its clips went into snapshot {root}: {shown}")
    leaves = {event.leaf_hash for event in events}
    for withdrawal in log.find(party):
        if any(cause.identity in leaves or identity in cause.identity for cause in withdrawal.causes):
            _show_withdrawal(home, log, tree, withdrawal)
    return tree


def _withdrawal(home: Home, identity: str) -> Tree | None:
    """The tree of a withdrawal's id, or of everything that one person or dispute withdrew."""
    log = WithdrawalLog(home.database_url)
    withdrawals = log.find(identity)
    if not withdrawals:
        return None
    chosen = _resolve((withdrawal.id for withdrawal in withdrawals), identity)
    tree = Tree(f"withdrawal [bold]{chosen}[/]" if chosen else f"withdrawals of [bold]{plain(identity)}[/]")
    for withdrawal in withdrawals:
        if chosen in (None, withdrawal.id):
            _show_withdrawal(home, log, tree, withdrawal)
    return tree


def _show_withdrawal(
    home: Home, log: WithdrawalLog, tree: Tree, withdrawal: Withdrawal, clip_id: str | None = None
) -> None:
    """Why, what it reached, what was done; with a clip, only what concerns that clip and models."""
    act = "given back to use" if withdrawal.kind == RESTORATION else "[red]withdrawn[/]"
    branch = tree.add(f"{act} by {withdrawal.id} of {withdrawal.opened_at}, for {plain(withdrawal.subject)}")
    for cause in withdrawal.causes:
        where = f"entry {cause.seq} of the ledger" if cause.seq is not None else plain(cause.identity)
        branch.add(f"because of {cause.kind}{f' of {cause.at}' if cause.at else ''}: {where}")
    for (root, clip), reasons in sorted(withdrawal.reach.items()):
        if root and clip_id in (None, clip):
            why = f": {', '.join(reasons)}" if reasons else ""
            branch.add(f"clip {short(clip, 16)} in snapshot {root}{why}")
    items = [item for item in log.items(withdrawal.number) if not item.clip_id or clip_id in (None, item.clip_id)]
    _tagged_versions(home, branch, [item for item in items if item.kind == "versions"])
    for item in items:
        if item.kind not in ("versions", "aliases"):
            branch.add(f"{item.kind}: {plain(item.item)} {_ACTS[item.action]} {item.planned_at}")
    steps = log.steps(withdrawal.number)
    for name, sentence in steps.get("serving", {}).get("aliases", {}).items():
        branch.add(f"alias {name}: {plain(sentence)}")
    for restored in steps.get("restored", {}).get("items", ()):
        branch.add(f"brought back: {plain(restored)}")
    for proposal in steps.get("replacement", {}).get("proposals", ()):
        branch.add(f"replacement asked for: {proposal}")
    if DONE in steps:
        receipt = home.store.uri(receipt_key(withdrawal.id))
        branch.add(f"[green]completed[/] {steps[DONE]['done_at']}, receipt at {receipt}")
    else:
        branch.add("[red]not completed yet[/]: the ledger sensor goes on with it")


def _tagged_versions(home: Home, branch: Tree, items: Sequence[Item]) -> None:
    """Model versions with their aliases at the time and now."""
    current = {version.number: version for version in Registry(home).versions()} if items else {}
    for item in sorted(items, key=lambda item: int(item.item.removeprefix("version "))):
        number = item.item.removeprefix("version ")
        version = current.get(number)
        now = ", ".join(version.aliases) or "none" if version else "the version is gone"
        key = f", {version.model_key}" if version else ""
        branch.add(
            f"model version {number}{key}: {_ACTS[item.action]} {item.planned_at};"
            f" aliases then {item.before or 'none'}, now {now}"
        )

"""What a thing came from and went into: request, delivery, file, clip, consent, snapshot, model, release, as a tree.

What became of it when somebody withdrew is `trace_withdrawals`'.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from rich.tree import Tree

from assets.consent.sealed_members import sealed_snapshots
from assets.home import Home
from assets.withdrawals.artifacts import made_of
from orchestration.commands.shared import plain, short
from orchestration.reading import find_snapshot, mart
from orchestration.trace_withdrawals import add_withdrawals, consent_tree, withdrawal_tree

Row = Mapping[str, Any]


def trace_of(home: Home, identity: str) -> Tree:
    """The tree of whatever `identity` names (a prefix of at least 4 characters will do).

    Raises LookupError when nothing, or more than one thing, has that identity.
    """
    if not identity.isdigit() and len(identity) < 4:
        raise LookupError(f"{identity!r} is too short to name one thing; give at least 4 characters")
    lookups = (_clip, _request, _item, _snapshot, consent_tree, withdrawal_tree, _model)
    for lookup in (_model,) if identity.isdigit() and len(identity) < 4 else lookups:
        if (tree := lookup(home, identity)) is not None:
            return tree
    raise LookupError(f"no clip, file, request, snapshot, consent, withdrawal or model is called {identity!r}")


def _one(rows: Iterable[Row], key: str, identity: str) -> str | None:
    """The one value of `key` that begins with `identity`."""
    found = sorted({row[key] for row in rows if str(row[key] or "").startswith(identity)})
    exact = [value for value in found if value == identity]
    if exact:
        return exact[0]
    if len(found) > 1:
        raise LookupError(
            f"{identity!r} could be {', '.join(short(value, 24) for value in found[:5])}; give more of it"
        )
    return found[0] if found else None


def _clip(home: Home, identity: str) -> Tree | None:
    shots = home.lake.rows("shots")
    clip_id = _one(shots, "clip_id", identity)
    if clip_id is None:
        return None
    tree = Tree(f"clip [bold]{clip_id}[/]")
    for shot in (row for row in shots if row["clip_id"] == clip_id):
        _shot(home, tree, shot)
    _judgement(home, tree, clip_id)
    _went_into(home, tree, clip_id)
    add_withdrawals(home, tree, clip_id)
    return tree


def _shot(home: Home, tree: Tree, shot: Row) -> None:
    item = next((row for row in home.lake.rows("delivery_items") if row["item_id"] == shot["item_id"]), None)
    span = f"frames {shot['start_frame']} to {shot['end_frame'] - 1}, {shot['start_s']:.2f} to {shot['end_s']:.2f} s"
    branch = tree.add(f"shot {shot['shot_index']} of file {shot['item_id']} ({span})")
    branch.add(f"bytes {shot['bytes_sha256']} at {home.store.uri(shot['media_key'])}")
    if shot["not_measured"]:
        branch.add(f"[yellow]not measured[/], by an error of the platform: {plain(shot['not_measured'])}")
    if item:
        _delivered(branch, item)


def _delivered(branch: Tree, item: Row) -> None:
    branch.add(
        f"delivered as {plain(item['file_name'])} in {item['delivery_id']} on {item['received_day']}"
        f" by {item['contributor_id']}" + (f", for request {item['request_id']}" if item["request_id"] else "")
    )
    if item["source_name"]:
        branch.add(f"source: {plain(item['source_name'])}; licence: {plain(item['source_licence'])}")


def _judgement(home: Home, tree: Tree, clip_id: str) -> None:
    rows = [row for row in home.lake.rows("verdicts") if row["clip_id"] == clip_id]
    counts = Counter(row["verdict"].replace("_", " ") for row in rows)
    branch = tree.add(
        f"{len(rows)} checks: {', '.join(f'{n} {said}' for said, n in counts.most_common()) or 'none made'}"
    )
    for row in (row for row in rows if row["verdict"] != "pass"):
        colour = "dim" if row["severity"] == "info" else "red" if row["verdict"] == "fail" else "yellow"
        said = plain(row["detail"] or row["value"])
        branch.add(
            f"[{colour}]{row['check']} ({row['severity']}): {row['verdict'].replace('_', ' ')}[/]"
            f" {row['reason'] or 'stands against nothing'}: {said}"
        )
    for row in home.lake.rows("duplicates"):
        if row["clip_id"] == clip_id and row["kind"] != "unique":
            tree.add(f"duplicate group {short(row['dup_group'])}: {row['kind']}, distance {row['distance']}")
    for row in home.lake.rows("eligibility"):
        if row["clip_id"] == clip_id:
            said = "[green]eligible[/]" if row["eligible"] else f"[red]not eligible[/]: {', '.join(row['reasons'])}"
            tree.add(f"for {row['purpose']}: {said}").add(
                f"rests on consents: {', '.join(row['consent_ids']) or 'none'}"
            )


def _went_into(home: Home, tree: Tree, clip_id: str) -> None:
    """What is made of the clip now, every sealed snapshot that has it, and every model version trained on those."""
    made = made_of(home, [clip_id], "keep")
    if made:
        branch = tree.add(f"{len(made)} things are made of it now")
        for item in made:
            branch.add(f"{item.kind}: {home.store.uri(item.item)}")
    graph = sealed_snapshots(home)
    reached = graph.holding([member.number for member in graph.of_clips([clip_id])])
    if not reached:
        tree.add("went into no snapshot")
    for root in sorted(reached):
        _versions(home, tree.add(f"snapshot {root}"), root)


def _versions(home: Home, branch: Tree, root: str) -> None:
    from assets.registry.versions import Registry

    for version in Registry(home).versions():
        if version.snapshot_root == root:
            taint = f"[red]tainted: {plain(version.taint)}[/]" if version.taint else "clean"
            aliases = f" ({', '.join(version.aliases)})" if version.aliases else ""
            node = branch.add(f"model version {version.number}{aliases}, {version.model_key}: {taint}")
            for key in home.store.list(f"release/{version.model_key}"):
                if key.endswith(".mp4"):
                    node.add(f"released {home.store.uri(key)}")


def _request(home: Home, identity: str) -> Tree | None:
    rows = home.lake.rows("requests")
    request_id = _one(rows, "request_id", identity)
    if request_id is None:
        return None
    request = next(row for row in rows if row["request_id"] == request_id)
    asked = plain(f"{request['org_id']}: {request['title']} ({request['status']})")
    tree = Tree(f"request [bold]{request_id}[/] of {asked}")
    for row in mart(home, "fct_clips"):
        if row.get("request_id") == request_id:
            state = "eligible" if row.get("eligible") else "not eligible"
            tree.add(f"clip {short(row['clip_id'], 16)} by {row.get('contributor_id')}: {state}")
    return tree


def _item(home: Home, identity: str) -> Tree | None:
    rows = home.lake.rows("delivery_items")
    item_id = _one(rows, "item_id", identity)
    if item_id is None:
        return None
    item = next(row for row in rows if row["item_id"] == item_id)
    tree = Tree(f"file [bold]{item_id}[/]: {item['state']} {plain(', '.join(item['reasons']))}")
    _delivered(tree, item)
    for media in home.lake.rows("media", item["received_day"]):
        if media["item_id"] == item_id:
            found = plain(f"{media['state']} {', '.join(media['reasons'])}; bytes {media['bytes_sha256']}")
            tree.add(f"decoded: {found}")
    for shot in home.lake.rows("shots", item["received_day"]):
        if shot["item_id"] == item_id:
            tree.add(f"clip {shot['clip_id']}")
    return tree


def _snapshot(home: Home, identity: str) -> Tree | None:
    roots = [{"root": key.split("/")[1]} for key in home.store.list("snapshots") if key.endswith("/manifest.json")]
    root = _one(roots, "root", identity)
    if root is None:
        return None
    manifest = find_snapshot(home, root)
    ledger = manifest["ledger"]
    tree = Tree(f"snapshot [bold]{root}[/] for {manifest['purpose']} until {manifest['until']}")
    tree.add(f"ledger at {ledger['size']} events, root {ledger['root']}")
    branch = tree.add(f"{len(manifest['members'])} clips")
    for member in manifest["members"]:
        branch.add(
            f"{short(member['clip_id'], 16)} ({member['split']}) by {member['contributor_id']}: {plain(member['caption'])}"
        )
    _versions(home, tree, root)
    return tree


def _model(home: Home, identity: str) -> Tree | None:
    from assets.registry.versions import Registry

    for version in Registry(home).versions():
        if version.number == identity or version.model_key.startswith(identity):
            tree = Tree(f"model version [bold]{version.number}[/], {version.model_key}")
            for name, value in sorted(version.tags.items()):
                tree.add(f"{name}: {plain(value)}")
            below = _snapshot(home, version.snapshot_root)
            if below is not None:
                tree.children.append(below)
            return tree
    return None

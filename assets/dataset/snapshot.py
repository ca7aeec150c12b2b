"""The training snapshot: who is in, why others are not, and the seal.

What the mart offers becomes a sealed manifest. No decision is taken on trust: every candidate's eligibility is decided again
from the ledger, and what the ledger refuses stays out whatever the mart says. The rules themselves are in
`training.consent`. The same clips, facts and consents give the same root whenever it is built.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from assets.consent.clips import Clip, read_clips
from assets.consent.ledger import Ledger
from assets.consent.sealed_members import manifest_key, record_snapshot
from assets.curation.captioning.structured import structured
from assets.dataset.renditions import Rendered, RenditionError, render_all
from assets.dataset.sealed import Sealed, SnapshotError, current, table_rows
from assets.dataset.split import SplitClip, SplitError, split
from assets.home import Home
from assets.lake import ClipKey
from assets.warehouse.opening import opened
from training.consent.canonical import canonical
from training.consent.eligibility import PURPOSE, Decision, decision_window, eligible
from training.consent.keys import Checkpoint
from training.consent.snapshot import seal
from training.consent.state import ConsentState

UNSHOWN = "rendition.failed"  # with why: the clip's pictures cannot be made


@dataclass(frozen=True)
class Exclusion:
    """A row of the mart that stays out: `by` is `mart`, `ledger` (the mart had said yes) or `snapshot`."""

    clip_id: str
    item_id: str
    shot_index: int
    by: str
    reasons: tuple[str, ...]

    def row(self) -> dict[str, str]:
        """For people."""
        return {
            "clip": self.clip_id[:16],
            "shot": str(self.shot_index),
            "by": self.by,
            "reasons": ", ".join(self.reasons),
        }


@dataclass(frozen=True)
class Chosen:
    """A clip that is in: with the ledger's decision, and its captions by kind."""

    clip: Clip
    decision: Decision
    captions: Mapping[str, Sequence[str]]


@dataclass(frozen=True)
class Selection:
    """Who is in and who is not, over which window, as the ledger stood at its head."""

    chosen: list[Chosen]
    excluded: list[Exclusion]
    at: datetime
    until: datetime
    head: Checkpoint


@dataclass(frozen=True)
class Built:
    """`new` is false when this root was sealed before; `rendered` clips had to be decoded now."""

    sealed: Sealed
    excluded: tuple[Exclusion, ...]
    new: bool
    rendered: int


def build(home: Home, now: datetime) -> Built:
    """Decide, render, split, seal and write `snapshots/<root>/manifest.json` and the table `snapshot_members`.

    What cannot be shown to the model is left out, with the reason. Raises SnapshotError if nothing is eligible, nothing can
    be shown or nothing can be held out.
    """
    selection = _select(home, now)
    rendered = _render(home, selection.chosen)
    if rendered.made:  # which takes time: the ledger is asked about what it says now
        selection = _select(home, now)
    excluded, shown = list(selection.excluded), []
    for entry in selection.chosen:
        if why := rendered.failed.get(entry.clip.facts.clip_id):
            excluded.append(Exclusion(*entry.clip.key, "snapshot", (f"{UNSHOWN}: {why}",)))
        else:
            shown.append(entry)
    members = _members(home, shown)
    manifest = seal(members, purpose=PURPOSE, at=selection.at, until=selection.until, ledger=selection.head)
    key = manifest_key(manifest["root"])
    new = not home.store.exists(key)
    record_snapshot(home, manifest)  # before it is there to be trained on: what was sealed can always be withdrawn
    home.store.put(key, canonical(manifest))
    home.lake.write("snapshot_members", table_rows(manifest))
    return Built(current(home), tuple(excluded), new, rendered.made)


def _select(home: Home, now: datetime) -> Selection:
    """Ask the mart and the ledger. Raises SnapshotError if nobody is in."""
    ledger = Ledger(home.database_url)
    head = ledger.head()
    state = ConsentState.fold(ledger.events(upto=head.size))
    at, until = decision_window(head, now)
    offered = read_mart(home)
    decided = {clip.key: (clip, eligible(clip.facts, PURPOSE, at, until, state)) for clip in read_clips(home, state)}
    chosen, excluded = _choose(offered, decided, _captions(home))
    if not chosen:
        raise SnapshotError(_nothing(offered, excluded, head))
    return Selection(chosen, excluded, at, until, head)


def _render(home: Home, chosen: Iterable[Chosen]) -> Rendered:
    members = [
        {"clip_id": clip.facts.clip_id, "item_id": clip.facts.item_id, "media_key": clip.media_key}
        | {"start_frame": clip.start_frame, "end_frame": clip.end_frame}
        for clip in (entry.clip for entry in chosen)
    ]
    try:
        return render_all(home, members)
    except RenditionError as error:
        raise SnapshotError(str(error)) from error


def read_mart(home: Home) -> list[dict[str, Any]]:
    """`mart_training_eligibility` as dbt left it: clip_id, item_id, shot_index, eligible, reasons; ordered."""
    query = (
        "select clip_id, item_id, shot_index, eligible, reasons from mart_training_eligibility"
        " order by clip_id, item_id, shot_index"
    )
    try:
        with opened(home) as connection:
            cursor = connection.execute(query)
            names = [column[0] for column in cursor.description]
            return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
    except FileNotFoundError as error:
        raise SnapshotError(str(error)) from error


def _choose(
    offered: list[dict[str, Any]],
    decided: Mapping[ClipKey, tuple[Clip, Decision]],
    captions: Mapping[ClipKey, Mapping[str, Sequence[str]]],
) -> tuple[list[Chosen], list[Exclusion]]:
    """One row a clip: offered by the mart, allowed by the ledger, with a caption. Everything else with its reasons."""
    chosen: dict[str, Chosen] = {}
    excluded = []
    for row in offered:
        identity: ClipKey = (row["clip_id"], row["item_id"], row["shot_index"])
        clip, decision = decided.get(identity, (None, None))
        if not row["eligible"]:
            excluded.append(Exclusion(*identity, "mart", tuple(row["reasons"] or ("eligibility.unknown",))))
        elif clip is None or decision is None:
            excluded.append(Exclusion(*identity, "ledger", ("clip.unknown",)))
        elif not decision.eligible:
            excluded.append(Exclusion(*identity, "ledger", decision.reasons))
        elif "long" not in captions.get(identity, {}):
            excluded.append(Exclusion(*identity, "snapshot", ("caption.missing",)))
        elif row["clip_id"] in chosen:
            excluded.append(Exclusion(*identity, "snapshot", ("snapshot.same_frames",)))
        else:
            chosen[row["clip_id"]] = Chosen(clip, decision, captions[identity])
    return list(chosen.values()), excluded


def _captions(home: Home) -> dict[ClipKey, dict[str, list[str]]]:
    """The captions of each clip, by kind: the structured phrasings first, in their order."""
    captions: dict[ClipKey, dict[str, list[str]]] = {}
    rows = [row for row in home.lake.rows("captions") if not row["refused"]]
    for row in sorted(rows, key=lambda row: (not structured(row), row["captioner"], row["variant"])):
        of_clip = captions.setdefault((row["clip_id"], row["item_id"], row["shot_index"]), {})
        of_clip.setdefault(row["kind"], []).append(row["text"])
    return captions


def _members(home: Home, chosen: list[Chosen]) -> list[dict[str, Any]]:
    """The manifest's members, each on its side of the split. `seal` adds the digest of each decision."""
    simulated = _simulated_items(home)
    facts = [entry.clip.facts for entry in chosen]
    try:
        sides = split(SplitClip(f.clip_id, f.contributor_id or "", f.dup_group, f.item_id in simulated) for f in facts)
    except SplitError as error:
        raise SnapshotError(str(error)) from error
    return [_member(entry, sides[entry.clip.facts.clip_id]) for entry in chosen]


def _member(entry: Chosen, side: str) -> dict[str, Any]:
    facts, clip, captions = entry.clip.facts, entry.clip, entry.captions
    short = captions.get("short", captions["long"])
    return {
        "clip_id": facts.clip_id,
        "item_id": facts.item_id,
        "shot_index": facts.shot_index,
        "bytes_sha256": facts.bytes_sha256,
        "media_key": clip.media_key,
        "start_frame": clip.start_frame,
        "end_frame": clip.end_frame,
        "contributor_id": facts.contributor_id,
        "dup_group": facts.dup_group,
        "split": side,
        "caption": captions["long"][0],
        "caption_short": short[0],
        "captions": list(dict.fromkeys([*captions["long"], *captions.get("short", ())])),
        "facts": facts.to_dict(),
        "consent_ids": list(entry.decision.consent_ids),
    }


def _simulated_items(home: Home) -> set[str]:
    """Items whose source says that they were rendered, not filmed."""
    rows = home.lake.read("delivery_items").select(["item_id", "source_name"]).to_pylist()
    return {row["item_id"] for row in rows if "simulat" in (row["source_name"] or "").lower()}


def _nothing(offered: list[dict[str, Any]], excluded: list[Exclusion], head: Checkpoint) -> str:
    if not offered:
        return "nothing is eligible: the warehouse knows no clip yet; deliver footage and run intake and refresh first"
    counts = Counter(reason for exclusion in excluded for reason in exclusion.reasons)
    ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    reasons = ", ".join(f"{reason} ({count})" for reason, count in ranked)
    return f"nothing is eligible: {len(offered)} clips, ledger of {head.size} events; reasons: {reasons}"

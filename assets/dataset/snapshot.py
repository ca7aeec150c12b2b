"""The training snapshot: who is in, why others are not, and the seal.

Belongs here: turning what the mart offers into a sealed manifest. Nothing is trusted twice removed: every candidate's
eligibility is decided again from the ledger, and what the ledger refuses stays out whatever the mart says. The rules
themselves are `training.consent`'s. The same clips, facts and consents give the same root whenever it is built.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from assets.curation.captioning.structured import structured
from assets.dataset.renditions import Rendered, RenditionError, render_all
from assets.dataset.sealed import Sealed, SnapshotError, current, table_rows
from assets.dataset.split import SplitClip, SplitError, split
from assets.home import Home
from assets.warehouse.opening import opened
from training.consent.canonical import canonical
from training.consent.eligibility import PURPOSE, Decision, decision_window, eligible

if TYPE_CHECKING:
    from assets.consent.clip import Clip
    from training.consent.checkpoint import Checkpoint

Row = tuple[str, str, int]  # clip_id, item_id, shot_index
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
class Built:
    """`new` is false when this root was sealed before; `rendered` clips had to be decoded now."""

    sealed: Sealed
    excluded: tuple[Exclusion, ...]
    new: bool
    rendered: int


def build(home: Home, now: datetime) -> Built:
    """Decide, render, split, seal and write `snapshots/<root>/manifest.json` and the table `snapshot_members`.

    What cannot be shown to the model is left out with the reason. Raises SnapshotError where nothing is eligible, nothing
    can be shown or nothing can be held out.
    """
    from assets.consent.sealed_members import manifest_key, record_snapshot
    from training.consent.snapshot import seal

    (chosen, excluded), at, until, head = _decide(home, now)
    rendered = _render(home, chosen)
    if rendered.made:  # which takes time: the ledger is asked about what it says now
        (chosen, excluded), at, until, head = _decide(home, now)
    excluded += [
        Exclusion(*one.clip.key, "snapshot", (f"{UNSHOWN}: {rendered.failed[one.clip.facts.clip_id]}",))
        for one in chosen
        if one.clip.facts.clip_id in rendered.failed
    ]
    chosen = [one for one in chosen if one.clip.facts.clip_id not in rendered.failed]
    manifest = seal(_members(home, chosen), purpose=PURPOSE, at=at, until=until, ledger=head)
    new = not home.store.exists(manifest_key(manifest["root"]))
    record_snapshot(home, manifest)  # before it is there to be trained on: what was sealed can always be withdrawn
    home.store.put(manifest_key(manifest["root"]), canonical(manifest))
    home.lake.write("snapshot_members", table_rows(manifest))
    return Built(current(home), tuple(excluded), new, rendered.made)


def _decide(home: Home, now: datetime) -> tuple[tuple[list[_Chosen], list[Exclusion]], datetime, datetime, Checkpoint]:
    """Who is in and who is not, over which window, as the ledger stands. Raises SnapshotError where nobody is in."""
    from assets.consent.clip_facts import read_clips
    from assets.consent.ledger import Ledger
    from training.consent.state import ConsentState

    ledger = Ledger(home.database_url)
    head = ledger.head()
    state = ConsentState.fold(ledger.events(upto=head.size))
    at, until = decision_window(head, now)
    offered = read_mart(home)
    decided = {clip.key: (clip, eligible(clip.facts, PURPOSE, at, until, state)) for clip in read_clips(home, state)}
    chosen, excluded = _choose(offered, decided, _captions(home))
    if not chosen:
        raise SnapshotError(_nothing(offered, excluded, head))
    return (chosen, excluded), at, until, head


def _render(home: Home, chosen: Iterable[_Chosen]) -> Rendered:
    members = [
        {"clip_id": clip.facts.clip_id, "item_id": clip.facts.item_id, "media_key": clip.media_key}
        | {"start_frame": clip.start_frame, "end_frame": clip.end_frame}
        for clip in (one.clip for one in chosen)
    ]
    try:
        return render_all(home, members)
    except RenditionError as error:
        raise SnapshotError(str(error)) from error


def read_mart(home: Home) -> list[dict[str, Any]]:
    """`mart_training_eligibility` as dbt left it: clip_id, item_id, shot_index, eligible, reasons; ordered."""
    try:
        with opened(home) as connection:
            rows = connection.execute(
                "select clip_id, item_id, shot_index, eligible, reasons from mart_training_eligibility"
                " order by clip_id, item_id, shot_index"
            ).fetchall()
    except FileNotFoundError as error:
        raise SnapshotError(str(error)) from error
    names = ("clip_id", "item_id", "shot_index", "eligible", "reasons")
    return [dict(zip(names, row, strict=True)) for row in rows]


@dataclass(frozen=True)
class _Chosen:
    clip: Clip
    decision: Decision
    captions: Mapping[str, Sequence[str]]  # by kind


def _choose(
    offered: list[dict[str, Any]],
    decided: Mapping[Row, tuple[Clip, Decision]],
    captions: Mapping[Row, Mapping[str, Sequence[str]]],
) -> tuple[list[_Chosen], list[Exclusion]]:
    """One row a clip: offered by the mart, allowed by the ledger, with a caption. Everything else with its reasons."""
    chosen: dict[str, _Chosen] = {}
    excluded = []
    for row in offered:
        identity: Row = (row["clip_id"], row["item_id"], row["shot_index"])
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
            chosen[row["clip_id"]] = _Chosen(clip, decision, captions[identity])
    return list(chosen.values()), excluded


def _captions(home: Home) -> dict[Row, dict[str, list[str]]]:
    """All that a model may be told of each clip, by kind: the structured phrasings first, in their order."""
    found: dict[Row, dict[str, list[str]]] = {}
    rows = [row for row in home.lake.rows("captions") if not row["refused"]]
    for row in sorted(rows, key=lambda row: (not structured(row), row["captioner"], row["variant"])):
        of_clip = found.setdefault((row["clip_id"], row["item_id"], row["shot_index"]), {})
        of_clip.setdefault(row["kind"], []).append(row["text"])
    return found


def _members(home: Home, chosen: list[_Chosen]) -> list[dict[str, Any]]:
    """The manifest's members, each on its side of the split. `seal` adds the digest of each decision."""
    simulated = _simulated_items(home)
    try:
        sides = split(
            SplitClip(f.clip_id, f.contributor_id or "", f.dup_group, f.item_id in simulated)
            for f in (one.clip.facts for one in chosen)
        )
    except SplitError as error:
        raise SnapshotError(str(error)) from error
    return [
        {
            "clip_id": facts.clip_id,
            "item_id": facts.item_id,
            "shot_index": facts.shot_index,
            "bytes_sha256": facts.bytes_sha256,
            "media_key": one.clip.media_key,
            "start_frame": one.clip.start_frame,
            "end_frame": one.clip.end_frame,
            "contributor_id": facts.contributor_id,
            "dup_group": facts.dup_group,
            "split": sides[facts.clip_id],
            "caption": one.captions["long"][0],
            "caption_short": one.captions.get("short", one.captions["long"])[0],
            "captions": list(dict.fromkeys([*one.captions["long"], *one.captions.get("short", ())])),
            "facts": facts.to_dict(),
            "consent_ids": list(one.decision.consent_ids),
        }
        for one in chosen
        for facts in (one.clip.facts,)
    ]


def _simulated_items(home: Home) -> set[str]:
    """Items whose source says that they were rendered, not filmed."""
    rows = home.lake.read("delivery_items").select(["item_id", "source_name"]).to_pylist()
    return {row["item_id"] for row in rows if "simulat" in (row["source_name"] or "").lower()}


def _nothing(offered: list[dict[str, Any]], excluded: list[Exclusion], head: Checkpoint) -> str:
    if not offered:
        return "nothing is eligible: the warehouse knows no clip yet; deliver footage and run intake and refresh first"
    counts: dict[str, int] = {}
    for reason in (reason for exclusion in excluded for reason in exclusion.reasons):
        counts[reason] = counts.get(reason, 0) + 1
    said = ", ".join(f"{reason} ({count})" for reason, count in sorted(counts.items(), key=lambda r: (-r[1], r[0])))
    return f"nothing is eligible: {len(offered)} clips, ledger of {head.size} events; reasons: {said}"

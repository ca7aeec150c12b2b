"""Carrying withdrawals out: what is done to models, files and rows that one reached, in an order that a crash may cut.

First everything that serves: versions are tagged, then aliases leave them. Then the things made of the clips and by the
models, by policy; replacements are asked for; everything is read again; last a signed receipt says what was done. Every
step may be repeated: what is about to be touched is in the log before it is touched, and a withdrawal whose
re-reading finds anything left stays open until nothing is.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cached_property
from typing import Any
from urllib.parse import urlsplit

import pyarrow as pa
import pyarrow.compute as pc

from assets.consent import reach
from assets.consent.ledger import Ledger
from assets.consent.reach import error_line
from assets.consent.sealed_members import SealedSnapshots
from assets.consent.withdrawal_log import DONE, Item, Withdrawal, WithdrawalLog
from assets.home import Home
from assets.registry import Registry, Version
from assets.requests.store import propose
from assets.withdrawals import artifacts, lineage, receipt
from assets.withdrawals.artifacts import PARTS, RetentionPolicy
from assets.withdrawals.lineage import Model, downstream
from assets.withheld import RESTORATION, withheld

SERVING, REREAD = "serving", "reread"
MEDIA_CAUSES = {"revoke", "adjudicate"}  # a consent that merely ended says nothing about the delivered file


def without_passwords(text: str, *addresses: str) -> str:
    """A client's error names the address that it could not reach, with the password in it."""
    for password in filter(None, (urlsplit(address).password for address in addresses)):
        text = text.replace(f":{password}@", "@")
    return text


@dataclass
class Execution:
    """Everything that carrying out needs, opened once."""

    home: Home
    snapshots: SealedSnapshots
    log: WithdrawalLog
    clock: Callable[[], datetime]
    policy: RetentionPolicy = field(init=False)
    failing: dict[str, str] = field(default_factory=dict)  # what could not be done at this look, each with why

    def __post_init__(self) -> None:
        self.policy = RetentionPolicy.of(self.home)

    @cached_property
    def registry(self) -> Registry:
        return Registry(self.home)

    def versions(self) -> list[Version]:
        """What the registry says; raises where it cannot be asked, which leaves open what depends on it."""
        return self.registry.versions()

    @contextlib.contextmanager
    def apart(self, name: str) -> Iterator[None]:
        """What fails in the block is noted under its name, stays to be done, and holds up nothing else."""
        try:
            yield
        except Exception as error:  # a registry, a store or a database that cannot be reached, in their own words
            self.failing[name] = without_passwords(error_line(error), self.home.mlflow_uri, self.home.database_url)

    # -- what serves -------------------------------------------------------------------------------------------------

    def serve_no_more(self, open_ones: Iterable[Withdrawal]) -> None:
        """Tag the versions that these reach and take every alias from them; for all, before anything slower is done."""
        waiting = [withdrawal for withdrawal in open_ones if SERVING not in self.log.steps(withdrawal.number)]
        models = lineage.known_models(self.home, self.versions()) if waiting else []
        for withdrawal in waiting:
            with self.apart(f"withdrawal {withdrawal.id}"):
                if withdrawal.kind == RESTORATION:
                    detail = self._lift(withdrawal, models)
                else:
                    detail = self._taint(withdrawal, downstream(withdrawal.by_root, models))
                self.log.step_done(withdrawal.number, SERVING, detail, self.clock())

    def _taint(self, withdrawal: Withdrawal, causes: Mapping[str, str]) -> dict[str, Any]:
        """Versions that an alias points to come first; a first cause is never overwritten."""
        reached = [version for version in self.versions() if version.model_key in causes] if causes else []
        reached.sort(key=lambda version: (not version.aliases, int(version.number)))
        if not reached:
            return {"versions": {}, "aliases": {}}
        noted = [Item(f"version {v.number}", "versions", "tag", before=", ".join(v.aliases)) for v in reached]
        held = {alias: v.number for v in reached for alias in v.aliases}
        noted += [Item(f"alias {name}", "aliases", "take away", before=number) for name, number in held.items()]
        self.log.intend(withdrawal.number, noted, self.clock())
        for version in reached:
            lineage.taint(self.registry, version, causes[version.model_key])
        lineage.take_aliases(self.home, self.registry, held)
        for version in reached:
            lineage.detail(self.registry, version, withdrawal)
        taken = [item for item in self.log.items(withdrawal.number) if item.kind == "aliases"]
        names = {item.item.removeprefix("alias "): item.before for item in taken}
        aliases = {name: lineage.became_of(self.registry, name, before) for name, before in names.items()}
        return {"versions": {v.number: causes[v.model_key] for v in reached}, "aliases": aliases}

    def _lift(self, withdrawal: Withdrawal, models: list[Model]) -> dict[str, Any]:
        """Take the taint from versions that no withdrawal reaches any more. An alias is given back by the gate alone."""
        still = downstream(self.log.standing(), models)
        lifted = [v for v in self.versions() if lineage.tainted_here(v) and v.model_key not in still]
        self.log.intend(
            withdrawal.number, [Item(f"version {v.number}", "versions", "lift") for v in lifted], self.clock()
        )
        for version in lifted:
            lineage.lift(self.registry, version, withdrawal)
        numbers = [item.item.removeprefix("version ") for item in self.log.items(withdrawal.number)]
        return {"versions": dict.fromkeys(numbers, "taint lifted"), "aliases": {}}

    def taint_latecomers(self) -> list[str]:
        """Tag versions that were registered after the withdrawal that reaches them; returns their numbers."""
        standing = self.log.standing()
        versions = self.versions() if standing else []
        causes = downstream(standing, lineage.known_models(self.home, versions)) if versions else {}
        late = [v for v in versions if v.model_key in causes and not lineage.tainted_here(v)]
        if late:
            for version in late:
                lineage.taint(self.registry, version, causes[version.model_key])
            lineage.take_aliases(self.home, self.registry, {a: v.number for v in late for a in v.aliases})
            for version in late:
                lineage.detail(self.registry, version, self._reaching(version.model_key, versions))
        return [version.number for version in late]

    def _reaching(self, model_key: str, versions: list[Version]) -> Withdrawal:
        """The latest withdrawal that reaches a model."""
        models = lineage.known_models(self.home, versions)
        past = [withdrawal for withdrawal in self.log.withdrawals() if withdrawal.kind != RESTORATION]
        return next(withdrawal for withdrawal in reversed(past) if model_key in downstream(withdrawal.by_root, models))

    # -- everything else ---------------------------------------------------------------------------------------------

    def complete(self, withdrawal: Withdrawal) -> bool:
        """Carry out what is left of a withdrawal, read everything again and sign the receipt. False: something is left."""
        steps = self._restoring if withdrawal.kind == RESTORATION else self._withdrawing
        done = self.log.steps(withdrawal.number)
        for name, act in steps(withdrawal):
            detail = act()
            if name not in done:
                self.log.step_done(withdrawal.number, name, detail, self.clock())
        if left := self.left(withdrawal):
            return not left
        self.log.step_done(withdrawal.number, REREAD, {"left": 0}, self.clock())
        detail = receipt.issue(self.home, self.log, withdrawal, vars(self.policy))
        self.log.step_done(withdrawal.number, DONE, detail, self.clock())
        return True

    def _withdrawing(self, withdrawal: Withdrawal) -> list[tuple[str, Callable[[], dict[str, Any]]]]:
        return [
            ("checkpoint", lambda: receipt.checkpoint(self.home, withdrawal)),
            ("derived", lambda: self._put_away(withdrawal, self._derived(withdrawal))),
            ("generated", lambda: self._put_away(withdrawal, self._generated(withdrawal))),
            ("media", lambda: self._put_away(withdrawal, self._media(withdrawal))),
            ("replacement", lambda: self._ask_for_footage(withdrawal)),
            ("retrain", lambda: {"asked": bool(self._reached_keys(withdrawal))}),
        ]

    def _restoring(self, withdrawal: Withdrawal) -> list[tuple[str, Callable[[], dict[str, Any]]]]:
        return [
            ("checkpoint", lambda: receipt.checkpoint(self.home, withdrawal)),
            ("restored", lambda: {"items": self._bring_back(withdrawal)}),
        ]

    def _put_away(self, withdrawal: Withdrawal, items: list[Item]) -> dict[str, Any]:
        """Kept as intended first, so that the receipt names them although they are gone after a crash."""
        self.log.intend(withdrawal.number, items, self.clock())
        earlier = {item.item: self.log.sealed_as(item.item) for item in items if item.action == "delete"}
        artifacts.carry_out(self.home, withdrawal.id, items, earlier)
        return {}

    def _derived(self, withdrawal: Withdrawal) -> list[Item]:
        act = "seal" if withdrawal.only_held else self.policy.derived
        clip_ids = self._withheld(withdrawal)
        artifacts.forget_pages(self.home, clip_ids)
        before = [item for item in self._sealed_earlier(clip_ids) if act == "delete"]
        there = artifacts.made_of(self.home, clip_ids, act) + artifacts.rows_about(self.home, clip_ids, act)
        shown = [] if withdrawal.only_held else self._thumbnails(clip_ids)  # they are hidden while nothing is decided
        return list({item.item: item for item in [*before, *there, *shown]}.values())

    def _thumbnails(self, clip_ids: Collection[str]) -> list[Item]:
        files = {member.clip_id: member.facts.bytes_sha256 for member in self.snapshots.of_clips(clip_ids)}
        return artifacts.thumbnails_of(self.home, files)

    def _sealed_earlier(self, clip_ids: Iterable[str]) -> list[Item]:
        """What a dispute has sealed of these clips and what goes for good now; not what was brought back since."""
        theirs = set(clip_ids)
        return [
            Item(item.item, item.kind, "delete", item.clip_id)
            for item in self.log.sealed()
            if item.clip_id in theirs and item.kind != "media"
            if artifacts.is_sealed(self.home, item.item, self.log.sealed_as(item.item))
        ]

    def _generated(self, withdrawal: Withdrawal) -> list[Item]:
        act = "seal" if withdrawal.only_held else self.policy.generated
        keys = self._reached_keys(withdrawal)
        artifacts.forget_scratch(self.home, keys)
        artifacts.forget_runs(self.home, withdrawal.by_root)
        return artifacts.made_by(self.home, keys, act)

    def _media(self, withdrawal: Withdrawal) -> list[Item]:
        """The delivered files of which no clip may be used any more."""
        if self.policy.media == "keep" or not MEDIA_CAUSES & {cause.kind for cause in withdrawal.causes}:
            return []
        members = {member.media_key: member for member in self.snapshots.of_clips(self._withheld(withdrawal))}
        files = {key: member for key, member in members.items() if self.home.store.exists(key)}
        items = []
        for key, clips in artifacts.clips_of_files(self.home, files).items() if files else ():
            shared = self.snapshots.concerned((), {files[key].facts.bytes_sha256})
            clips |= {other.clip_id for other in self.snapshots.members(shared).values()}
            if clips <= set(withheld(self.home.database_url, clips)):
                items.append(Item(key, "media", self.policy.media, files[key].clip_id))
        return items

    def _withheld(self, withdrawal: Withdrawal) -> list[str]:
        """Its clips that were not given back to use since."""
        return sorted(withheld(self.home.database_url, withdrawal.clip_ids))

    def _reached_keys(self, withdrawal: Withdrawal) -> list[str]:
        return sorted(downstream(withdrawal.by_root, lineage.known_models(self.home, self.versions())))

    def _ask_for_footage(self, withdrawal: Withdrawal) -> dict[str, Any]:
        """Ask once for each clip, but not while a dispute is open: it may be dismissed."""
        if withdrawal.only_held:
            return {"proposals": []}
        reasons = {clip_id: why for (_, clip_id), why in withdrawal.reach.items()}
        clips = {m.clip_id: m.facts.item_id for m in self.snapshots.of_clips(reasons)}
        return {"proposals": replace_clips(self.home, clips, reasons)}

    def _bring_back(self, withdrawal: Withdrawal) -> list[str]:
        back = []
        free = set(withdrawal.clip_ids) - set(withheld(self.home.database_url, withdrawal.clip_ids))
        tainted = set(downstream(self.log.standing(), lineage.known_models(self.home, self.versions())))
        for past in (p for p in self.log.withdrawals() if set(p.clip_ids) & free and p.kind != RESTORATION):
            sealed = [item for item in self.log.items(past.number) if item.action == "seal"]
            due = [i for i in sealed if (i.clip_id in free if i.clip_id else artifacts.model_of(i) not in tainted)]
            back += artifacts.bring_back(self.home, past.id, due)
        return sorted(set(back))

    # -- reading again -----------------------------------------------------------------------------------------------

    def audit(self) -> None:
        """Put away what was made anew of withdrawn clips, or by tainted models, by a run that had begun before, and their
        files where their day was taken in again."""
        held, past = (
            withheld(self.home.database_url),
            {withdrawal.id: withdrawal for withdrawal in self.log.withdrawals()},
        )
        if not held:
            return
        made = artifacts.made_of(self.home, held, "delete") + artifacts.rows_about(self.home, held.keys(), "delete")
        made += self._thumbnails([clip_id for clip_id, name in held.items() if not past[name].only_held])
        for name in sorted({held[item.clip_id] for item in made if item.clip_id}):
            act = "seal" if past[name].only_held else self.policy.derived
            items = (item for item in made if held.get(item.clip_id) == name)
            acts = [item if item.kind in PARTS else replace(item, action=act) for item in items]
            self._put_away(past[name], acts)
        for withdrawal in (withdrawal for withdrawal in past.values() if withdrawal.kind != RESTORATION):
            self._put_away(withdrawal, self._media(withdrawal))  # there again where its day was taken in again
            if withdrawal.by_root.keys() & self.log.standing().keys():
                self._put_away(withdrawal, self._generated(withdrawal))

    def left(self, withdrawal: Withdrawal) -> list[str]:
        """Everything that this withdrawal reaches and that was not handled, found by reading all of it anew."""
        if withdrawal.kind == RESTORATION:
            return []
        versions = self.versions()
        causes = downstream(withdrawal.by_root, lineage.known_models(self.home, versions))
        reached = [version for version in versions if version.model_key in causes]
        left = [f"version {v.number} is not tagged" for v in reached if v.taint is None]
        left += [f"alias {alias} is on version {v.number}" for v in reached for alias in v.aliases]
        items = [*self._derived(withdrawal), *self._generated(withdrawal), *self._media(withdrawal)]
        left += [f"{key} is there" for key in artifacts.remains(self.home, items)]
        return left + self._unplanned(withdrawal)

    def _unplanned(self, withdrawal: Withdrawal) -> list[str]:
        """Snapshots that hold its clips without consent and that no withdrawal speaks of, by asking the ledger anew."""
        ledger = Ledger(self.home.database_url)
        head, standing = ledger.head(), self.log.standing()
        numbers = [member.number for member in self.snapshots.of_clips(withdrawal.clip_ids)]
        asked = reach.decide(
            ledger, self.snapshots, numbers, max(self.clock(), head.recorded_at or self.clock()), head.size
        )
        absent = [(root, clip) for root, clip in asked.reached if clip not in standing.get(root, ())]
        return [f"snapshot {root} holds {clip}" for root, clip in sorted(absent)]


# -- footage in place of what was withdrawn ----------------------------------------------------------------------------

DECLARED = (
    *("declared_subject", "declared_location", "declared_time_of_day", "declared_aspect_ratio"),
    "declared_duration_s",
)


def replace_clips(home: Home, items: Mapping[str, str], reasons: Mapping[str, tuple[str, ...]]) -> list[str]:
    """Keep a proposal for every clip (`items`: its delivered item); a clip is asked for once. Their identities."""
    table = home.lake.read("delivery_items", columns=["item_id", *DECLARED])
    wanted = pa.array(sorted(set(items.values())), pa.string())
    declared = {row["item_id"]: row for row in table.filter(pc.is_in(table["item_id"], wanted)).to_pylist()}
    proposals = [
        propose(
            home.database_url,
            origin="revocation_backfill",
            origin_ref=clip_id,
            text=request_line(declared.get(items[clip_id], {})),
            reason=f"clip {clip_id[:16]} left the training set: {', '.join(reasons[clip_id])}",
            target_units=1,
        )
        for clip_id in sorted(items)
    ]
    return [str(row["proposal_id"]) for row in proposals]


def request_line(item: Mapping[str, Any]) -> str:
    """A line that asks for what was declared of the lost footage."""
    subject, place = item.get("declared_subject") or "footage", item.get("declared_location")
    parts = [
        f"{subject} in {place}" if place else subject,
        item.get("declared_time_of_day"),
        item.get("declared_aspect_ratio"),
        f"{item['declared_duration_s']:g} seconds" if item.get("declared_duration_s") else None,
        "1 clip",
    ]
    return ", ".join(part for part in parts if part)

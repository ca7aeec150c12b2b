"""From one revocation to an alias that moved and a signed receipt, beside a great many clips, events and models.

`python -m tests.benchmarks closure --clips 1000000 --events 10000000` for the size that is promised. Everything that the
path touches is made by the platform's own code: sealed members, registered versions, the acting person's signed events,
the withdrawal. The rest of the ledger is filler: rows of the real tables, with real leaves under the real Merkle tree
and indexes, but loaded in bulk and with signatures of zeros, since signing ten million events takes hours.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from unittest.mock import patch

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from assets.consent import standing
from assets.consent.intake import Admitted, grow
from assets.consent.ledger import Ledger
from assets.consent.platform import platform_key
from assets.consent.sealed_members import SealedSnapshots, manifest_key, record_snapshot
from assets.consent.withdrawal_log import Mark, WithdrawalLog
from assets.database import writing
from assets.home import Home
from assets.model.published import COPIES, OVERALL, Scorecard, store_scorecard
from assets.registry import CHAMPION, MODEL, Registry
from assets.withdrawals import receipt
from assets.withdrawals.execute import Execution
from assets.withdrawals.plan import act_on_ledger
from tests.benchmarks.harness import load_average, wall_of
from tests.dbt.small_lake import digest
from training.consent import events as ev
from training.consent import merkle
from training.consent.canonical import canonical
from training.consent.eligibility import ClipFacts, decision_digest
from training.consent.keys import key_id_of, public_bytes
from training.consent.snapshot import ids_root, member_leaf
from training.consent.times import time_text

NOW = datetime.now(UTC).replace(microsecond=0)
SEALED = NOW - timedelta(days=1)
ACTING, OTHERS = "c-acting", 10  # the person who withdraws; clips a contributor besides
SENSOR_S, PROMISED_S = 10, 60
ZEROS, VECTOR = "0" * 128, [0.0] * 384


@dataclass
class World:
    """A home under construction; `acting` are the clips of the consent that will be revoked."""

    home: Home
    clips: int
    snapshots: int
    events: int
    key: Ed25519PrivateKey = field(default_factory=Ed25519PrivateKey.generate)
    acting: list[str] = field(default_factory=list)
    consent_id: str = ""

    @property
    def ledger(self) -> Ledger:
        return Ledger(self.home.database_url)

    @property
    def people(self) -> int:
        """How many other contributors there are."""
        return max(1, self.clips // OTHERS)

    @property
    def database(self) -> Path:
        return Path(self.home.database_url.removeprefix("sqlite:///"))


TERMS = {"notice_sha256": digest("notice"), "terms_sha256": digest("terms")}


# -- the ledger ------------------------------------------------------------------------------------------------------


def sign_for_real(world: World) -> None:
    """The acting person's key and two consents: one will be revoked, the other stands on clips of clean snapshots."""
    ledger, platform = world.ledger, platform_key(world.home)
    ledger.found(platform, SEALED)
    attested = ev.enrol(ACTING, key_id_of(public_bytes(world.key)), SEALED, evidence_sha256=digest("e"), officer="o-1")
    world.acting = [digest(f"acting-{index}") for index in range(OTHERS)]
    revocable = ev.grant(ACTING, "contributor", world.acting, ["train"], SEALED, **TERMS)
    kept = ev.grant(ACTING, "contributor", [digest("kept")], ["train"], SEALED, **TERMS)
    world.consent_id = revocable["consent_id"]
    bodies = (ev.register_key(ACTING, world.key, SEALED), revocable, kept)
    envelopes = [ev.sign(attested, platform), *(ev.sign(body, world.key) for body in bodies)]
    assert all(isinstance(outcome, Admitted) for outcome in ledger.append_many(envelopes, SEALED))
    ledger.engine.dispose()


def fill_ledger(world: World) -> None:
    """Grants by the other contributors, round and round, until the ledger is as long as asked."""
    ledger = world.ledger
    first = ledger.size()
    ledger.engine.dispose()
    with closing(sqlite3.connect(world.database, isolation_level=None)) as connection:
        # a home that is thrown away: no log, so that random inserts into an index dirty a page once, not each time
        for pragma in ("synchronous=OFF", "cache_size=-2000000", "temp_store=MEMORY", "journal_mode=OFF"):
            connection.execute(f"PRAGMA {pragma}").fetchall()
        kept = connection.execute(
            "SELECT type, name, sql FROM sqlite_master WHERE tbl_name IN ('consent_leaf', 'consent_event')"
            " AND type IN ('trigger', 'index') AND sql IS NOT NULL"
        ).fetchall()
        for kind, name, _ in kept:
            connection.execute(f"DROP {kind} {name}")  # both from the catalogue
        for start in range(first, world.events, 100_000):
            rows = list(_filler(world, start, min(start + 100_000, world.events)))
            connection.execute("BEGIN")
            connection.executemany("INSERT INTO consent_leaf VALUES (?, ?, ?)", [row[0] for row in rows])
            marks = ", ".join("?" * 11)
            connection.executemany(f"INSERT INTO consent_event VALUES ({marks})", [row[1] for row in rows])
            connection.execute("COMMIT")
        for _, _, sql in sorted(kept, key=lambda row: row[0]):
            connection.execute(sql)
        connection.execute("PRAGMA journal_mode=WAL").fetchall()
    with writing(ledger.engine) as connection:
        grow(connection)


def _filler(world: World, first: int, last: int) -> Iterator[tuple[tuple[Any, ...], tuple[Any, ...]]]:
    """Rows of both tables. A body differs from the next in its names alone, so it is cut out of one and put together."""
    people, recorded = world.people, time_text(SEALED)
    names = {"party_id": "PARTY", "event_id": "EVENT", "consent_id": "CONSENT", "assets": [digest("ASSET")]}
    model = ev.grant("PARTY", "contributor", names["assets"], ["train"], SEALED, **TERMS)
    body = canonical(model | names | {"actor": "PARTY"}).decode()
    end = f',"key_id":"{digest("filler")}","sig":"{ZEROS}"}}'
    signature = bytes.fromhex(ZEROS)
    for seq in range(first, last):
        party, consent, event = f"c-{seq % people:07d}", f"consent-{seq:08d}", f"event-{seq:08d}"
        text = body.replace("PARTY", party).replace("CONSENT", consent).replace("EVENT", event)
        text = text.replace(names["assets"][0], digest(f"clip-{seq % max(1, world.clips)}"))
        line, salt = f'{{"body":{text}{end}', hashlib.sha256(str(seq).encode()).digest()
        inner = hashlib.sha256(salt + recorded.encode() + text.encode() + signature).digest()
        leaf = hashlib.sha256(b"\x00" + inner).hexdigest()
        kept = (seq, event, "grant", party, consent, None, None, None, digest(line), salt, line)
        yield (seq, leaf, recorded), kept


# -- snapshots, models, footage --------------------------------------------------------------------------------------


def member(world: World, clip_id: str, contributor: str, consent_id: str) -> dict[str, Any]:
    facts = ClipFacts(
        clip_id=clip_id, item_id=f"i-{clip_id[:16]}", shot_index=0, bytes_sha256=digest(f"file of {clip_id}"),
        frames=(digest(f"frames of {clip_id}"),), contributor_id=contributor, faces_max=0, persons_counted=0,
        approvals=2, duplicate_ok=True, verdicts_ok=True, dup_group=clip_id,
    )  # fmt: skip
    return {
        "clip_id": clip_id, "item_id": facts.item_id, "shot_index": 0, "bytes_sha256": facts.bytes_sha256,
        "media_key": f"media/{facts.bytes_sha256}.mp4", "start_frame": 0, "end_frame": 24, "contributor_id": contributor,
        "dup_group": clip_id, "split": "train", "caption": f"a scene called {clip_id[:12]}", "caption_short": "a scene",
        "facts": facts.to_dict(), "consent_ids": [consent_id],
        "decision_digest": decision_digest(facts, "train", [consent_id]),
    }  # fmt: skip


def seal_all(world: World) -> list[str]:
    """Snapshots that share half of their clips with the next; the acting clips are in the first 60 of 100."""
    people, step, head = world.people, world.clips // world.snapshots, world.ledger.head()
    withdrawn = [member(world, clip_id, ACTING, world.consent_id) for clip_id in world.acting]
    kept = member(world, digest("kept"), ACTING, "consent-kept")
    before: list[dict[str, Any]] = []
    roots = []
    for index in range(world.snapshots):
        numbers = range(index * step, (index + 1) * step)
        fresh = [member(world, digest(f"clip-{n}"), f"c-{n % people:07d}", f"consent-{n:08d}") for n in numbers]
        members = [*before, *fresh, *(withdrawn if reached(world, index) else [kept])]
        members.sort(key=lambda row: row["clip_id"])
        root = merkle.root([member_leaf(row) for row in members]).hex()
        manifest = {
            "schema": "rushes.snapshot/2", "root": root, "ids_root": ids_root(row["clip_id"] for row in members),
            "purpose": "train", "territory": "*", "recipient": "*", "at": time_text(SEALED),
            "until": time_text(SEALED + timedelta(days=30)), "policy_version": "rushes.consent-policy/2",
            "ledger": {"size": head.size, "root": head.root}, "n": len(members), "members": members,
        }  # fmt: skip
        record_snapshot(world.home, manifest)
        data = canonical(manifest)
        world.home.store.put(manifest_key(root), data)
        # what the training guard shows at registration, in whole, is taken as shown here
        standing.remember(world.home, root, hashlib.sha256(data).hexdigest(), head, SEALED + timedelta(days=30))
        roots.append(root)
        before = fresh
    return roots


def reached(world: World, index: int) -> bool:
    return index < 0.6 * world.snapshots


def register_all(world: World, roots: list[str]) -> None:
    """One version a snapshot. Between 60 and 80 of 100 start from tainted ones, in chains; the last 20 are clean."""
    registry = Registry(world.home)
    registry.client.create_registered_model(MODEL)
    row = {
        "metric": COPIES, "slice": OVERALL, "value": 0.0, "ci_low": 0.0, "ci_high": 0.0, "n": 1, "unit": "1",
        "better": "none", "method": "benchmark", "state": "measured", "why": None,
    }  # fmt: skip
    tainted = sum(reached(world, index) for index in range(len(roots)))
    for index, root in enumerate(roots):
        key = f"m-{index:03d}"
        warm = tainted <= index < 0.8 * world.snapshots
        record = {"model_key": key, "snapshot_root": root, "parent_model": f"m-{index - 1:03d}" if warm else None}
        world.home.store.put(f"models/{key}/result.json", json.dumps(record | {"exposure": {root: ""}}).encode())
        store_scorecard(world.home, Scorecard(key, "h", [row]))
        tags = {"model_key": key, "snapshot_root": root, "gate": "passed", "taint": "none"}
        registry.client.create_model_version(MODEL, "file:///nowhere", tags=tags)
    registry.set_alias(CHAMPION, str(tainted))  # the newest that was trained on the acting clips themselves


def make_footage(world: World) -> None:
    """Pictures and latents of the acting clips, latents under every autoencoder; the lake's rows of all clips."""
    for clip_id in world.acting:
        world.home.store.put(f"frames/17f/{clip_id}.safetensors", b"pictures")
        world.home.store.put(f"media/{digest(f'file of {clip_id}')}.mp4", b"film")
        for index in range(world.snapshots):
            world.home.store.put(f"latents/codec-{index:03d}/{clip_id}.safetensors", b"latent")
    days, every = 100, [*world.acting, *(digest(f"clip-{n}") for n in range(world.clips))]
    for day in range(days):
        date = (datetime(2026, 1, 1, tzinfo=UTC) + timedelta(days=day)).date().isoformat()
        keys = [
            {"clip_id": clip, "item_id": f"i-{clip[:16]}", "shot_index": 0, "received_day": date}
            for clip in every[day::days]
        ]
        words = {"variant": 0, "sources_json": "[]", "captioner": "structured/1", "refused": []}
        captions = [
            row | words | {"kind": kind, "text": f"{kind} scene called {row['clip_id'][:12]}"}
            for row in keys
            for kind in ("short", "long")
        ]
        world.home.lake.write("captions", captions, date)
        vector = {"captioner": "structured/1", "variant": 0, "model": "benchmark", "vector": VECTOR}
        world.home.lake.write("embeddings", [row | vector for row in keys], date)


def remember_earlier_looks(world: World) -> None:
    """The sensor has read everything so far, as it does every ten seconds."""
    sealings = SealedSnapshots(world.home.database_url).sealings()
    mark = Mark(world.ledger.size(), SEALED, sealings[-1].number)
    WithdrawalLog(world.home.database_url).plan([], mark, (), SEALED)


# -- measuring -------------------------------------------------------------------------------------------------------


@contextmanager
def watching(*functions: tuple[Any, str]) -> Iterator[dict[str, float]]:
    """When each of these functions returned first, by its name."""
    marks: dict[str, float] = {}

    def noted(owner: Any, name: str) -> Callable[..., Any]:
        function = getattr(owner, name)

        def acted(*args: Any, **options: Any) -> Any:
            result = function(*args, **options)
            marks.setdefault(name, time.perf_counter())
            return result

        return acted

    with ExitStack() as stack:
        for owner, name in functions:
            stack.enter_context(patch.object(owner, name, noted(owner, name)))
        yield marks


def withdraw(world: World) -> dict[str, Any]:
    """One real revocation, and what the ledger sensor does with it."""
    home = world.home
    idle = [wall_of(lambda: act_on_ledger(home, world.ledger.size())) for _ in range(3)]
    size = world.ledger.size()
    body = ev.revoke(world.consent_id, ACTING, "contributor", NOW)
    watched = ((Registry, "set_alias"), (Execution, "serve_no_more"), (Execution, "left"), (receipt, "issue"))
    with watching(*watched) as marks:
        started = time.perf_counter()
        assert isinstance(world.ledger.append(ev.sign(body, world.key), NOW), Admitted)
        appended = time.perf_counter()
        actions = act_on_ledger(home, size, budget_s=600.0)
        ended = time.perf_counter()
    assert actions.unfinished == ()
    registry = Registry(home)
    aliases = {alias: version.number for version in registry.versions() for alias in version.aliases}
    execution = Execution(home, SealedSnapshots(home.database_url), WithdrawalLog(home.database_url), lambda: NOW)
    (withdrawal,) = execution.log.withdrawals()
    again = wall_of(lambda: execution.left(withdrawal))
    champion = registry.version(aliases[CHAMPION])
    return {
        "idle_look_s": round(statistics.median(idle), 3),
        "append_s": round(appended - started, 3),
        "append_to_alias_moved_s": round(marks["set_alias"] - started, 2),
        "append_to_alias_moved_with_sensor_interval_s": round(marks["set_alias"] - started + SENSOR_S, 2),
        "append_to_all_versions_described_s": round(marks["serve_no_more"] - started, 2),
        "append_to_everything_read_again_s": round(marks["left"] - started, 2),
        "append_to_receipt_signed_s": round(marks["issue"] - started, 2),
        "whole_look_s": round(ended - appended, 2),
        "closure_read_again_s": round(again, 2),
        "reached": {
            "clips": len(actions.affected_clips),
            "snapshots": len(actions.affected_snapshots),
            "versions": len(actions.tainted_versions),
        },
        "champion_before_and_after": [str(sum(reached(world, i) for i in range(world.snapshots))), champion.number],
        "champion_check_s": round(wall_of(lambda: standing.violations(home, champion.snapshot_root)), 3),
    }


def closure(
    clips: int = 20_000, snapshots: int = 20, events: int = 100_000, database_folder: Path | None = None
) -> dict[str, Any]:
    """Figures of one withdrawal in a home of so many sealed clips, snapshots (a model each) and events.

    `database_folder` is where the database lies, where it should not lie beside the home's files: a RAM disk, say.
    """
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="closure-"))
        world = World(Home.local(Path(folder) / "home"), clips, snapshots, events)
        if database_folder is not None:
            apart = stack.enter_context(tempfile.TemporaryDirectory(prefix="closure-", dir=database_folder))
            world.database.parent.mkdir(parents=True, exist_ok=True)
            world.database.symlink_to(Path(apart) / world.database.name)
        sign_for_real(world)
        roots: list[str] = []
        building = {
            "fill_ledger": lambda: fill_ledger(world),
            "seal": lambda: roots.extend(seal_all(world)),
            "register": lambda: register_all(world, roots),
            "lake_and_files": lambda: make_footage(world),
        }
        built = {f"{name}_s": round(wall_of(act), 1) for name, act in building.items()}
        remember_earlier_looks(world)
        figures = withdraw(world)
        database = world.database.stat().st_size
    return {
        "sealed_clips": clips,
        "snapshots": snapshots,
        "model_versions": snapshots,
        "ledger_events": events,
        "filler": "bulk-loaded rows with real leaves and tree, signatures of zeros; the acting person's events are signed",
        **figures,
        "promised": {"append_to_alias_moved_with_sensor_interval_s": PROMISED_S},
        "holds": figures["append_to_alias_moved_with_sensor_interval_s"] < PROMISED_S,
        "database_bytes": database,
        "database_folder": str(database_folder or "beside the home's files"),
        "building": built,
        "load_average_at_end": load_average(),
    }

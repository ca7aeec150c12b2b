"""Small worlds for tests, from one signature to a home in which a withdrawal has much to do.

`SmallWorld` makes folders of deliveries for tests that run the graph: real encoded scenes, real signatures. `World` writes
the rows of curation by hand, with real consent, reviews and a mart: for the stages behind curation. `Reached` is such a home
with sealed clips, three versions, and everything made of and by them.
"""

from __future__ import annotations

import copy
import functools
import hashlib
import itertools
import json
import shutil
import tempfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb

from assets.consent import platform, reviews
from assets.consent.clips import Clip, digest, read_clips
from assets.consent.eligibility import decide
from assets.consent.intake import Admitted
from assets.consent.ledger import Ledger
from assets.consent.review_queue import review_queue
from assets.consent.reviews import submit_review
from assets.home import Home
from tests.rows import DAY, STREET, blank, media_key
from tests.training.consent.people import key_of
from training.consent import events
from training.consent.keys import key_id_of, public_bytes
from training.data.video import write_mp4
from training.simulate import random_scene, render

if TYPE_CHECKING:
    from assets.registry import Registry

SIGNED_AT, REVIEWED_AT = datetime(2026, 11, 1, 12, tzinfo=UTC), datetime(2026, 11, 2, tzinfo=UTC)
NOTICE = hashlib.sha256(b"notice").hexdigest()
REVIEWERS = ("v-1", "v-2")
WIDTH, HEIGHT, FPS, FRAMES = 160, 96, 10.0, 24


# -- people ------------------------------------------------------------------------------------------------------------


def registration(party: str, at: datetime = SIGNED_AT) -> events.Envelope:
    return events.sign(events.register_key(party, key_of(party), at, event_id=f"event-key-{party}"), key_of(party))


def enrol(home: Home, *parties: str, now: datetime = SIGNED_AT) -> None:
    """An officer of this home verified that these parties hold their keys."""
    for party in parties:
        key_id = key_id_of(public_bytes(key_of(party)))
        platform.enrol(home, party, key_id, officer="o-ida", evidence_sha256=NOTICE, now=now)


def enrol_reviewers(database_url: str, *names: str, organisation: str | None = None) -> None:
    """Put these names on the register of reviewers, each of an organisation of their own unless it is given."""
    for name in names:
        at = datetime(2026, 11, 1, 9, tzinfo=UTC)
        reviews.enrol_reviewer(database_url, name, organisation or f"org-of-{name}", by="o-ida", now=at)


def approve_all(home: Home) -> None:
    """Two reviewers approve whatever waits for them; no face in it is anybody's."""
    enrol_reviewers(home.database_url, *REVIEWERS)
    for row in review_queue(home):
        clip = {name: row[name] for name in ("clip_id", "item_id", "shot_index", "digest")}
        verdict = {"verdict": "approve", "persons_counted": 0, "non_identifiable": row["faces_max"] or 0}
        for reviewer in REVIEWERS:
            submit_review(home.database_url, reviewer_id=reviewer, now=datetime.now(UTC), **clip, **verdict)


def grant_for(party: str, digests: list[str], consent_id: str, **terms: Any) -> events.Envelope:
    body = events.grant(
        party,
        "contributor",
        digests,
        terms.pop("scopes", ["train"]),
        SIGNED_AT,
        notice_sha256=NOTICE,
        terms_sha256=NOTICE,
        consent_id=consent_id,
        event_id=f"event-{consent_id}",
        **terms,
    )
    return events.sign(body, key_of(party))


def revocation_of(party: str, consent_id: str, at: datetime) -> events.Envelope:
    return events.sign(events.revoke(consent_id, party, "contributor", at), key_of(party))


# -- folders of deliveries -----------------------------------------------------------------------------------------------


@dataclass
class SmallWorld:
    """Folders of deliveries below `root`, each ready for the inbox; `consents` by file name."""

    root: Path
    consents: dict[str, str] = field(default_factory=dict)

    def delivery(self, name: str, contributor: str, seeds: list[int], day: str, consented: bool = True) -> Path:
        """A delivery folder of simulated scenes with a signed consent that covers them."""
        folder = self.root / name
        folder.mkdir(parents=True)
        clips, digests = [], []
        for seed in seeds:
            scene = random_scene(seed)
            path = write_mp4(folder / f"scene-{seed}.mp4", render(scene, WIDTH, HEIGHT, FRAMES, FPS), FPS)
            digests.append(hashlib.sha256(path.read_bytes()).hexdigest())
            clips.append(self._declared(path.name, scene.caption(), scene.time_of_day))
        manifest = {
            "schema": "rushes.delivery/1",
            "delivery_id": name,
            "contributor_id": contributor,
            "request_id": None,
            "received_at": f"{day}T09:00:00Z",
            "clips": clips,
        }
        (folder / "delivery.json").write_text(json.dumps(manifest))
        if consented:
            consent_id = f"consent-{name}"
            (folder / "consent").mkdir()
            envelopes = [registration(contributor), grant_for(contributor, digests, consent_id)]
            (folder / "consent" / "signed.json").write_text(json.dumps(envelopes))
            self.consents[name] = consent_id
        return folder

    @staticmethod
    def _declared(name: str, caption: str, time_of_day: str) -> dict[str, Any]:
        return {
            "file": name,
            "subject": caption,
            "location": "a simulation",
            "time_of_day": time_of_day,
            "resolution": f"{WIDTH}x{HEIGHT}",
            "aspect_ratio": "5:3",
            "length_s": FRAMES / FPS,
            "device": "simulator",
            "persons": [],
        }


# -- homes made by hand --------------------------------------------------------------------------------------------------


@dataclass
class World:
    """Each `deliver` adds one contributor with simulated clips; `settle` reviews all and writes lake and mart."""

    home: Home
    names: set[str] = field(default_factory=set)  # people with a key in the ledger
    tables: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    grants: dict[str, tuple[str, str]] = field(default_factory=dict)  # clip_id -> (consent_id, contributor)

    @functools.cached_property
    def ledger(self) -> Ledger:
        return platform.platform_ledger(self.home)

    def deliver(
        self, contributor_id: str, clips: int = 2, *, consent: bool = True, simulated: bool = True
    ) -> list[str]:
        """Simulated clips of 64x64, one a file, with everybody's consent unless `consent` is false; their ids."""
        made = [self._clip(contributor_id, index, simulated) for index in range(clips)]
        if consent:
            for clip_id in made:
                self.grant(clip_id, contributor_id)
        return made

    def settled(self) -> World:
        """Four contributors with two consented, reviewed clips each."""
        for name in ("c-1", "c-2", "c-3", "c-4"):
            self.deliver(name)
        self.settle()
        return self

    @property
    def people(self) -> dict[str, Any]:
        """All of it but the home."""
        return {"names": self.names, "tables": self.tables, "grants": self.grants}

    def over(self, home: Home) -> World:
        """The same world over a copy of its home."""
        return World(home, **copy.deepcopy(self.people))

    def _clip(self, contributor_id: str, index: int, simulated: bool) -> str:
        subject, caption, clip_id, data = _filmed(f"{contributor_id}/{index}")
        item_id, digest = f"i-{contributor_id}-{index}", hashlib.sha256(data).hexdigest()
        clip, where = {"clip_id": clip_id, "item_id": item_id}, {"bytes_sha256": digest, "media_key": media_key(digest)}
        self.home.store.put(where["media_key"], data)
        self._add(
            "delivery_items", item_id=item_id, delivery_id=f"d-{contributor_id}", contributor_id=contributor_id,
            position=index, file_name=f"{index}.mp4", declared_subject=subject, persons_json="[]", state="accepted",
            source_name="simulated scene" if simulated else "a film",
        )  # fmt: skip
        self._add("media", item_id=item_id, **where, fps=12.0, rotation_deg=0, state="accepted", probe_version="test")
        self._add("shots", **clip, **where, end_frame=24, end_s=2.0, boundary="end")
        size = {"width": 64, "height": 64, "duration_s": 2.0, "fps": 12.0}
        self._add("signals", **clip, **size, faces_max=0, camera_motion="static")
        self._add("duplicates", **clip, **STREET["duplicates"], dup_group=clip_id, original_item_id=item_id)
        for kind, text in (("short", subject), ("long", caption)):
            self._add("captions", **clip, **STREET["captions"], kind=kind, text=text)
        self._add("verdicts", **clip, **STREET["verdicts"])
        return clip_id

    def _add(self, table: str, **values: Any) -> None:
        self.tables.setdefault(table, []).append(blank(table, **values))

    def grant(self, clip_id: str, contributor_id: str, **terms: Any) -> None:
        now = terms.pop("now", None) or datetime.now(UTC)
        body = events.grant(
            contributor_id, "contributor", [clip_id], terms.pop("scopes", ("review", "train")), now,
            notice_sha256=terms.pop("notice", NOTICE), terms_sha256=NOTICE, **terms,
        )  # fmt: skip
        self.grants[clip_id] = (body["consent_id"], contributor_id)
        self._append(contributor_id, body, now)

    def revoke(self, clip_id: str) -> None:
        consent_id, contributor_id = self.grants[clip_id]
        now = datetime.now(UTC)
        self._append(contributor_id, events.revoke(consent_id, contributor_id, "contributor", now), now)

    def _append(self, actor: str, body: Mapping[str, Any], now: datetime) -> None:
        if actor not in self.names:
            self.names.add(actor)
            enrol(self.home, actor, now=now)
            assert isinstance(self.ledger.append(registration(actor, now - timedelta(seconds=1)), now), Admitted)
        outcome = self.ledger.append(events.sign(body, key_of(actor)), now)
        assert isinstance(outcome, Admitted), outcome

    def release(self, party: str, role: str, clip_id: str) -> None:
        """Somebody else whom the clip needs agrees to training."""
        now = datetime.now(UTC)
        body = events.grant(party, role, [clip_id], ["train"], now, notice_sha256=NOTICE, terms_sha256=NOTICE)
        self._append(party, body, now)

    def clip(self) -> Clip:
        """The only clip, as it is now."""
        (clip,) = read_clips(self.home)
        return clip

    def review(self, reviewer: str, verdict: str = "approve", *reasons: str, **more: Any) -> int:
        """A judgement of the only clip, or of `clip`."""
        clip = more.pop("clip", None) or self.clip()
        key = dict(zip(("clip_id", "item_id", "shot_index"), clip.key, strict=True))
        codes = reasons or (("quality.focus",) if verdict == "reject" else ())
        values = {"verdict": verdict, "reasons": codes, "persons_counted": 0, "now": REVIEWED_AT} | more
        return submit_review(self.home.database_url, reviewer_id=reviewer, digest=digest(clip), **key, **values)

    def reasons(self, now: datetime | None = None) -> tuple[str, ...]:
        """All reasons against the only clip."""
        ((_, decision),) = decide(self.home, "train", now or datetime.now(UTC))
        assert decision.eligible == (not decision.reasons)
        return decision.reasons

    def settle(self, *, review: bool = True, forced: Iterable[str] = ()) -> None:
        """Write the lake, let two reviewers approve what they are asked about, and write the mart as rules decide.

        `forced` clips are eligible in the mart whatever the rules say: an edited mart.
        """
        for table, rows in self.tables.items():
            self.home.lake.write(table, rows, DAY if table != "duplicates" else None)
        enrol_reviewers(self.home.database_url, *REVIEWERS)
        if review:
            approve_all(self.home)
        self.write_mart(forced)

    def leave_out(self, clip_id: str) -> None:
        """As if curation had found something against the clip since."""
        with duckdb.connect(str(self.home.warehouse_path)) as connection:
            change = "update mart_training_eligibility set eligible = false, reasons = ['test'] where clip_id = ?"
            connection.execute(change, [clip_id])

    def write_mart(self, forced: Iterable[str] = ()) -> None:
        self.home.warehouse_path.unlink(missing_ok=True)
        forced = set(forced)
        with duckdb.connect(str(self.home.warehouse_path)) as connection:
            connection.execute(
                "create table mart_training_eligibility"
                " (clip_id text, item_id text, shot_index bigint, eligible boolean, reasons text[])"
            )
            for facts, decision in decide(self.home, "train", datetime.now(UTC)):
                decided = (True, []) if facts.clip_id in forced else (decision.eligible, list(decision.reasons))
                connection.execute(
                    "insert into mart_training_eligibility values (?, ?, ?, ?, ?)",
                    [facts.clip_id, facts.item_id, facts.shot_index, *decided],
                )


@functools.cache
def _filmed(name: str) -> tuple[str, str, str, bytes]:
    """A simulated clip of 24 frames, 64x64, of its own seed: subject, caption, digest of its frames, MP4 file."""

    scene = random_scene(int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "big"))
    frames = render(scene, 64, 64, 24, 12.0)
    with tempfile.TemporaryDirectory() as folder:
        data = write_mp4(Path(folder) / "clip.mp4", frames, 12.0).read_bytes()
    return scene.subject(), scene.caption(), hashlib.sha256(frames.tobytes()).hexdigest(), data


# -- what a withdrawal reaches -------------------------------------------------------------------------------------------


Copy = Callable[[], "Reached"]


@dataclass
class Reached:
    """A home, the clip that is about to be withdrawn, and the ledger's size before that."""

    world: World
    clip: str
    root: str
    size: int

    @property
    def home(self) -> Home:
        return self.world.home

    @property
    def registry(self) -> Registry:
        from assets.registry import Registry

        return Registry(self.home)

    @property
    def media_key(self) -> str:
        return str(next(row["media_key"] for row in self.world.tables["shots"] if row["clip_id"] == self.clip))

    def copies(self, folder: Path) -> Copy:
        """Makes copies, each over a home of its own below the folder."""
        numbers = itertools.count()

        def copy() -> Reached:
            home = Home.local(folder / f"home-{next(numbers)}", vendor=self.home.vendor)
            shutil.copytree(self.home.state, home.state, dirs_exist_ok=True)
            return replace(self, world=self.world.over(home))

        return copy


def reached(home: Home) -> Reached:
    """A clean version, the champion that was trained on the clip, a candidate warm-started from that.

    The home has the database of a registry.
    """
    from assets.dataset.snapshot import build
    from assets.registry import CANDIDATE, CHAMPION, Registry

    world = World(home).settled()
    sealed = build(home, datetime.now(UTC)).sealed
    clip = sealed.clip_ids[0]
    world.leave_out(clip)
    clean = build(home, datetime.now(UTC)).sealed
    register(home, "m-clean", clean.root)
    champion = register(home, "m-1", sealed.root)
    candidate = register(home, "m-2", clean.root, "m-1")
    Registry(home).set_alias(CHAMPION, champion)
    Registry(home).set_alias(CANDIDATE, candidate)
    things_of(home, clip, "m-1")
    platform.checkpoint_key(home)  # made now, so that copies sign alike
    return Reached(world, clip, sealed.root, world.ledger.size())


def register(home: Home, key: str, root: str, parent: str | None = None, **tags: str) -> str:
    """A trained and registered model that passed the gate and copied nothing; its version."""
    from assets.model.published import COPIES, OVERALL, Scorecard, store_scorecard
    from assets.registry import MODEL, Registry

    row = {
        "metric": COPIES, "slice": OVERALL, "value": 0.0, "ci_low": 0.0, "ci_high": 0.0, "n": 1, "unit": "1",
        "better": "none", "method": "test", "state": "measured", "why": None,
    }  # fmt: skip
    store_scorecard(home, Scorecard(key, "h", [row]))
    record = {"model_key": key, "snapshot_root": root, "parent_model": parent}
    home.store.put(f"models/{key}/result.json", json.dumps(record).encode())
    named = {"model_key": key, "snapshot_root": root, "gate": "passed", "taint": "none", "ledger_checkpoint": "1:ab"}
    return str(Registry(home).client.create_model_version(MODEL, "file:///nowhere", tags=named | tags).version)


def things_of(home: Home, clip: str, model_key: str) -> None:
    """Everything that later stages make of a clip and by a model, under the names that they use."""
    home.store.put(f"frames/17f/{clip}.safetensors", b"pictures")
    for codec in ("codec-a", "codec-b"):
        home.store.put(f"latents/{codec}/{clip}.safetensors", b"latent")
    home.store.put(f"samples/{model_key}/s-1.mp4", b"sample")
    home.store.put(f"release/{model_key}/s-1.mp4", b"marked sample")
    home.store.put(f"release/{model_key}/manifest.json", b"{}")
    row = {"prompt": "p", "seed": 1, "frames": 5, "fps": 8.0, "width": 64, "height": 64}
    sample = row | {"sample_id": "s-1", "model_key": model_key, "media_key": f"samples/{model_key}/s-1.mp4"}
    home.lake.write("samples", [sample])
    where = ("clip_id", "item_id", "shot_index", "received_day")
    clips = [{name: shot[name] for name in where} for shot in home.lake.rows("shots", DAY)]
    vector = {"captioner": "structured/1", "variant": 0, "model": "test", "vector": [0.0] * 384}
    home.lake.write("embeddings", [clip | vector for clip in clips], DAY)
    seen = {"start_frame": 0, "captioner": "visual/m/prompt-1", "variant": 0, "frame": 4, "text": "a wall"}
    home.lake.write("visual_captions", [clip | seen for clip in clips], DAY)

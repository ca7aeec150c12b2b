"""A small world made by hand for the stages behind curation: footage, people with keys, reviews and a mart."""

from __future__ import annotations

import functools
import hashlib
import sys
import tempfile
import types
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from assets.home import Home
from tests.reviewers import enrol_reviewers
from tests.rows import DAY, STREET, blank, media_key

SHA = "0" * 64


@dataclass
class World:
    """Each `deliver` adds one contributor with simulated clips; `settle` reviews all and writes lake and mart."""

    home: Home
    keys: dict[str, Ed25519PrivateKey] = field(default_factory=dict)
    tables: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    grants: dict[str, tuple[str, str]] = field(default_factory=dict)  # clip_id -> (consent_id, contributor)

    @functools.cached_property
    def ledger(self) -> Any:
        from assets.consent.platform import platform_ledger

        return platform_ledger(self.home)

    def deliver(
        self, contributor_id: str, clips: int = 2, *, consent: bool = True, simulated: bool = True
    ) -> list[str]:
        """Simulated clips of 64x64, one a file, with everybody's consent unless `consent` is false; their ids."""
        made = [self._clip(contributor_id, index, simulated) for index in range(clips)]
        if consent:
            for clip_id in made:
                self.grant(clip_id, contributor_id)
        return made

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
        from training.consent import events

        now = terms.pop("now", None) or datetime.now(UTC)
        body = events.grant(
            contributor_id, "contributor", [clip_id], terms.pop("scopes", ("review", "train")), now,
            notice_sha256=terms.pop("notice", SHA), terms_sha256=SHA, **terms,
        )  # fmt: skip
        self.grants[clip_id] = (body["consent_id"], contributor_id)
        self._append(contributor_id, body, now)

    def revoke(self, clip_id: str) -> None:
        from training.consent import events

        consent_id, contributor_id = self.grants[clip_id]
        now = datetime.now(UTC)
        self._append(contributor_id, events.revoke(consent_id, contributor_id, "contributor", now), now)

    def _append(self, actor: str, body: Mapping[str, Any], now: datetime) -> None:
        from assets.consent.intake import Admitted
        from assets.consent.platform import enrol
        from training.consent import events
        from training.consent.keys import key_id_of, public_bytes

        if actor not in self.keys:
            self.keys[actor] = Ed25519PrivateKey.generate()
            key_id = key_id_of(public_bytes(self.keys[actor]))
            enrol(self.home, actor, key_id, officer="o-ida", evidence_sha256=SHA, now=now)
            registration = events.register_key(actor, self.keys[actor], now - timedelta(seconds=1))
            assert isinstance(self.ledger.append(events.sign(registration, self.keys[actor]), now), Admitted)
        outcome = self.ledger.append(events.sign(body, self.keys[actor]), now)
        assert isinstance(outcome, Admitted), outcome

    def settle(self, *, review: bool = True, forced: Iterable[str] = ()) -> None:
        """Write the lake, let two reviewers approve what they are asked about, and write the mart as rules decide.

        `forced` clips are eligible in the mart whatever the rules say: an edited mart.
        """
        from assets.consent.review_queue import review_queue
        from assets.consent.reviews import submit_review

        enrol_reviewers(self.home.database_url, "v-1", "v-2")
        for table, rows in self.tables.items():
            self.home.lake.write(table, rows, DAY if table != "duplicates" else None)
        asked = review_queue(self.home) if review else []
        for row in asked:
            for reviewer in ("v-1", "v-2"):
                submit_review(
                    self.home.database_url, reviewer_id=reviewer, verdict="approve", persons_counted=0,
                    now=datetime.now(UTC), **{k: row[k] for k in ("clip_id", "item_id", "shot_index", "digest")},
                )  # fmt: skip
        self.write_mart(forced)

    def write_mart(self, forced: Iterable[str] = ()) -> None:
        import duckdb

        from assets.consent.clip_facts import decide

        self.home.warehouse_path.unlink(missing_ok=True)
        forced = set(forced)
        with duckdb.connect(str(self.home.warehouse_path)) as connection:
            connection.execute(
                "create table mart_training_eligibility"
                " (clip_id text, item_id text, shot_index bigint, eligible boolean, reasons text[])"
            )
            for facts, decision in decide(self.home, "train", datetime.now(UTC)):
                said = (True, []) if facts.clip_id in forced else (decision.eligible, list(decision.reasons))
                connection.execute(
                    "insert into mart_training_eligibility values (?, ?, ?, ?, ?)",
                    [facts.clip_id, facts.item_id, facts.shot_index, *said],
                )


@functools.cache
def _filmed(name: str) -> tuple[str, str, str, bytes]:
    """A simulated clip of 24 frames, 64x64, of its own seed: subject, caption, digest of its frames, MP4 file."""
    from training.data.video import write_mp4
    from training.simulate import random_scene, render

    scene = random_scene(int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "big"))
    frames = render(scene, 64, 64, 24, 12.0)
    with tempfile.TemporaryDirectory() as folder:
        data = write_mp4(Path(folder) / "clip.mp4", frames, 12.0).read_bytes()
    return scene.subject(), scene.caption(), hashlib.sha256(frames.tobytes()).hexdigest(), data


@pytest.fixture
def world(home: Home) -> World:
    """An empty world over an empty home."""
    return World(home)


@pytest.fixture
def small_world(world: World) -> World:
    """Four contributors with two consented, reviewed clips each."""
    for name in ("c-1", "c-2", "c-3", "c-4"):
        world.deliver(name)
    world.settle()
    return world


@pytest.fixture
def sampler(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """A sampler in the place of the trained model: grey pictures by seed. Lists the calls it got."""
    import numpy as np

    from training.data.video import write_mp4

    calls: list[dict[str, Any]] = []

    def generate(model_dir: Path, text_encoder: Path, prompts: list[str], out: Path, **options: Any) -> list[Any]:
        calls.append({"model_dir": model_dir, "prompts": prompts, **options})
        clips = [np.full((5, 64, 64, 3), 40 + 10 * seed, np.uint8) for seed in options["seeds"]]
        return [{"path": str(write_mp4(out / f"{i}.mp4", frames, 8))} for i, frames in enumerate(clips)]

    stand_in = types.ModuleType("training.sample")
    stand_in.generate = generate  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "training.sample", stand_in)
    return calls

"""A world in which a withdrawal has much to do: sealed clips, three versions, and everything made of and by them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from assets.consent.ledger import Ledger
from assets.consent.platform import checkpoint_key
from assets.dataset.snapshot import build
from assets.home import Home
from assets.model.scorecards import COPIES, OVERALL, Scorecard, store_scorecard
from assets.registry.versions import CANDIDATE, CHAMPION, MODEL, Registry
from tests.assets.conftest import DAY, World


@dataclass
class Reached:
    """A home, the clip that is about to be withdrawn, and the ledger's size before that."""

    world: World
    home: Home
    clip: str
    root: str
    size: int

    @property
    def registry(self) -> Registry:
        return Registry(self.home)

    @property
    def media_key(self) -> str:
        return str(next(row["media_key"] for row in self.world.tables["shots"] if row["clip_id"] == self.clip))


def register(home: Home, key: str, root: str, parent: str | None = None) -> str:
    """A trained and registered model that passed the gate and copied nothing; its version."""
    row = {
        "metric": COPIES, "slice": OVERALL, "value": 0.0, "ci_low": 0.0, "ci_high": 0.0, "n": 1, "unit": "1",
        "better": "none", "method": "test", "state": "measured", "why": None,
    }  # fmt: skip
    store_scorecard(home, Scorecard(key, "h", [row]))
    record = {"model_key": key, "snapshot_root": root, "parent_model": parent}
    home.store.put(f"models/{key}/result.json", json.dumps(record).encode())
    tags = {"model_key": key, "snapshot_root": root, "gate": "passed", "taint": "none", "ledger_checkpoint": "1:ab"}
    return str(Registry(home).client.create_model_version(MODEL, "file:///nowhere", tags=tags).version)


def leave_out(home: Home, clip: str) -> None:
    """As if curation had found something against the clip since."""
    import duckdb

    with duckdb.connect(str(home.warehouse_path)) as connection:
        said = "update mart_training_eligibility set eligible = false, reasons = ['test'] where clip_id = ?"
        connection.execute(said, [clip])


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
    shots = home.lake.rows("shots", DAY)
    where = ("clip_id", "item_id", "shot_index", "received_day")
    vector = {"captioner": "structured/1", "variant": 0, "model": "test", "vector": [0.0] * 384}
    vectors = [{name: shot[name] for name in where} | vector for shot in shots]
    home.lake.write("embeddings", vectors, DAY)
    seen = {"start_frame": 0, "captioner": "visual/m/prompt-1", "variant": 0, "frame": 4, "text": "a wall"}
    home.lake.write("visual_captions", [{name: shot[name] for name in where} | seen for shot in shots], DAY)


@pytest.fixture(scope="session")
def empty_registry(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated MLflow database with nothing in it: making one takes seconds."""
    home = Home.local(tmp_path_factory.mktemp("template"))
    Registry(home).client.create_registered_model(MODEL)
    return home.state / "mlflow.db"


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory, empty_registry: Path) -> Reached:
    """Built once: a clean version, the champion that was trained on the clip, a candidate warm-started from that."""
    home = Home.local(tmp_path_factory.mktemp("withdrawal") / "home")
    world = World(home)
    for name in ("c-1", "c-2", "c-3", "c-4"):
        world.deliver(name)
    world.settle()
    shutil.copyfile(empty_registry, home.state / "mlflow.db")
    sealed = build(home, datetime.now(UTC)).sealed
    clip = sealed.clip_ids[0]
    leave_out(home, clip)
    clean = build(home, datetime.now(UTC)).sealed
    register(home, "m-clean", clean.root)
    champion = register(home, "m-1", sealed.root)
    candidate = register(home, "m-2", clean.root, "m-1")
    Registry(home).set_alias(CHAMPION, champion)
    Registry(home).set_alias(CANDIDATE, candidate)
    things_of(home, clip, "m-1")
    checkpoint_key(home)  # made now, so that copies sign alike
    return Reached(world, home, clip, sealed.root, Ledger(home.database_url).size())


Copy = Callable[[], Reached]


@pytest.fixture
def copied(template: Reached, tmp_path: Path) -> Copy:
    """A copy of the template in a folder of its own, with the people's keys."""
    made: list[Any] = []

    def one() -> Reached:
        folder = tmp_path / f"home-{len(made)}"
        shutil.copytree(template.home.state, folder)
        home = Home.local(folder, vendor=template.home.vendor)
        world = World(home, dict(template.world.keys), template.world.tables, dict(template.world.grants))
        made.append(home)
        return Reached(world, home, template.clip, template.root, template.size)

    return one

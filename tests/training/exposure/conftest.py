"""Two snapshots of other clips in one ledger, a parent trained on the older one, and ways to hide what it saw."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file

from tests.training.conftest import TrainingWorld, copied, make_world
from training.config import TrainConfig
from training.fit import fit
from training.model import exposure
from training.trainer.metrics import RunLogger

Result = dict[str, Any]


def run(config: TrainConfig, until: int | None = None) -> tuple[int, Result]:
    code = fit(config, RunLogger(Path(config.run_dir)), until)
    return code, json.loads((Path(config.run_dir) / "result.json").read_text())


def refusal(config: TrainConfig) -> str:
    """The code for which the run refuses as a whole."""
    code, result = run(config)
    assert code == 3, result
    assert set(result["reasons"]) == {"*"}
    return result["reasons"]["*"][0]


def seen_by(path: Path) -> set[str]:
    return set(exposure.of_weights(path))


@pytest.fixture(scope="session")
def first_worlds(tmp_path_factory: pytest.TempPathFactory) -> tuple[TrainingWorld, TrainingWorld]:
    """Built once, to be copied: with a finished codec that saw the older one, and a run that stopped half-way."""
    root = tmp_path_factory.mktemp("worlds")
    older = make_world(root / "older", clips=6)
    newer = make_world(root / "newer", clips=6, first=6, people=older.people)
    assert run(older.config("parent", steps=2))[0] == 0
    assert run(older.config("half", steps=4), until=2)[1]["stopped"] == "interrupted after step 2"
    older.people.ledger.engine.dispose()
    return older, newer


@pytest.fixture
def older(first_worlds: tuple[TrainingWorld, TrainingWorld], tmp_path: Path) -> TrainingWorld:
    return copied(first_worlds[0], tmp_path / "older")


@pytest.fixture
def newer(first_worlds: tuple[TrainingWorld, TrainingWorld], older: TrainingWorld, tmp_path: Path) -> TrainingWorld:
    """Another snapshot of other clips, in the same ledger."""
    world = copied(first_worlds[1], tmp_path / "newer")
    world.people = older.people
    return world


@pytest.fixture
def parent(older: TrainingWorld) -> Path:
    """A finished codec that saw the older snapshot."""
    return older.root / "parent"


def ancestor(world: TrainingWorld) -> dict[str, str]:
    return {"root": world.snapshot_root, "manifest": str(world.manifest)}


def child(newer: TrainingWorld, older: TrainingWorld, parent: Path, **changes: Any) -> TrainConfig:
    values = {"steps": 2, "parent_dir": str(parent), "ancestors": [ancestor(older)]}
    return newer.config("child", **values | changes)


def both(older: TrainingWorld, newer: TrainingWorld) -> list[str]:
    return sorted([older.snapshot_root, newer.snapshot_root])


def edit(path: Path, change: Callable[[Result], None]) -> None:
    record = json.loads(path.read_text())
    change(record)
    path.write_text(json.dumps(record))


def strip(path: Path) -> None:
    """Write the weights anew, without a word of what they saw."""
    save_file(load_file(path), path)

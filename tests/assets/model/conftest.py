"""A sealed snapshot with renditions, a real registry database, a tiny base, and a scripted process in training's place."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from assets.dataset import renditions
from assets.dataset.sealed import Sealed, current
from assets.dataset.snapshot import build
from assets.home import Home
from assets.model import config
from tests.worlds import World
from training.consent.times import now_utc

BASE = "base-0123456789ab"
ROOT = "ab" * 32


def publish(home: Home, key: str, parent: str | None = None, **changes: Any) -> None:
    """A finished pair as far as a choice of parents looks at it."""
    cold = config.cold_plan(home, ROOT)
    tasks = {task: {"choices": dict(cold.choices(task))} for task in config.TASKS}
    record = {"snapshot_root": ROOT, "parent_model": parent, "code_version": cold.code_version, **tasks} | changes
    home.store.put(f"models/{key}/result.json", json.dumps(record).encode())
    for task in config.TASKS:
        home.store.put(f"models/{key}/{task}.safetensors", b"weights")


@pytest.fixture(autouse=True)
def bases(monkeypatch: pytest.MonkeyPatch) -> dict[str, Path]:
    """The bases of the repository by size: none, until a test puts one in. All have the key `BASE`."""
    folders: dict[str, Path] = {}
    monkeypatch.setattr("training.base.folder", folders.get)
    monkeypatch.setattr("training.base.key", lambda size: BASE if size in folders else None)
    return folders


@pytest.fixture
def tiny_base(bases: dict[str, Path], tmp_path: Path) -> Path:
    """An untrained model of the smallest size as its base, in files as they ship."""
    import torch

    from training.model.codec import Codec, save_codec
    from training.model.config import LADDER
    from training.model.transformer import Transformer, save_transformer

    torch.manual_seed(0)
    size, folder = LADDER["nano"], tmp_path / "base"
    folder.mkdir()
    save_codec(Codec(size.codec), folder, exposure={})
    save_transformer(Transformer(size.transformer).state_dict(), size.transformer, folder, exposure={})
    record = {"exposure": [], "exposed_since": {}, "stopped": None}
    (folder / "result.json").write_text(json.dumps(record))
    bases["nano"] = folder
    return folder


@pytest.fixture
def sealed(small_world: World, settled: Any, once: Any, empty_registry: Path) -> Sealed:
    """The small world's snapshot, its training frames made, MLflow ready."""

    def make(home: Home) -> None:
        shutil.copytree(settled[0], home.state, dirs_exist_ok=True)
        shutil.copyfile(empty_registry, home.state / "mlflow.db")
        renditions.render_all(home, build(home, now_utc()).sealed.members)

    shutil.copytree(once("sealed-world", make)[0], small_world.home.state, dirs_exist_ok=True)
    return current(small_world.home)


@pytest.fixture
def run() -> Callable[..., dg.ExecuteInProcessResult]:
    """Materialise assets over a home, on an instance of its own."""

    def materialize(home: Home, *assets: Any) -> dg.ExecuteInProcessResult:
        with dg.DagsterInstance.ephemeral() as instance:
            return dg.materialize(list(assets), resources={"home": home}, instance=instance, raise_on_error=False)

    return materialize


@pytest.fixture
def scripted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[str], None]:
    """Runs this Python text instead of the training module; it finds `config` and `run_dir` defined."""
    from assets.model import launch

    prepare = launch.prepare

    def install(script: str) -> None:
        path = tmp_path / "scripted.py"
        opening = (
            "import json, sys, time\n"
            "from pathlib import Path\n"
            "config = json.loads(Path(sys.argv[2]).read_text())\n"
            "run_dir = Path(config.get('run_dir', '.'))\n"
        )
        path.write_text(opening + script)

        def instead(*arguments: Any) -> launch.Launch:
            started = prepare(*arguments)
            return replace(started, command=[sys.executable, str(path), *started.command[-2:]])

        monkeypatch.setattr(launch, "prepare", instead)

    return install

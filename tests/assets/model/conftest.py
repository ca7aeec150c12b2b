"""A sealed snapshot with renditions, a real registry database, and a way to put a scripted process in training's place."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from assets.dataset import renditions
from assets.dataset.sealed import Sealed
from assets.dataset.snapshot import build
from assets.home import Home
from tests.assets.evaluation.conftest import empty_registry
from training.consent.times import now_utc

__all__ = ["empty_registry"]


@pytest.fixture
def sealed(small_world: Any, empty_registry: Path) -> Sealed:
    """The small world's snapshot, its training frames made, MLflow ready."""
    shutil.copyfile(empty_registry, small_world.home.state / "mlflow.db")
    built = build(small_world.home, now_utc()).sealed
    renditions.render_all(small_world.home, built.members)
    return built


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

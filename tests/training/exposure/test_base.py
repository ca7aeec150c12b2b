"""A run may start from the repository's base, which saw nothing; no other parent is believed when it says so."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file

from tests.training.conftest import TrainingWorld
from tests.training.exposure.conftest import refusal, run, seen_by
from training.model import exposure


def says_nothing(folder: Path, number: float) -> Path:
    """A finished parent of the right shape whose files say that it saw nothing; `number` makes it another one."""
    from training.model.codec import Codec, save_codec
    from training.model.config import LADDER

    codec = Codec(LADDER["nano"].codec)
    save_codec(codec, folder, exposure={})
    path = folder / "codec.safetensors"
    weights = {name: tensor.fill_(number) for name, tensor in load_file(path).items() if tensor.is_floating_point()}
    save_file(load_file(path) | weights, path, exposure.header({}))
    (folder / "result.json").write_text(json.dumps({"stopped": None, **exposure.fields({})}))
    return folder


@pytest.fixture
def base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = says_nothing(tmp_path / "bases" / "nano", 0.01)
    monkeypatch.setattr("training.base.folder", lambda size: folder if size == "nano" else None)
    return folder


def started_from(world: TrainingWorld, parent: Path, **changes: Any) -> Any:
    return world.config("child", **{"steps": 1, "parent_dir": str(parent), "codec_shape": {}} | changes)


def test_a_child_of_the_base_has_seen_its_own_snapshot_only(older: TrainingWorld, base: Path) -> None:
    config = started_from(older, base)
    code, result = run(config)
    assert code == 0, result
    assert (result["exposure"], result["warm_start"]) == ([older.snapshot_root], True)
    assert seen_by(Path(config.run_dir) / "codec.safetensors") == {older.snapshot_root}


def test_another_parent_that_says_it_saw_nothing_is_refused(older: TrainingWorld, base: Path, tmp_path: Path) -> None:
    assert refusal(started_from(older, says_nothing(tmp_path / "forged", 0.02))) == "exposure.unknown"


def test_a_folder_that_is_called_a_base_is_none_without_its_weights(
    older: TrainingWorld, base: Path, tmp_path: Path
) -> None:
    assert refusal(started_from(older, says_nothing(tmp_path / "other" / "nano", 0.02))) == "exposure.unknown"


def test_a_parent_that_says_nothing_is_refused_where_there_is_no_base(
    older: TrainingWorld, base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("training.base.folder", lambda size: None)
    assert refusal(started_from(older, base)) == "exposure.unknown"

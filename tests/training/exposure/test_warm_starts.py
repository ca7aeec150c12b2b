"""Exposure cannot be laundered by a warm start: a child has seen all that its parents saw, or is none."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.training.conftest import TrainingWorld, make_world
from tests.training.exposure.conftest import ancestor, both, child, edit, refusal, run, seen_by, strip
from training.fit import fit
from training.model import exposure
from training.trainer.checkpoint import checkpoints
from training.trainer.metrics import RunLogger


def test_a_child_starts_from_its_parents_weights_and_has_seen_all_that_the_parent_saw(
    older: TrainingWorld, newer: TrainingWorld, parent: Path
) -> None:
    code, result = run(child(newer, older, parent, steps=1, lr=1e-9))
    assert code == 0
    assert result["exposure"] == both(older, newer)
    folder = Path(result["weights"]).parent
    assert seen_by(folder / "codec.safetensors") == set(both(older, newer))
    (saved,) = checkpoints(folder / "checkpoints")
    assert json.loads((saved / "state.json").read_text())["exposure"] == both(older, newer)
    theirs, ours = load_file(parent / "codec.safetensors"), load_file(saved / "weights.safetensors")
    assert all(torch.allclose(ours[name], theirs[name], atol=1e-6) for name in theirs)


def test_a_child_smooths_borders_where_its_parent_did_not_yet(
    older: TrainingWorld, newer: TrainingWorld, parent: Path
) -> None:
    weights = load_file(parent / "codec.safetensors")
    older_weights = {name: x for name, x in weights.items() if not name.startswith("smoother.")}
    assert len(older_weights) < len(weights)
    save_file(
        older_weights, parent / "codec.safetensors", exposure.header(exposure.of_weights(parent / "codec.safetensors"))
    )
    code, result = run(child(newer, older, parent, steps=1, lr=1e-9))
    assert code == 0
    assert not load_file(Path(result["weights"]))["smoother.convs.2.weight"].any()


def test_a_run_without_a_parent_has_seen_its_own_snapshot_only(older: TrainingWorld, parent: Path) -> None:
    assert json.loads((parent / "result.json").read_text())["exposure"] == [older.snapshot_root]
    assert seen_by(parent / "codec.safetensors") == {older.snapshot_root}


def test_exposure_is_inherited_over_generations(
    tmp_path: Path, older: TrainingWorld, newer: TrainingWorld, parent: Path
) -> None:
    middle = child(newer, older, parent)
    assert run(middle)[0] == 0
    newest = make_world(tmp_path / "newest", clips=6, first=12, people=older.people)
    last = newest.config("last", steps=2, parent_dir=middle.run_dir, ancestors=[ancestor(older), ancestor(newer)])
    assert run(last)[1]["exposure"] == sorted([*both(older, newer), newest.snapshot_root])
    assert refusal(newest.config("l2", parent_dir=middle.run_dir, ancestors=[ancestor(newer)])) == "exposure.unproven"


def test_a_parent_of_another_size_is_named(older: TrainingWorld, newer: TrainingWorld, parent: Path) -> None:
    code, result = run(child(newer, older, parent, codec_shape={"patch": 8, "channels": 64, "width": 24}))
    assert code == 1
    assert "parent's weights" in result["stopped"]


def test_the_snapshots_a_parent_saw_must_be_shown(older: TrainingWorld, newer: TrainingWorld, parent: Path) -> None:
    assert refusal(child(newer, older, parent, ancestors=[])) == "exposure.unproven"
    another = {"root": older.snapshot_root, "manifest": str(newer.manifest)}
    assert refusal(child(newer, older, parent, ancestors=[another])) == "snapshot.root"


def drop(name: str) -> Callable[[Path], None]:
    return lambda folder: edit(folder / "result.json", lambda record: record.pop(name))


def hide(folder: Path) -> None:
    edit(folder / "result.json", lambda record: record.update(exposure=["0" * 64]))


@pytest.mark.parametrize(
    ("forge", "code"),
    [
        (drop("exposure"), "exposure.unknown"),
        (lambda folder: (folder / "result.json").unlink(), "exposure.unknown"),
        (lambda folder: (folder / "result.json").write_text("[]"), "exposure.unknown"),
        (lambda folder: strip(folder / "codec.safetensors"), "exposure.unknown"),
        (lambda folder: (folder / "codec.safetensors").unlink(), "exposure.unknown"),
        (hide, "exposure.contradicted"),
        (lambda folder: (folder / "tainted").write_text("{}"), "exposure.tainted"),
        (lambda folder: edit(folder / "result.json", lambda r: r.update(stopped="interrupted")), "exposure.unfinished"),
    ],
)
def test_a_parent_that_does_not_say_what_it_saw_is_no_parent(
    older: TrainingWorld, newer: TrainingWorld, parent: Path, forge: Callable[[Path], None], code: str
) -> None:
    forge(parent)
    assert refusal(child(newer, older, parent)) == code


def test_a_clip_that_only_the_parent_saw_stops_the_child_before_its_first_step(
    older: TrainingWorld, newer: TrainingWorld, parent: Path
) -> None:
    older.people.revoke(older.consents[0])
    code, result = run(child(newer, older, parent))
    assert code == 3
    assert list(result["reasons"].values()) == [["consent.revoked"]]
    assert not (Path(child(newer, older, parent).run_dir) / "checkpoints").exists()


def test_a_clip_that_only_the_parent_saw_stops_the_child_at_its_next_checkpoint(
    older: TrainingWorld, newer: TrainingWorld, parent: Path
) -> None:
    config = child(newer, older, parent, steps=40, checkpoint_every=4)

    class Revoking(RunLogger):
        def log_metrics(self, metrics: Any, step: int | None = None) -> None:
            super().log_metrics(metrics, step)
            if step == 6:
                older.people.revoke(older.consents[1])

    assert fit(config, Revoking(Path(config.run_dir))) == 3
    left = {path.name for path in Path(config.run_dir).iterdir()}
    assert "tainted" in left
    assert "codec.safetensors" not in left
    assert [path.name for path in checkpoints(Path(config.run_dir) / "checkpoints")] == ["step-00000004"]


def test_what_the_codec_saw_the_transformer_has_seen(world: TrainingWorld, tmp_path: Path) -> None:
    codec = world.root / "codec" / "codec.safetensors"
    other = make_world(tmp_path / "other", clips=4, first=20, people=world.people)
    since = json.loads(other.manifest.read_text())["at"]
    save_file(load_file(codec), codec, exposure.header({other.snapshot_root: since}))
    assert refusal(world.flow_config("alone", steps=1)) == "exposure.unproven"
    code, result = run(world.flow_config("shown", steps=1, ancestors=[ancestor(other)]))
    assert (code, result["exposure"]) == (0, sorted([other.snapshot_root, world.snapshot_root]))
    strip(codec)
    assert refusal(world.flow_config("stripped", ancestors=[ancestor(other)])) == "exposure.unknown"


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

"""Exposure cannot be laundered: not by a warm start, a resume, another snapshot, a new seal, an edit or a kill."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.training.conftest import TrainingWorld, make_world, write_manifest
from training import exposure
from training.checkpoint import checkpoints
from training.config import ConfigError, TrainConfig
from training.consent import events as ev
from training.consent.violation import ConsentViolation
from training.fit import fit
from training.reporting import Reporter

ROOT = Path(__file__).parents[2]
Result = dict[str, Any]


def run(config: TrainConfig, until: int | None = None) -> tuple[int, Result]:
    code = fit(config, Reporter(Path(config.run_dir)), until)
    return code, json.loads((Path(config.run_dir) / "result.json").read_text())


def refusal(config: TrainConfig) -> str:
    """The code for which the run refuses as a whole."""
    code, result = run(config)
    assert code == 3, result
    assert set(result["reasons"]) == {"*"}
    return result["reasons"]["*"][0]


def seen_by(path: Path) -> set[str]:
    return set(exposure.of_weights(path))


@pytest.fixture
def older(tmp_path: Path) -> TrainingWorld:
    return make_world(tmp_path / "older", clips=6)


@pytest.fixture
def newer(tmp_path: Path, older: TrainingWorld) -> TrainingWorld:
    """Another snapshot of other clips, in the same ledger."""
    return make_world(tmp_path / "newer", clips=6, first=6, people=older.people)


@pytest.fixture
def parent(older: TrainingWorld) -> Path:
    """A finished codec that saw the older snapshot."""
    config = older.config("parent", steps=2)
    assert run(config)[0] == 0
    return Path(config.run_dir)


def ancestor(world: TrainingWorld) -> dict[str, str]:
    return {"root": world.snapshot_root, "manifest": str(world.manifest)}


def child(newer: TrainingWorld, older: TrainingWorld, parent: Path, **changes: Any) -> TrainConfig:
    given = {"steps": 2, "parent_dir": str(parent), "ancestors": [ancestor(older)]}
    return newer.config("child", **given | changes)


def both(older: TrainingWorld, newer: TrainingWorld) -> list[str]:
    return sorted([older.snapshot_root, newer.snapshot_root])


# -- warm starts ---------------------------------------------------------------------------------------------------------


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
    code, result = run(child(newer, older, parent, size="micro"))
    assert code == 1
    assert "parent's weights" in result["stopped"]


def test_the_snapshots_a_parent_saw_must_be_shown(older: TrainingWorld, newer: TrainingWorld, parent: Path) -> None:
    assert refusal(child(newer, older, parent, ancestors=[])) == "exposure.unproven"
    another = {"root": older.snapshot_root, "manifest": str(newer.manifest)}
    assert refusal(child(newer, older, parent, ancestors=[another])) == "snapshot.root"


def _edit(path: Path, change: Callable[[Result], None]) -> None:
    record = json.loads(path.read_text())
    change(record)
    path.write_text(json.dumps(record))


def _drop(name: str) -> Callable[[Path], None]:
    return lambda folder: _edit(folder / "result.json", lambda record: record.pop(name))


def _hide(folder: Path) -> None:
    _edit(folder / "result.json", lambda record: record.update(exposure=["0" * 64]))


def _strip(path: Path) -> None:
    """Write the weights anew, without a word of what they saw."""
    save_file(load_file(path), path)


@pytest.mark.parametrize(
    ("forge", "code"),
    [
        (_drop("exposure"), "exposure.unknown"),
        (lambda folder: (folder / "result.json").unlink(), "exposure.unknown"),
        (lambda folder: (folder / "result.json").write_text("[]"), "exposure.unknown"),
        (lambda folder: _strip(folder / "codec.safetensors"), "exposure.unknown"),
        (lambda folder: (folder / "codec.safetensors").unlink(), "exposure.unknown"),
        (_hide, "exposure.contradicted"),
        (lambda folder: (folder / "tainted").write_text("{}"), "exposure.tainted"),
        (
            lambda folder: _edit(folder / "result.json", lambda r: r.update(stopped="interrupted")),
            "exposure.unfinished",
        ),
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

    class Revoking(Reporter):
        def metrics(self, step: int, values: Any) -> None:
            super().metrics(step, values)
            if step == 6:
                older.people.revoke(older.consents[1])

    assert fit(config, Revoking(Path(config.run_dir))) == 3
    left = {path.name for path in Path(config.run_dir).iterdir()}
    assert "tainted" in left
    assert "codec.safetensors" not in left
    assert [path.name for path in checkpoints(Path(config.run_dir) / "checkpoints")] == ["step-00000004"]


def test_what_the_codec_saw_the_transformer_has_seen(encoded_world: TrainingWorld, tmp_path: Path) -> None:
    codec = encoded_world.root / "codec" / "codec.safetensors"
    other = make_world(tmp_path / "other", clips=4, first=20, people=encoded_world.people)
    since = json.loads(other.manifest.read_text())["at"]
    save_file(load_file(codec), codec, exposure.header({other.snapshot_root: since}))
    assert refusal(encoded_world.flow_config("alone", steps=1)) == "exposure.unproven"
    code, result = run(encoded_world.flow_config("shown", steps=1, ancestors=[ancestor(other)]))
    assert (code, result["exposure"]) == (0, sorted([other.snapshot_root, encoded_world.snapshot_root]))
    _strip(codec)
    assert refusal(encoded_world.flow_config("stripped", ancestors=[ancestor(other)])) == "exposure.unknown"


# -- resumed runs --------------------------------------------------------------------------------------------------------


def half_done(older: TrainingWorld, name: str = "run") -> TrainConfig:
    config = older.config(name, steps=4)
    assert run(config, until=2)[1]["stopped"] == "interrupted after step 2"
    return config


def on(newer: TrainingWorld, run_dir: str, **changes: Any) -> TrainConfig:
    return newer.config(run_dir=run_dir, steps=4, **changes)


def test_a_run_that_goes_on_with_another_snapshot_keeps_the_old_one_in_its_exposure(
    older: TrainingWorld, newer: TrainingWorld
) -> None:
    started = half_done(older)
    config = on(newer, started.run_dir, other_snapshot="continue", ancestors=[ancestor(older)])
    code, result = run(config)
    assert (code, result["resumed_from_step"], result["exposure"]) == (0, 2, both(older, newer))
    assert seen_by(Path(config.run_dir) / "codec.safetensors") == set(both(older, newer))
    older.people.revoke(older.consents[0])
    code, result = run(config)
    assert (code, list(result["reasons"].values())) == (3, [["consent.revoked"]])


def test_a_run_that_goes_on_must_show_the_snapshot_it_leaves(older: TrainingWorld, newer: TrainingWorld) -> None:
    started = half_done(older)
    assert refusal(on(newer, started.run_dir, other_snapshot="continue")) == "exposure.unproven"


def test_a_run_that_starts_anew_on_another_snapshot_takes_nothing_along(
    older: TrainingWorld, newer: TrainingWorld
) -> None:
    started = half_done(older)
    older.people.revoke(older.consents[0])
    code, result = run(on(newer, started.run_dir))
    assert (code, result["exposure"]) == (0, [newer.snapshot_root])
    assert "resumed_from_step" not in result
    folder = Path(started.run_dir) / "checkpoints"
    assert {root for saved in checkpoints(folder) for root in seen_by(saved / "ema.safetensors")} == {
        newer.snapshot_root
    }


def test_a_run_resumed_after_a_revocation_refuses(older: TrainingWorld) -> None:
    started = half_done(older)
    older.people.revoke(older.consents[0])
    code, result = run(started)
    assert (code, list(result["reasons"].values())) == (3, [["consent.revoked"]])
    assert (Path(started.run_dir) / "tainted").is_file()


@pytest.mark.parametrize("name", ["exposure", "exposed_since"])
def test_a_checkpoint_that_was_stripped_of_its_exposure_is_refused(older: TrainingWorld, name: str) -> None:
    started = half_done(older)
    (saved,) = checkpoints(Path(started.run_dir) / "checkpoints")
    _edit(saved / "state.json", lambda state: state.pop(name))
    assert refusal(started) == "exposure.unknown"


def test_a_checkpoint_whose_statements_differ_is_refused(older: TrainingWorld, newer: TrainingWorld) -> None:
    started = half_done(older)
    (saved,) = checkpoints(Path(started.run_dir) / "checkpoints")
    since = json.loads((saved / "state.json").read_text())["exposed_since"]
    forged = {newer.snapshot_root: next(iter(since.values()))}
    _edit(saved / "state.json", lambda state: state.update(exposure=list(forged), exposed_since=forged))
    assert refusal(started) == "exposure.contradicted"
    assert refusal(on(newer, started.run_dir, other_snapshot="continue")) == "exposure.contradicted"


def test_average_weights_without_a_word_of_what_they_saw_are_refused(older: TrainingWorld) -> None:
    started = half_done(older)
    (saved,) = checkpoints(Path(started.run_dir) / "checkpoints")
    _strip(saved / "ema.safetensors")
    assert refusal(started) == "exposure.unknown"


def test_a_snapshot_sealed_anew_does_not_bridge_a_gap_in_consent(older: TrainingWorld) -> None:
    """Narrowed and widened again, the same consents give the same members and root, sealed after the gap."""
    started, people = half_done(older), older.people
    narrowed = ev.amend(older.consents[0], people.now, scopes=["eval"])
    people.append(narrowed, "c-ann")
    people.append(ev.amend(narrowed, people.now, scopes=["train"]), "c-ann")
    people.now += timedelta(minutes=1)
    members = json.loads(older.manifest.read_text())["members"]
    assert write_manifest(older.manifest, people, members) == older.snapshot_root
    assert run(older.config("fresh", steps=2))[0] == 0
    code, result = run(started)
    assert (code, list(result["reasons"].values())) == (3, [["consent.scope"]])


def test_what_consent_stopped_is_marked_and_neither_continued_nor_a_parent(
    older: TrainingWorld, newer: TrainingWorld
) -> None:
    started = half_done(older)
    disputed = ev.dispute("c-ann", older.consents[0]["assets"], "legal.privacy", older.people.now)
    older.people.append(disputed, "c-ann")
    code, result = run(started)
    assert (code, list(result["reasons"].values())) == (3, [["dispute.open"]])
    settled = ev.adjudicate(disputed["dispute_id"], "dismissed", older.people.now, officer="o-ida")
    older.people.append(settled, "platform")
    continued = on(newer, started.run_dir, other_snapshot="continue", ancestors=[ancestor(older)])
    assert refusal(continued) == "exposure.tainted"
    assert refusal(child(newer, older, Path(started.run_dir))) == "exposure.tainted"
    code, result = run(started)
    assert code == 0
    assert "resumed_from_step" not in result  # the same plan may be trained again, from nothing
    assert not (Path(started.run_dir) / "tainted").exists()


def test_an_unreadable_ledger_stops_a_run_but_does_not_taint_it(older: TrainingWorld) -> None:
    started = half_done(older)
    assert refusal(older.config(steps=4, database_url="sqlite:////nowhere/rushes.db")) == "ledger.unreadable"
    assert not (Path(started.run_dir) / "tainted").exists()
    assert run(started)[1]["resumed_from_step"] == 2


@pytest.mark.parametrize("given", [[{"root": "a"}], [{"root": "a", "manifest": 1}], [{}]])
def test_ancestors_need_a_root_and_a_manifest(older: TrainingWorld, given: list[Any]) -> None:
    with pytest.raises(ConfigError, match="ancestors"):
        older.config(ancestors=given)


@pytest.mark.parametrize("said", ["[]", '{"a":1}', '{"a":"yesterday"}', "{", ""])
def test_a_statement_that_cannot_be_read_is_none(tmp_path: Path, said: str) -> None:
    save_file({"w": torch.ones(1)}, tmp_path / "w.safetensors", {"exposure": said})
    with pytest.raises(ConsentViolation, match="does not say"):
        exposure.of_weights(tmp_path / "w.safetensors")


KILLED = """
import os, signal, sys
from training import checkpoint, fit
real, calls = checkpoint._sync, 0
def sync(path):
    global calls
    calls += 1
    if calls == int(sys.argv[3]):
        os.kill(os.getpid(), signal.SIGKILL)
    real(path)
checkpoint._sync = sync
fit.main(sys.argv[1:3])
"""


@pytest.mark.slow
@pytest.mark.parametrize("call", [1, 5, 6, 9, 12])  # six a checkpoint: four files, the folder, its parent
def test_a_run_killed_while_it_writes_a_checkpoint_keeps_its_exposure(
    older: TrainingWorld, newer: TrainingWorld, parent: Path, call: int
) -> None:
    config = child(newer, older, parent, steps=4, checkpoint_every=2)
    path = Path(config.run_dir).with_suffix(".json")
    path.write_text(json.dumps(asdict(config)))
    command = [sys.executable, "-c", KILLED, "--config", str(path), str(call)]
    assert subprocess.run(command, cwd=ROOT, check=False).returncode == -signal.SIGKILL
    code, result = run(config)
    assert (code, result["exposure"]) == (0, both(older, newer))
    assert ("resumed_from_step" in result) == (call >= 6)
    assert seen_by(Path(config.run_dir) / "codec.safetensors") == set(both(older, newer))

"""Exposure cannot be laundered by a resume, another snapshot, a new seal, an edit or a kill."""

from __future__ import annotations

import itertools
import json
import os
import signal
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from tests.training.conftest import TrainingWorld, write_manifest
from tests.training.exposure.conftest import ancestor, both, child, edit, refusal, run, seen_by, strip
from training.config import TrainConfig
from training.consent import events as ev
from training.consent.guard import ConsentViolation
from training.model import exposure
from training.model.config import ConfigError
from training.trainer import checkpoint
from training.trainer.checkpoint import checkpoints


@pytest.fixture
def started(older: TrainingWorld) -> TrainConfig:
    """A run on the older snapshot that stopped after two of its four steps."""
    return older.config("half", steps=4)


def on(newer: TrainingWorld, run_dir: str, **changes: Any) -> TrainConfig:
    return newer.config(run_dir=run_dir, steps=4, **changes)


def test_a_run_that_goes_on_with_another_snapshot_keeps_the_old_one_in_its_exposure(
    older: TrainingWorld, newer: TrainingWorld, started: TrainConfig
) -> None:
    config = on(newer, started.run_dir, other_snapshot="continue", ancestors=[ancestor(older)])
    code, result = run(config)
    assert (code, result["resumed_from_step"], result["exposure"]) == (0, 2, both(older, newer))
    assert seen_by(Path(config.run_dir) / "codec.safetensors") == set(both(older, newer))
    older.people.revoke(older.consents[0])
    code, result = run(config)
    assert (code, list(result["reasons"].values())) == (3, [["consent.revoked"]])


def test_a_run_that_goes_on_must_show_the_snapshot_it_leaves(
    older: TrainingWorld, newer: TrainingWorld, started: TrainConfig
) -> None:
    assert refusal(on(newer, started.run_dir, other_snapshot="continue")) == "exposure.unproven"


def test_a_run_that_starts_anew_on_another_snapshot_takes_nothing_along(
    older: TrainingWorld, newer: TrainingWorld, started: TrainConfig
) -> None:
    older.people.revoke(older.consents[0])
    code, result = run(on(newer, started.run_dir))
    assert (code, result["exposure"]) == (0, [newer.snapshot_root])
    assert "resumed_from_step" not in result
    folder = Path(started.run_dir) / "checkpoints"
    assert {root for saved in checkpoints(folder) for root in seen_by(saved / "ema.safetensors")} == {
        newer.snapshot_root
    }


def test_a_run_resumed_after_a_revocation_refuses(older: TrainingWorld, started: TrainConfig) -> None:
    older.people.revoke(older.consents[0])
    code, result = run(started)
    assert (code, list(result["reasons"].values())) == (3, [["consent.revoked"]])
    assert (Path(started.run_dir) / "tainted").is_file()


@pytest.mark.parametrize("name", ["exposure", "exposed_since"])
def test_a_checkpoint_that_was_stripped_of_its_exposure_is_refused(
    older: TrainingWorld, name: str, started: TrainConfig
) -> None:
    (saved,) = checkpoints(Path(started.run_dir) / "checkpoints")
    edit(saved / "state.json", lambda state: state.pop(name))
    assert refusal(started) == "exposure.unknown"


def test_a_checkpoint_whose_statements_differ_is_refused(
    older: TrainingWorld, newer: TrainingWorld, started: TrainConfig
) -> None:
    (saved,) = checkpoints(Path(started.run_dir) / "checkpoints")
    since = json.loads((saved / "state.json").read_text())["exposed_since"]
    forged = {newer.snapshot_root: next(iter(since.values()))}
    edit(saved / "state.json", lambda state: state.update(exposure=list(forged), exposed_since=forged))
    assert refusal(started) == "exposure.contradicted"
    assert refusal(on(newer, started.run_dir, other_snapshot="continue")) == "exposure.contradicted"


def test_average_weights_without_a_word_of_what_they_saw_are_refused(
    older: TrainingWorld, started: TrainConfig
) -> None:
    (saved,) = checkpoints(Path(started.run_dir) / "checkpoints")
    strip(saved / "ema.safetensors")
    assert refusal(started) == "exposure.unknown"


def test_a_snapshot_sealed_anew_does_not_bridge_a_gap_in_consent(older: TrainingWorld, started: TrainConfig) -> None:
    """Narrowed and widened again, the same consents give the same members and root, sealed after the gap."""
    people = older.people
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
    older: TrainingWorld, newer: TrainingWorld, started: TrainConfig
) -> None:
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


def test_an_unreadable_ledger_stops_a_run_but_does_not_taint_it(older: TrainingWorld, started: TrainConfig) -> None:
    assert refusal(replace(started, database_url="sqlite:////nowhere/rushes.db")) == "ledger.unreadable"
    assert not (Path(started.run_dir) / "tainted").exists()
    assert run(started)[1]["resumed_from_step"] == 2


@pytest.mark.parametrize("ancestors", [[{"root": "a"}], [{"root": "a", "manifest": 1}], [{}]])
def test_ancestors_need_a_root_and_a_manifest(older: TrainingWorld, ancestors: list[Any]) -> None:
    with pytest.raises(ConfigError, match="ancestors"):
        older.config(ancestors=ancestors)


@pytest.mark.parametrize("statement", ["[]", '{"a":1}', '{"a":"yesterday"}', "{", ""])
def test_a_statement_that_cannot_be_read_is_none(tmp_path: Path, statement: str) -> None:
    save_file({"w": torch.ones(1)}, tmp_path / "w.safetensors", {"exposure": statement})
    with pytest.raises(ConsentViolation, match="does not say"):
        exposure.of_weights(tmp_path / "w.safetensors")


def killed_at(call: int, config: TrainConfig) -> int:
    """Train in a forked process that is killed at this call of `_sync`, and return its exit code."""
    child = os.fork()
    if child == 0:
        calls = itertools.count(1)
        real = checkpoint._sync
        checkpoint._sync = lambda path: os.kill(os.getpid(), signal.SIGKILL) if next(calls) == call else real(path)
        try:
            run(config)
        finally:
            os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@pytest.mark.slow
@pytest.mark.parametrize("call", [1, 6, 7, 10, 14])  # seven a checkpoint: five files, the folder, its parent
def test_a_run_killed_while_it_writes_a_checkpoint_keeps_its_exposure(
    older: TrainingWorld, newer: TrainingWorld, parent: Path, call: int
) -> None:
    config = child(newer, older, parent, steps=4, checkpoint_every=2)
    older.people.ledger.engine.dispose()  # no connection is shared with the other process
    assert killed_at(call, config) == -signal.SIGKILL
    code, result = run(config)
    assert (code, result["exposure"]) == (0, both(older, newer))
    assert ("resumed_from_step" in result) == (call >= 7)
    assert seen_by(Path(config.run_dir) / "codec.safetensors") == set(both(older, newer))

"""Training refuses by itself what consent does not cover, with the mart and the snapshot bypassed.

What is refused while it runs is refused by real processes; so is a revocation before the first step.
"""

from __future__ import annotations

import json
import os
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from assets.consent.sealed_members import manifest_key
from assets.dataset.sealed import Sealed
from assets.home import Home
from assets.model import assets as stage
from assets.model import launch, published, warm
from assets.model.outcome import Outcome, read_outcome
from training.fit import main

pytestmark = pytest.mark.slow

REFUSED = 3
TINY = {"steps": 3, "eval_every": 1, "checkpoint_every": 1}
LONG = {"steps": 100_000, "eval_every": 50_000, "checkpoint_every": 2}


def prepared(home: Home, sealed: Sealed, settings: dict[str, Any]) -> tuple[Home, launch.Launch]:
    home = replace(home, training={"codec": settings, "transformer": settings})
    return home, launch.prepare_fit(home, warm.plan(home, sealed.root), sealed, "codec")


def refusal(started: launch.Launch) -> dict[str, list[str]]:
    """The reasons of a run that refuses before its first step: the process's own entry point, called in this process."""
    assert main(list(started.command[-2:])) == REFUSED
    outcome = read_outcome("codec", started.run_dir)
    assert outcome.curve("train/loss") == []
    assert weights_in(started.run_dir) == []
    return outcome.violation


def start(started: launch.Launch) -> subprocess.Popen[bytes]:
    env = {**os.environ, **started.env, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(started.command, cwd=started.cwd, env=env, stdout=subprocess.DEVNULL)


def wait_for_checkpoint(run_dir: Path, timeout_s: float = 240) -> None:
    deadline = time.monotonic() + timeout_s
    while not any((run_dir / "checkpoints").glob("step-*")) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert any((run_dir / "checkpoints").glob("step-*")), "no checkpoint was written in time"


def rewrite(sealed: Sealed, change: Callable[[dict[str, Any]], None], path: Path) -> Sealed:
    """The snapshot as somebody without consent would like it, in another file; the root stays as recorded."""
    manifest = json.loads(sealed.path.read_text())
    change(manifest)
    path.write_text(json.dumps(manifest))
    return Sealed(sealed.root, manifest, path)


def weights_in(run_dir: Path) -> list[str]:
    return [path.name for path in run_dir.glob("*.safetensors")]


def test_an_edited_manifest_is_refused_by_its_root(small_world: Any, sealed: Sealed, tmp_path: Path) -> None:
    def drop_a_member(manifest: dict[str, Any]) -> None:
        manifest["members"].pop()
        manifest["n"] -= 1

    edited = rewrite(sealed, drop_a_member, tmp_path / "edited.json")
    _, started = prepared(small_world.home, edited, TINY)
    assert refusal(started) == {"*": ["snapshot.root"]}


def test_a_manifest_sealed_anew_around_a_clip_without_consent_is_refused_by_the_ledger(
    small_world: Any, sealed: Sealed
) -> None:
    from assets.consent.ledger import Ledger
    from training.consent.eligibility import ClipFacts
    from training.consent.snapshot import seal
    from training.consent.times import instant

    home: Home = small_world.home
    (unconsented,) = small_world.deliver("c-9", clips=1, consent=False)
    small_world.settle()
    stranger = dict(sealed.members[0]) | {"clip_id": unconsented, "contributor_id": "c-9"}
    del stranger["decision_digest"]
    facts = ClipFacts.from_dict(stranger["facts"])
    stranger["facts"] = replace(facts, clip_id=unconsented, contributor_id="c-9").to_dict()
    forged = seal(
        [*sealed.members, stranger],
        purpose="train",
        at=instant(sealed.manifest["at"]),
        until=instant(sealed.manifest["until"]),
        ledger=Ledger(home.database_url).head(),
    )
    home.store.put(manifest_key(forged["root"]), json.dumps(forged).encode())
    home.store.put(f"frames/{launch.renditions.NANO.name}/{unconsented}.safetensors", b"")
    _, started = prepared(home, Sealed(forged["root"], forged, home.store.fetch(manifest_key(forged["root"]))), TINY)
    assert refusal(started) == {unconsented: ["consent.none"]}


def test_a_revocation_between_snapshot_and_training_is_refused_before_the_first_step(
    small_world: Any, sealed: Sealed
) -> None:
    revoked = sealed.clip_ids[0]
    small_world.revoke(revoked)
    _, started = prepared(small_world.home, sealed, TINY)
    assert start(started).wait(120) == REFUSED
    outcome = read_outcome("codec", started.run_dir)
    assert outcome.violation == {revoked: ["consent.revoked"]}
    assert outcome.curve("train/loss") == []
    assert weights_in(started.run_dir) == []


def test_a_revocation_during_training_stops_it_at_the_next_checkpoint(
    small_world: Any, sealed: Sealed, running: Callable[[launch.Launch], subprocess.Popen[bytes]]
) -> None:
    _, started = prepared(small_world.home, sealed, LONG)
    process = running(started)
    wait_for_checkpoint(started.run_dir)
    assert process.poll() is None
    small_world.revoke(sealed.clip_ids[0])
    assert process.wait(120) == REFUSED
    outcome = read_outcome("codec", started.run_dir)
    assert outcome.violation == {sealed.clip_ids[0]: ["consent.revoked"]}
    assert outcome.stopped
    assert weights_in(started.run_dir) == []


def test_a_run_that_was_killed_and_is_resumed_after_a_revocation_refuses_and_its_checkpoints_are_tainted(
    small_world: Any, sealed: Sealed, running: Callable[[launch.Launch], subprocess.Popen[bytes]]
) -> None:
    _, started = prepared(small_world.home, sealed, LONG)
    process = running(started)
    wait_for_checkpoint(started.run_dir)
    process.kill()
    process.wait(30)
    small_world.revoke(sealed.clip_ids[0])
    assert main(list(started.command[-2:])) == REFUSED
    outcome = read_outcome("codec", started.run_dir)
    assert outcome.violation == {sealed.clip_ids[0]: ["consent.revoked"]}
    assert outcome.result["exposure"] == [sealed.root]
    marked = json.loads((started.run_dir / "tainted").read_text())
    assert marked["reasons"] == {sealed.clip_ids[0]: ["consent.revoked"]}
    assert weights_in(started.run_dir) == []


def test_the_asset_fails_with_the_reasons_when_consent_goes_while_it_trains(
    small_world: Any, sealed: Sealed, run: Callable[..., dg.ExecuteInProcessResult]
) -> None:
    home, started = prepared(small_world.home, sealed, LONG)

    def revoke_once_it_trains() -> None:
        wait_for_checkpoint(started.run_dir)
        small_world.revoke(sealed.clip_ids[0])

    withdrawal = threading.Thread(target=revoke_once_it_trains)
    withdrawal.start()
    result = run(home, stage.video_autoencoder)
    withdrawal.join()
    (check,) = result.get_asset_check_evaluations()
    assert (result.success, check.check_name, check.passed) == (False, stage.CONSENT, False)
    assert "consent.revoked" in str(check.metadata["reasons"].value)
    assert list(home.store.list("models")) == []


def test_a_killed_run_goes_on_from_its_checkpoint_and_is_published(
    small_world: Any,
    sealed: Sealed,
    run: Callable[..., dg.ExecuteInProcessResult],
    running: Callable[[launch.Launch], subprocess.Popen[bytes]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # six clips teach the autoencoder little about two others; whether it learned is not the question here
    monkeypatch.setattr(Outcome, "good_enough", True)
    home, started = prepared(small_world.home, sealed, {"steps": 24, "eval_every": 24, "checkpoint_every": 4})
    process = running(started)
    wait_for_checkpoint(started.run_dir)
    process.kill()
    process.wait(30)
    result = run(home, stage.video_autoencoder)
    assert result.success
    plan = warm.plan(home, sealed.root)
    record = published.result(home, plan.model_key, "codec")
    assert record is not None
    assert record["result"]["steps"] == 24
    assert record["result"]["resumed_from_step"] >= 4
    assert (published.local_folder(home, plan.model_key, ("codec",)) / "codec.safetensors").is_file()


@pytest.fixture
def running() -> Iterator[Callable[[launch.Launch], subprocess.Popen[bytes]]]:
    """Starts processes and leaves none behind."""
    started: list[subprocess.Popen[bytes]] = []

    def begin(what: launch.Launch) -> subprocess.Popen[bytes]:
        started.append(start(what))
        return started[-1]

    yield begin
    for process in started:
        if process.poll() is None:
            process.kill()
            process.wait(30)

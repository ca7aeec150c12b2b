"""Invariants of what is made of clips: I8 when eligibility is asked again, I9 what a withdrawal taints, I10 what may serve,
I17 that nothing leaves unmarked."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assets.evaluation.promotion import PromotionRefused, decide_and_move, promote, reconcile_champion
from assets.marks import marking, watermark
from assets.marks.marking import MarkError, mark_video
from assets.registry import CANDIDATE, CHAMPION, Version
from assets.release.assets import MARKED, release_bundle
from assets.withdrawals.lineage import Model, downstream
from assets.withdrawals.plan import act_on_ledger
from tests.assets.samples import CLAIMS, waves
from tests.training.conftest import make_world
from tests.worlds import Copy, Reached
from training import fit as fitting
from training.consent.guard import ConsentGuard
from training.data.video import write_mp4
from training.trainer import callback
from training.trainer.metrics import RunLogger


def version_of(reached: Reached, model_key: str) -> Version:
    return next(version for version in reached.registry.versions() if version.model_key == model_key)


# -- I8: training start, every checkpoint, registration and every alias move ask the ledger again ------------------------


def test_i08_a_run_asks_before_its_first_step_before_each_checkpoint_and_before_its_weights_are_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    happened: list[str] = []
    check, save, publish = ConsentGuard.check, callback.save_checkpoint, fitting._publish

    def noting(name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def noted(*arguments: Any, **named: Any) -> Any:
            happened.append(name)
            return real(*arguments, **named)

        return noted

    monkeypatch.setattr(ConsentGuard, "check", noting("asked", check))
    monkeypatch.setattr(callback, "save_checkpoint", noting("saved", save))
    monkeypatch.setattr(fitting, "_publish", noting("published", publish))
    config = make_world(tmp_path, clips=5).config(steps=4, checkpoint_every=2)
    assert fitting.fit(config, RunLogger(Path(config.run_dir))) == 0
    assert happened == ["asked", "asked", "saved", "asked", "saved", "asked", "published"]


def test_i08_every_way_to_the_alias_asks_the_ledger_at_that_moment(copied: Copy) -> None:
    reached = copied()
    champion = version_of(reached, "m-1")
    assert "champion already" in promote(reached.home, champion.number, "ann")
    reached.world.revoke(reached.clip)  # and no sensor has looked yet
    with pytest.raises(PromotionRefused, match="consent"):
        promote(reached.home, champion.number, "ann")
    assert not decide_and_move(reached.home, version_of(reached, "m-2").number).promote
    reconcile_champion(reached.home)
    assert reached.registry.alias(CHAMPION) == version_of(reached, "m-clean").number


def test_i08_registration_asks_about_all_that_the_weights_ever_saw(
    copied: Copy, monkeypatch: pytest.MonkeyPatch
) -> None:
    from assets.evaluation import assets as stage

    reached, asked = copied(), list[str]()

    class Stopped(Exception):
        pass

    def noted(home: Any, *roots: str) -> list[str]:
        asked.extend(roots)
        raise Stopped

    monkeypatch.setattr(stage, "standing_violations", noted)
    clean = version_of(reached, "m-clean").snapshot_root
    model = type("Model", (), {})()
    model.sealed, model.record = type("S", (), {"root": clean})(), {"exposure": sorted([clean, reached.root])}
    monkeypatch.setattr(stage, "_current", lambda home: model)
    with pytest.raises(Stopped):
        list(stage.registered_model.op.compute_fn.decorated_fn(None, home=reached.home))
    assert set(asked) == {clean, reached.root}


# -- I9: everything that a clip reached is tainted -----------------------------------------------------------------------


@st.composite
def families(draw: st.DrawFn) -> tuple[list[Model], set[str]]:
    """Models that started from each other, some of which say what they saw, and the snapshots that were withdrawn."""
    roots = ["r-0", "r-1", "r-2"]
    keys = [f"m-{number}" for number in range(draw(st.integers(1, 8)))]
    models = [
        Model(
            key,
            draw(st.sampled_from(roots)),
            draw(st.none() | st.sampled_from([*keys, "m-gone"])),
            draw(st.lists(st.sampled_from(roots), max_size=2)),
        )
        for key in keys
    ]
    return models, draw(st.sets(st.sampled_from(roots)))


@given(family=families())
def test_i09_taint_reaches_whatever_saw_a_withdrawn_clip_at_any_distance_and_nothing_else(
    family: tuple[list[Model], set[str]],
) -> None:
    models, withdrawn = family
    everything = {model.key: model for model in models}

    def saw(model: Model, passed: frozenset[str] = frozenset()) -> bool:
        if withdrawn & {model.snapshot_root, *model.exposure}:
            return True
        parent = everything.get(model.parent or "")
        return parent is not None and parent.key not in passed and saw(parent, passed | {model.key})

    causes = downstream({root: {"clip": ("consent.revoked",)} for root in withdrawn}, models)
    assert set(causes) == {model.key for model in models if saw(model)}


def test_i09_nothing_that_was_made_of_a_withdrawn_clip_stays_in_reach(copied: Copy) -> None:
    reached = copied()
    reached.world.revoke(reached.clip)
    actions = act_on_ledger(reached.home, reached.size)
    assert actions.affected_clips == (reached.clip,)
    tainted = {version.model_key for version in reached.registry.versions() if version.taint}
    assert tainted == {"m-1", "m-2"}  # the one that saw it, and the one that started from that
    left = [key for prefix in ("frames", "latents") for key in reached.home.store.list(prefix) if reached.clip in key]
    assert left == []
    for prefix in ("samples/m-1", "release/m-1"):
        assert [key for key in reached.home.store.list(prefix) if key.endswith(".mp4")] == []


# -- I10: nothing tainted serves -----------------------------------------------------------------------------------------


def test_i10_the_alias_goes_to_the_newest_version_that_may_serve_and_is_closed_where_there_is_none(
    copied: Copy,
) -> None:
    reached = copied()
    reached.world.revoke(reached.clip)
    act_on_ledger(reached.home, reached.size)
    clean = version_of(reached, "m-clean")
    assert reached.registry.alias(CHAMPION) == clean.number
    assert reached.registry.alias(CANDIDATE) is None
    members = json.loads(reached.home.store.get(f"snapshots/{clean.snapshot_root}/manifest.json"))["members"]
    size = reached.world.ledger.size()
    reached.world.revoke(members[0]["clip_id"])
    act_on_ledger(reached.home, size)
    assert reached.registry.alias(CHAMPION) is None
    assert all(version.taint for version in reached.registry.versions())


# -- I17: what does not read back does not leave -------------------------------------------------------------------------


def _unsigned(src: Path, dst: Path, claims: Any, keys: Path) -> Path:
    return Path(shutil.copyfile(src, dst))


def _as_it_was(frames: Any, payload: Any, key: Any, strength: float) -> Any:
    return frames


@pytest.mark.parametrize(
    ("module", "name", "broken"), [(marking, "sign_video", _unsigned), (watermark, "embed", _as_it_was)]
)
def test_i17_a_video_whose_manifest_or_watermark_does_not_read_back_does_not_leave(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: Any, name: str, broken: Any
) -> None:
    raw, out = write_mp4(tmp_path / "raw.mp4", waves(), 8), tmp_path / "out.mp4"
    assert mark_video(raw, out, CLAIMS, tmp_path / "keys").complete
    out.unlink()
    monkeypatch.setattr(module, name, broken)
    with pytest.raises(MarkError):
        mark_video(raw, out, CLAIMS, tmp_path / "keys")
    assert not out.exists()


def test_i17_the_bundle_is_read_again_from_the_store_and_a_failure_blocks() -> None:
    specs = {spec.name: spec for spec in release_bundle.check_specs}
    assert specs[MARKED].blocking

"""Keys of a training plan: equal for equal inputs, different for anything that changes the model."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import training
from assets.home import Home
from assets.model import launch
from assets.model.config import ENTRIES, ConfigError, Plan, choices, code_digest, code_version, source_digest, sources
from assets.model.warm import plan

ROOT = "ab" * 32


def test_the_same_snapshot_settings_and_code_give_the_same_keys(home: Home) -> None:
    first, second = plan(home, ROOT), plan(home, ROOT)
    assert (first.codec_key, first.model_key) == (second.codec_key, second.model_key)


@pytest.mark.parametrize(
    "change",
    [
        {"snapshot_root": "cd" * 32},
        {"codec": {"steps": 1}},
        {"transformer": {"steps": 1}},
        {"code_version": "other"},
        {"repetition_sha256": "e" * 64},
        {"parent_model": "parent"},
    ],
)
def test_whatever_changes_the_model_changes_its_key(change: dict) -> None:
    base = {"snapshot_root": ROOT, "codec": {"steps": 5}, "transformer": {"steps": 5}, "code_version": "v"}
    assert Plan(**(base | change)).model_key != Plan(**base).model_key


def test_another_transformer_keeps_the_codec() -> None:
    first, second = (Plan(ROOT, {"steps": 5}, {"steps": steps}, "v") for steps in (5, 6))
    assert first.codec_key == second.codec_key
    assert first.run_name("codec") == second.run_name("codec")
    assert first.run_name("transformer") != second.run_name("transformer")


def test_a_parent_makes_another_codec_too(home: Home) -> None:
    child = plan(replace(home, training={"parent_model": "m-parent"}), ROOT)
    assert child.parent_model == "m-parent"
    assert child.codec_key != plan(home, ROOT).codec_key
    assert code_digest({"parent_model": "m-parent"}) != code_digest({})


def test_a_tasks_own_settings_go_over_common_ones_and_those_over_the_preset() -> None:
    settings = {"seed": 7, "steps": 10, "codec": {"steps": 3}}
    assert (choices(settings, "codec")["steps"], choices(settings, "codec")["seed"]) == (3, 7)
    assert choices(settings, "transformer")["steps"] == 10
    assert choices(settings, "transformer")["lr"] == choices({}, "transformer")["lr"]


@pytest.mark.parametrize("settings", [{"preset": "none"}, {"stepz": 3}, {"codec": {"run_dir": "/"}}])
def test_settings_that_name_nothing_are_an_error_that_lists_what_there_is(settings: dict) -> None:
    with pytest.raises(ConfigError, match="there are"):
        choices(settings, "codec")


def test_the_code_digest_follows_the_settings() -> None:
    assert code_digest({}) == code_digest({})
    assert code_digest({}) != code_digest({"seed": 1})
    assert len(code_version()) == 16


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A copy of the training package whose files a test may change."""
    return Path(shutil.copytree(Path(training.__file__).parent, tmp_path / "training"))


def digest_after_a_change(package: Path, module: str) -> str:
    with (package / module).open("a") as source:
        source.write("\n# changed\n")
    return source_digest.__wrapped__(package, ENTRIES)


@pytest.mark.parametrize(
    "module",
    [
        *("fit.py", "trainer/learner.py", "data/clips.py", "model/text.py", "sampling/sampler.py"),
        *("consent/guard.py", "consent/snapshot.py", "consent/ledger.py", "consent/__init__.py"),
        *("evaluate/heldout.py", "model/config.py", "data/steps.py"),  # training chooses by them
    ],
)
def test_a_change_of_a_module_that_decides_weights_is_another_code_version(package: Path, module: str) -> None:
    assert source_digest(package, ENTRIES) == code_version()
    assert digest_after_a_change(package, module) != code_version()


@pytest.mark.parametrize("module", ["evaluate/adherence.py", "evaluate/scorecard.py", "make_base.py"])
def test_a_change_of_a_module_that_only_measures_or_proves_makes_no_model_look_new(package: Path, module: str) -> None:
    assert digest_after_a_change(package, module) == code_version()


def test_a_module_in_a_sub_folder_counts_once_training_imports_it(package: Path) -> None:
    (package / "deep").mkdir()
    for name in ("__init__.py", "rule.py"):
        (package / "deep" / name).write_text("")
    assert source_digest.__wrapped__(package, ENTRIES) == code_version()
    with (package / "data" / "clips.py").open("a") as source:
        source.write("\n\ndef late() -> None:\n    from training.deep import rule  # noqa: F401\n")
    assert {package / "deep" / "__init__.py", package / "deep" / "rule.py"} <= set(sources(package, ENTRIES))


def test_only_measuring_and_proving_is_left_out_of_the_code_version() -> None:
    folder = Path(training.__file__).parent
    left_out = {
        path.relative_to(folder).as_posix() for path in set(folder.rglob("*.py")) - set(sources(folder, ENTRIES))
    }
    allowed = ("evaluate/", "networks/", "consent/proofs/", "consent/statements.py", "simulate/")
    allowed += ("base.py", "export.py", "make_base.py")
    assert [path for path in sorted(left_out) if not path.startswith(allowed)] == []


def test_a_transformer_is_told_what_curation_measured_of_the_snapshots_members(small_world: Any) -> None:
    from training.model.conditioning import NUMERIC, read_numbers

    clip_ids = small_world.home.lake.read("signals", columns=["clip_id"]).column("clip_id").to_pylist()
    sealed = SimpleNamespace(clip_ids=clip_ids[:3])
    measured = read_numbers(launch.write_numbers(small_world.home, sealed, small_world.home.state))  # type: ignore[arg-type]
    assert sorted(measured) == sorted(clip_ids[:3])
    assert all(set(named) == set(launch.MEASURED) < set(NUMERIC) for named in measured.values())

"""A demo of which a part did not happen says so; `make clean` asks before anybody's ledger or keys go."""

from __future__ import annotations

import io
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from assets.consent.platform import platform_ledger
from assets.home import Home
from assets.registry import MODEL, Registry
from orchestration.demo import run, story
from orchestration.demo.clean import clean
from orchestration.demo.deliveries import CASES, DELIVERIES, REQUESTS
from orchestration.demo.people import enrol_everybody
from orchestration.demo.story import DemoFailed, require
from orchestration.demo.world import World
from tests.worlds import enrol

WORLD = World(tuple(REQUESTS), DELIVERIES)


def test_everything_that_did_not_happen_is_listed(home: Home, tmp_path: Path) -> None:
    with pytest.raises(DemoFailed) as failed:
        require(home, WORLD, tmp_path / "sample.mp4")
    output = str(failed.value)
    assert all(f"request {request_id} is not in the warehouse" in output for request_id in REQUESTS)
    assert all(f"registered 0 of {len(d.clips)} files of {d.delivery_id}" in output for d in DELIVERIES)
    assert all(f"{case.clip} should be {case.reason}" in output for case in CASES)
    assert "no snapshot was sealed" in output
    assert "no version is champion (asset champion): no version is registered" in output
    assert f'"{story.PROMPT}" was not answered' in output


@pytest.fixture
def refused(home: Home, empty_registry: Path) -> Home:
    """A home whose only version was refused by the gate."""
    shutil.copyfile(empty_registry, home.state / "mlflow.db")
    tags = {"model_key": "m-1", "gate": "refused", "gate_reasons": "learned: too little"}
    Registry(home).client.create_model_version(MODEL, "file:///nowhere", tags=tags)
    return home


def test_a_missing_champion_is_told_with_the_gates_reasons(refused: Home, tmp_path: Path) -> None:
    with pytest.raises(DemoFailed, match=r"no version is champion .* version 1: learned: too little"):
        require(refused, World(), tmp_path / "sample.mp4")


def test_the_answer_of_an_earlier_run_does_not_pass_for_this_ones(refused: Home, tmp_path: Path) -> None:
    sample = tmp_path / "sample.mp4"
    sample.write_bytes(b"of an earlier run")
    assert story.answer_prompt(refused, sample) is None
    assert not sample.exists()


def test_the_command_of_a_demo_without_a_champion_fails_and_says_why(
    refused: Home, rushes: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    class NoSession:
        """Services and runs take minutes: here they do nothing, which the demo has to notice."""

        def __init__(self, *settings: Any) -> None: ...

        def __enter__(self) -> Any:
            return self

        def __exit__(self, *error: Any) -> None: ...

        def job(self, name: str, tags: Any = None) -> None: ...

        def intake(self, days: Any = None) -> None: ...

    monkeypatch.setattr(run, "Session", NoSession)
    monkeypatch.setattr(run, "fetch", lambda vendor: None)
    monkeypatch.setattr(run, "build_world", lambda home, deliveries: World())
    output = rushes("demo", code=1)
    assert "the demo did not reach its end" in output
    assert "version 1: learned: too little" in output
    assert "Next:" not in output


# -- make clean --------------------------------------------------------------------------------------------------------


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def demo(home: Home) -> Home:
    enrol_everybody(home)
    return home


def test_the_demos_own_home_is_deleted_and_so_is_an_empty_one(demo: Home, tmp_path: Path) -> None:
    assert clean(demo.state) == 0
    assert not demo.state.exists()
    assert clean(tmp_path / "never-made") == 0


@pytest.mark.parametrize("what", ["somebody else in the demo's ledger", "a ledger of others", "keys", "damage"])
def test_what_cannot_be_made_again_is_kept_until_somebody_confirms(
    home: Home, what: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    if what == "somebody else in the demo's ledger":
        enrol_everybody(home)
        enrol(home, "c-you")
    elif what == "a ledger of others":
        platform_ledger(home)
    elif what == "keys":
        enrol_everybody(home)
        (home.state / "you.pem").write_text("secret")
    else:
        (home.state / "rushes.db").write_bytes(b"SQLite format 3 but not really")
    monkeypatch.setattr(sys, "stdin", io.StringIO("delete\n"))
    assert clean(home.state) == 1
    assert "cannot be made again" in capsys.readouterr().err
    monkeypatch.setattr(sys, "stdin", Terminal("yes\n"))
    assert clean(home.state) == 1
    assert home.state.is_dir()
    monkeypatch.setattr(sys, "stdin", Terminal("delete\n"))
    assert clean(home.state) == 0
    assert not home.state.exists()

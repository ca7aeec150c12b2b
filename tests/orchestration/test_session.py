"""What `rushes run intake` finds to do."""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from assets.home import Home
from assets.ingestion import inbox, progress
from orchestration import launch, session
from tests.assets.ingestion.conftest import DAY, clip, drop, manifest

__all__ = ["drop"]


class Launcher:
    """Takes a backfill for done."""

    def __init__(self) -> None:
        self.days: list[str] = []

    def backfill(self, job: str, days: list[str], title: str) -> str:
        self.days += days
        return "b-1"


@pytest.fixture
def intake(home: Home, monkeypatch: pytest.MonkeyPatch) -> Callable[[], tuple[list[str], str]]:
    """Asks for an intake without services: the days it starts, and what it says."""
    monkeypatch.setattr(session, "open_home", lambda settings: home)
    monkeypatch.setattr(launch, "add_days", lambda *arguments: None)
    monkeypatch.setattr(launch, "follow_backfill", lambda *arguments: None)

    def ask() -> tuple[list[str], str]:
        out, launcher, asked = io.StringIO(), Launcher(), session.Session.__new__(session.Session)
        given: dict[str, Any] = {"settings": None, "instance": None, "launcher": launcher}
        vars(asked).update(given | {"console": Console(file=out, width=400)})
        asked.intake()
        return launcher.days, out.getvalue()

    return ask


def test_a_day_that_was_left_half_taken_in_is_finished(
    home: Home, drop: Callable[..., Path], intake: Callable[[], tuple[list[str], str]]
) -> None:
    drop("one", manifest(clip("a.mp4")), {"a.mp4": b"x"})
    progress.begin(home, DAY, "killed")
    days, said = intake()
    assert days == [DAY]
    assert f"{DAY} waits: its intake did not come to its end" in said  # nothing ran here


def test_a_folder_dropped_into_the_inbox_is_taken_and_one_that_is_not_is_named(
    home: Home, drop: Callable[..., Path], intake: Callable[[], tuple[list[str], str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    (home.state / "inbox" / "bare").mkdir(parents=True)
    os.replace(drop("shoot", manifest(clip("a.mp4")), {"a.mp4": b"x"}), home.state / "inbox" / "shoot")
    days, said = intake()
    assert days == []
    assert "inbox/bare is left where it is" in said
    assert "inbox/shoot is left where it is" in said  # it may still be being copied
    monkeypatch.setattr(inbox, "_last_change", lambda folder: 0.0)
    days, said = intake()
    assert len(days) == 1
    assert [folder for _, folder in inbox.list_deliveries(home.store)] == ["shoot"]
    assert "shoot is left" not in said

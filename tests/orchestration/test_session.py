"""What `rushes run` finds to do, and what it does beside other commands and when Dagster is gone."""

from __future__ import annotations

import contextlib
import io
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from rich.console import Console

from assets.home import Home
from assets.ingestion import inbox, progress
from orchestration import launch, services, session
from orchestration.settings import Settings
from tests.assets.ingestion.conftest import DAY, clip, drop, manifest
from tests.orchestration.graph import instance_in, settings_in
from tests.orchestration.sensors.conftest import run_of

__all__ = ["drop"]


class Client:
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
        out, client, asked = io.StringIO(), Client(), session.Session.__new__(session.Session)
        state: dict[str, Any] = {"settings": None, "instance": None, "client": client}
        vars(asked).update(state | {"console": Console(file=out, width=400)})
        asked.intake()
        return client.days, out.getvalue()

    return ask


def test_a_day_that_was_left_half_taken_in_is_finished(
    home: Home, drop: Callable[..., Path], intake: Callable[[], tuple[list[str], str]]
) -> None:
    drop("one", manifest(clip("a.mp4")), {"a.mp4": b"x"})
    progress.begin(home, DAY, "killed")
    days, output = intake()
    assert days == [DAY]
    assert f"{DAY} waits: its intake did not come to its end" in output  # nothing ran here


def test_a_folder_dropped_into_the_inbox_is_taken_and_one_that_is_not_is_named(
    home: Home, drop: Callable[..., Path], intake: Callable[[], tuple[list[str], str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    (home.state / "inbox" / "bare").mkdir(parents=True)
    os.replace(drop("shoot", manifest(clip("a.mp4")), {"a.mp4": b"x"}), home.state / "inbox" / "shoot")
    days, output = intake()
    assert days == []
    assert "inbox/bare is left where it is" in output
    assert "inbox/shoot is left where it is" in output  # it may still be being copied
    monkeypatch.setattr(inbox, "_last_change", lambda folder: 0.0)
    days, output = intake()
    assert len(days) == 1
    assert [folder for _, folder in inbox.list_deliveries(home.store)] == ["shoot"]
    assert "shoot is left" not in output


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return settings_in(tmp_path)


def test_a_second_command_waits_until_the_first_has_ended_its_daemon(settings: Settings) -> None:
    out = io.StringIO()
    first, second = contextlib.ExitStack(), contextlib.ExitStack()
    assert session._served(settings, first, Console(file=out)) is None
    served: list[Settings | None] = []
    waiting = threading.Thread(
        target=lambda: served.append(session._served(settings, second, Console(file=out, width=400)))
    )
    waiting.start()
    waiting.join(1.5)
    assert waiting.is_alive()
    assert f"(process {os.getpid()})" in out.getvalue()
    first.close()
    waiting.join(10)
    assert served == [None]
    second.close()


def test_a_home_that_is_served_is_not_served_twice(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "is_ours", lambda settings: True)
    with contextlib.ExitStack() as first:
        assert session._served(settings, first, Console()) is None, "it was left by a command that was killed"
        with pytest.raises(services.ServiceError, match="served already"):
            session.serve(settings, Console(file=io.StringIO()))


@pytest.mark.parametrize("torn", ["", "http://127.0.0.1:999999", "http://[", "\x00"])
def test_a_torn_note_of_a_webserver_is_none(settings: Settings, torn: str) -> None:
    services.prepare_instance(settings)
    (settings.dagster_home / "webserver").write_text(torn)
    with contextlib.ExitStack() as stack:
        assert session._served(settings, stack, Console()) is None


def test_a_run_is_not_waited_for_once_dagster_is_gone(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "ASK_EVERY_S", -1.0)
    monkeypatch.setattr(session, "GONE_S", -1.0)
    following = session.Session(settings)
    with instance_in(tmp_path / "dagster") as instance:
        run = run_of(instance, "refresh", dg.DagsterRunStatus.STARTED)
        with pytest.raises(services.ServiceError, match="has not answered"):
            launch.follow_run(instance, run.run_id, lambda progress: None, following._still_up)


def test_a_killed_run_is_followed_to_the_end_of_the_one_in_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(launch, "POLL_S", 0.01)
    with instance_in(tmp_path / "dagster") as instance:
        killed = run_of(instance, "refresh", dg.DagsterRunStatus.FAILURE, **{"dagster/will_retry": "true"})

        def retry() -> None:
            again = run_of(instance, "refresh", dg.DagsterRunStatus.SUCCESS)
            instance.add_run_tags(killed.run_id, {launch.RETRIED_BY: again.run_id})

        launch.follow_run(instance, killed.run_id, lambda progress: None, retry)
        monkeypatch.setattr(launch, "RETRY_WITHIN_S", 0.0)
        lost = run_of(instance, "refresh", dg.DagsterRunStatus.FAILURE, **{"dagster/will_retry": "true"})
        with pytest.raises(launch.LaunchError, match=lost.run_id):
            launch.follow_run(instance, lost.run_id, lambda progress: None, lambda: None)

"""Fixtures of the tests that need Dagster or the command line: the small world made by hand, and somebody who types."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable
from pathlib import Path

import pytest


@pytest.fixture
def rushes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Types `rushes ...` over an empty home, and `typed` when asked; returns what it said, and checks how it ended."""
    from orchestration.cli import main
    from orchestration.commands import shared

    monkeypatch.setenv("RUSHES_HOME", str(tmp_path / "home"))
    for console in (shared.stdout, shared.stderr):  # they read COLUMNS once, when they are made
        monkeypatch.setattr(console, "width", 300)
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str, typed: str = "", code: int = 0) -> str:
        monkeypatch.setattr(sys, "argv", ["rushes", *arguments])
        monkeypatch.setattr(sys, "stdin", io.StringIO(typed))
        ended = 0
        try:
            main()
        except SystemExit as stop:
            ended = stop.code
        output = "".join(capsys.readouterr())
        assert ended == code, output
        return output

    return run

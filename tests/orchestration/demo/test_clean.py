"""`make clean` takes the demo's home without a word, and asks before anybody's ledger or keys go."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import pytest

from assets.consent.platform import platform_ledger
from assets.home import Home
from orchestration.demo.clean import clean
from orchestration.demo.people import enrol_everybody
from tests.worlds import enrol


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home.local(tmp_path / "home")


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

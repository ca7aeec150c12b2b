"""The register of reviewers: who is on it, for whom they work, and that nobody rewrites it."""

from __future__ import annotations

import sqlite3
from datetime import UTC, datetime, timedelta

import pytest

from assets.consent.reviewers import ReviewError, enrol, read_register, retire
from assets.home import Home

NOW = datetime(2026, 11, 2, 9, tzinfo=UTC)


def test_a_reviewer_is_enrolled_once_moves_and_retires(home: Home) -> None:
    url = home.database_url
    assert enrol(url, "v-1", "org-a", by="o-ida", now=NOW)
    assert not enrol(url, "v-1", "org-a", by="o-ida", now=NOW + timedelta(days=1))
    assert enrol(url, "v-1", "org-b", by="o-ida", now=NOW + timedelta(days=2))
    assert read_register(url).judge("v-1").organisation == "org-b"
    assert retire(url, "v-1", by="o-ida", now=NOW + timedelta(days=3))
    assert not retire(url, "v-1", by="o-ida", now=NOW + timedelta(days=4))
    with pytest.raises(ReviewError, match="retired"):
        read_register(url).judge("v-1")
    assert enrol(url, "v-1", "org-b", by="o-ida", now=NOW + timedelta(days=5))
    register = read_register(url)
    assert [(entry.organisation, entry.active) for entry in register.entries] == [
        *(("org-a", True), ("org-b", True), ("org-b", False), ("org-b", True))
    ]
    assert register.knows("v-1", "org-a")  # what they judged for it stands
    assert register.knows("v-1", "ORG-B ")
    assert not register.knows("v-1", "org-c")


def test_who_was_active_is_known_for_every_moment(home: Home) -> None:
    url = home.database_url
    enrol(url, "v-1", "org-a", by="o-ida", now=NOW)
    enrol(url, "v-2", "org-b", by="o-ida", now=NOW + timedelta(hours=1))
    retire(url, "v-1", by="o-ida", now=NOW + timedelta(hours=2))
    register = read_register(url)
    at = ["2026-11-02T08:59:59Z", "2026-11-02T09:00:00Z", "2026-11-02T10:00:00Z", "2026-11-02T11:00:00Z"]
    assert [sorted(register.active(moment)) for moment in at] == [[], ["v-1"], ["v-1", "v-2"], ["v-2"]]


def test_a_clock_that_was_set_back_does_not_undo_what_was_recorded(home: Home) -> None:
    url = home.database_url
    enrol(url, "v-1", "org-a", by="o-ida", now=NOW)
    retire(url, "v-1", by="o-ida", now=NOW - timedelta(days=9))
    assert read_register(url).active("2026-11-02T09:00:00Z") == {}


@pytest.mark.parametrize("name", ["", " ", "v 1", "v-1\n", "-v", "<script>", "v" * 129, "vé"])
def test_a_name_that_is_none_is_refused(home: Home, name: str) -> None:
    for said in ((name, "org-a"), ("v-1", name)):
        with pytest.raises(ReviewError, match="no name"):
            enrol(home.database_url, *said, by="o-ida", now=NOW)
    assert read_register(home.database_url).entries == ()


def test_a_second_spelling_of_a_reviewer_is_not_a_second_reviewer(home: Home) -> None:
    enrol(home.database_url, "v-1", "org-a", by="o-ida", now=NOW)
    with pytest.raises(ReviewError, match="'v-1'"):
        enrol(home.database_url, "V-1", "org-b", by="o-ida", now=NOW)


def test_somebody_unknown_cannot_retire_and_is_told_how_to_register(home: Home) -> None:
    with pytest.raises(ReviewError, match="rushes review reviewers"):
        retire(home.database_url, "v-9", by="o-ida", now=NOW)
    with pytest.raises(ReviewError, match="rushes review enrol"):
        read_register(home.database_url).judge("v-9")


def test_rows_of_the_register_are_never_changed(home: Home) -> None:
    enrol(home.database_url, "v-1", "org-a", by="o-ida", now=NOW)
    raw = sqlite3.connect(home.state / "rushes.db", isolation_level=None)
    for statement in (
        "UPDATE reviewer SET organisation = 'org-b'",
        "DELETE FROM reviewer",
        "INSERT OR REPLACE INTO reviewer SELECT id, reviewer_id, 'org-b', active, recorded_at, by FROM reviewer",
    ):
        with pytest.raises(sqlite3.IntegrityError, match="reviewer"):
            raw.execute(statement)

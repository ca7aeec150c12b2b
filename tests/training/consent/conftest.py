"""A ledger in a temporary database, and people with keys in it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.training.consent.people import People


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'rushes.db'}"


@pytest.fixture
def people(url: str) -> People:
    """A contributor, a depicted person, a guardian, a minor and an intruder, all with keys."""
    return People(url, "c-ann", "p-bob", "g-eve", "m-kid", "x-mal")

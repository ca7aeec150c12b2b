"""The invariants are tested on the small worlds of other tests: people with a ledger, and a home with footage."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.assets.conftest import small_world, world
from tests.assets.withdrawals.conftest import copied, empty_registry, template
from tests.training.consent.people import People

__all__ = ["copied", "empty_registry", "small_world", "template", "world"]


@pytest.fixture
def people(tmp_path: Path) -> People:
    """A contributor, a depicted person, a guardian, a minor and an intruder, all with keys."""
    return People(f"sqlite:///{tmp_path / 'rushes.db'}", "c-ann", "p-bob", "g-eve", "m-kid", "x-mal")

"""Rows of the stages before curation: an honest street by day."""

from __future__ import annotations

import pytest

from tests.rows import STREET, Row, row


@pytest.fixture
def shot() -> Row:
    return {name: row("shots")[name] for name in ("clip_id", "item_id", "shot_index", "received_day")}


@pytest.fixture
def item() -> Row:
    return row("delivery_items")


@pytest.fixture
def media() -> Row:
    return row("media")


@pytest.fixture
def signals() -> Row:
    """A well-lit, sharp day shot that pans slowly to the right."""
    return STREET["signals"] | dict.fromkeys(("black_fraction", "freeze_fraction", "letterbox_fraction"), 0.0)

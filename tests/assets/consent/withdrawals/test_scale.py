"""The benchmark of a withdrawal, at a size that a test can afford: it reaches what it should and holds its promise."""

from __future__ import annotations

import pytest

from tests.benchmarks.closure import closure


@pytest.mark.slow
def test_a_revocation_reaches_the_alias_within_the_time_that_is_promised() -> None:
    figures = closure(clips=100, snapshots=10, events=600)
    assert figures["reached"] == {"clips": 10, "snapshots": 6, "versions": 8}
    assert figures["champion_before_and_after"] == ["6", "10"]
    assert figures["append_to_alias_moved_s"] <= figures["append_to_receipt_signed_s"]
    assert figures["holds"]

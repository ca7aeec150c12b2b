"""Building again: the same inputs give the same marts, and no payout is ever taken back."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from assets.lake import Lake
from assets.store import LocalStore
from tests.dbt.running import rebuild, rows_of
from tests.dbt.small_lake import cases

pytestmark = pytest.mark.slow

MARTS = (
    "fct_clips",
    "fct_items",
    "fct_request_fulfilment",
    "fct_payouts",
    "mart_training_eligibility",
    "mart_coverage",
)


def test_building_again_changes_nothing_and_a_lost_acceptance_keeps_its_payout(built: Path, tmp_path: Path) -> None:
    root = tmp_path / "again"
    shutil.copytree(built, root)
    read = rows_of(root)
    before = {name: read(name) for name in MARTS}

    rebuild(root)
    assert {name: read(name) for name in MARTS} == before

    # the reviewers change their minds about a clip that was accepted and paid
    changed = cases()
    for row in changed.rows["reviews"]:
        if row["item_id"] == "i-good":
            row |= {"verdict": "reject", "reasons": ["legal.privacy"], "fit_for_catalogue": False}
    changed.write(Lake(LocalStore(root)))
    rebuild(root)
    outcomes = {row["item_id"]: row["outcome"] for row in read("fct_clips")}
    assert outcomes["i-good"] == "rejected"
    assert {row["entry_id"] for row in before["fct_payouts"]} <= {row["entry_id"] for row in read("fct_payouts")}

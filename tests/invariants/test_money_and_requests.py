"""Invariants of money and requests: I13 that what is paid balances and is never taken back, I14 that no request takes more than
it asked for, can pay for or gave time for. Both over real builds of the warehouse, of a lake in which all come at once."""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path

import pytest

from assets.lake import Lake
from assets.store import LocalStore
from tests.dbt.models import Rows, rebuild, rows_of
from tests.dbt.small_lake import DAY, SmallLake

pytestmark = pytest.mark.slow  # each build is a process of dbt

PRICE, BUDGET = 333, 1000  # three clips, and one unit that is left over


def rush() -> SmallLake:
    """Everybody delivers in the same second; one request is nearly full, one nearly out of money, one nearly over."""
    lake = SmallLake()
    lake.request("r-slots", target_units=2, price_minor=500, budget_minor=100_000)
    lake.request("r-money", target_units=100, price_minor=PRICE, budget_minor=BUDGET)
    lake.request("r-share", target_units=4, price_minor=100, budget_minor=400, max_per_contributor=1)
    lake.request("r-time", target_units=10, price_minor=100, budget_minor=1000, deadline_at=f"{DAY}T09:00:00Z")
    lake.request("r-free", target_units=1, price_minor=0, budget_minor=0)
    for number in range(5):
        for request in ("r-slots", "r-money", "r-free"):
            lake.clip(f"{request}-{number}", request=request, contributor=f"c-{number}")
        lake.clip(f"r-share-{number}", request="r-share", contributor=f"c-{number % 2}")
    for hour in (7, 8, 9, 10, 11):  # reviewed on the fifth, all of them: only when they came counts
        lake.clip(f"r-time-{hour}", request="r-time", contributor=f"c-{hour}", hour=hour)
    return lake


def build(root: Path, lake: SmallLake) -> Rows:
    lake.write(Lake(LocalStore(root)))
    Lake(LocalStore(root)).mirror(root / "mirror")
    rebuild(root)
    return rows_of(root)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("rush")
    build(root, rush())
    return root


def accepted(read: Rows) -> Counter[str]:
    return Counter(row["request_id"] for row in read("fct_clips") if row["outcome"] == "accepted_request")


def test_i14_the_last_slot_and_the_last_of_the_money_are_given_once(built: Path) -> None:
    read = rows_of(built)
    assert accepted(read) == {"r-slots": 2, "r-money": 3, "r-share": 2, "r-time": 3, "r-free": 1}
    for row in read("fct_request_fulfilment"):
        assert row["accepted_units"] <= row["target_units"]
        assert row["committed_minor"] <= row["budget_minor"]
    refused = {
        row["item_id"]: row["outcome_reasons"] for row in read("fct_clips") if row["outcome"] != "accepted_request"
    }
    assert all(reasons for reasons in refused.values())


def test_i14_what_came_before_the_deadline_is_taken_however_late_it_was_reviewed_and_nothing_after(built: Path) -> None:
    outcomes = {row["item_id"]: row for row in rows_of(built)("fct_clips") if row["request_id"] == "r-time"}
    taken = {item for item, row in outcomes.items() if row["outcome"] == "accepted_request"}
    assert taken == {"i-r-time-7", "i-r-time-8", "i-r-time-9"}
    assert "capacity.late" in outcomes["i-r-time-10"]["outcome_reasons"]


def test_i14_one_contributor_takes_no_more_than_a_share(built: Path) -> None:
    clips = [row for row in rows_of(built)("fct_clips") if row["request_id"] == "r-share"]
    taken = Counter(row["contributor_id"] for row in clips if row["outcome"] == "accepted_request")
    assert taken == {"c-0": 1, "c-1": 1}


def test_i13_debits_equal_credits_in_whole_units_and_every_acceptance_is_paid_once(built: Path) -> None:
    read = rows_of(built)
    entries = read("fct_payouts")
    balance: Counter[str] = Counter()
    for entry in entries:
        assert isinstance(entry["amount_minor"], int)
        balance[entry["transaction_id"]] += entry["amount_minor"]
    assert set(balance.values()) == {0}
    assert len({entry["entry_id"] for entry in entries}) == len(entries) == 2 * len(balance)
    credited = Counter(entry["request_id"] for entry in entries if entry["account"].startswith("contributor:"))
    assert credited == {request: count for request, count in accepted(read).items() if request != "r-free"}
    assert -sum(e["amount_minor"] for e in entries if e["request_id"] == "r-money" and e["amount_minor"] < 0) == 999


def test_i13_asked_again_or_after_a_withdrawal_nothing_is_paid_twice_and_nothing_is_taken_back(
    built: Path, tmp_path: Path
) -> None:
    root = tmp_path / "again"
    shutil.copytree(built, root)
    before = sorted(rows_of(root)("fct_payouts"), key=lambda row: row["entry_id"])
    clips = rows_of(root)("fct_clips")
    taken = [row for row in clips if row["outcome"] == "accepted_request" and row["request_id"] == "r-slots"]
    winner = taken[0]

    retried = rush()
    for rows in retried.rows.values():
        rows.reverse()  # the same deliveries arrive again in another order
    read = build(root, retried)
    assert sorted(read("fct_payouts"), key=lambda row: row["entry_id"]) == before

    withdrawn = rush()
    withdrawn.revoke(winner["contributor_id"], f"k-{winner['item_id'].removeprefix('i-')}")
    read = build(root, withdrawn)
    after = {row["entry_id"]: row for row in read("fct_payouts")}
    assert all(after[row["entry_id"]] == row for row in before)
    (clip,) = [row for row in read("fct_clips") if row["item_id"] == winner["item_id"]]
    assert not clip["eligible"]
    assert "consent.revoked" in clip["eligibility_reasons"]

"""`rushes curate` as a data team types it: what is asked, what another threshold would change, and why one clip."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from assets.curation.policy.policy import POLICY
from assets.curation.policy.policy_overrides import policy_of
from assets.curation.policy.replay import replay
from assets.home import Home
from tests.assets.curation.corpus import write_corpus
from tests.rows import DAY
from tests.worlds import World

HOSTILE = "</td><script>alert('x')</script> [bold]\x1b[31m&amp; "
Rushes = Callable[..., str]


@pytest.fixture
def rushes(rushes: Rushes, home: Home, monkeypatch: pytest.MonkeyPatch) -> Rushes:
    """Types `rushes curate ...` over the home; `opened` lists what went to the browser."""
    opened: list[str] = []
    monkeypatch.setenv("RUSHES_HOME", str(home.state))
    monkeypatch.setenv("RUSHES_VENDOR", str(home.vendor))
    monkeypatch.setenv("DAGSTER_HOME", str(home.state / "dagster"))
    monkeypatch.setenv("DISPLAY", ":0")
    monkeypatch.setattr("webbrowser.open", lambda address: opened.append(address) or True)

    def run(*arguments: str, **options: Any) -> str:
        return rushes("curate", *arguments, **options)

    run.opened = opened  # type: ignore[attr-defined]
    return run


@pytest.fixture
def corpus(home: Home) -> Home:
    write_corpus(home, days=2, clips_a_day=30)
    replay(home, POLICY, write=True)
    return home


@pytest.fixture
def explained(world: World) -> World:
    """Two clips of a contributor whose words are hostile, decided; the first is too soft for its policy."""
    world.deliver("c-1")
    for item in world.tables["delivery_items"]:
        item |= {"declared_subject": HOSTILE, "declared_location": HOSTILE, "declared_time_of_day": "day"}
        item["file_name"] = f"holiday-{item['position']}.mp4"
    world.tables["verdicts"] = []
    world.settle(review=False)
    replay(world.home, POLICY, write=True)
    return world


def tables(home: Home) -> dict[str, bytes]:
    return {key: home.store.get(key) for key in home.store.list("lake/verdicts")}


def test_the_policy_is_shown_with_what_this_home_changed(rushes: Rushes, corpus: Home) -> None:
    assert "variance of the Laplacian" in rushes("policy")
    rushes("replay", "--set", "sharpness.low=30", "--apply")
    assert "usually at least 6, quality" in rushes("policy")
    checks = {check["name"]: check for check in json.loads(rushes("policy", "--json"))["checks"]}
    assert checks["sharpness"]["low"] == 30


def test_trying_a_threshold_tells_what_changes_and_writes_nothing(rushes: Rushes, corpus: Home) -> None:
    before = tables(corpus)
    output = rushes("replay", "--set", "sharpness.low=30")
    assert "at least 6 → at least 30" in output
    assert re.search(r"60 clips of 2 days: \d+ good before, \d+ after", output)
    assert "Nothing was written" in output
    assert tables(corpus) == before
    assert policy_of(corpus) == POLICY


def test_applying_it_decides_all_days_and_taking_it_back_gives_the_same_bytes(rushes: Rushes, corpus: Home) -> None:
    before = tables(corpus)
    assert "2 of 2 days were replaced" in rushes("replay", "--set", "sharpness.low=30", "--apply")
    assert {row["check_version"].split("/")[0] for row in corpus.lake.rows("verdicts")} == {policy_of(corpus).name}
    assert tables(corpus) != before
    rushes("replay", "--set", "sharpness.low=default", "--apply")
    assert tables(corpus) == before


def test_dagster_is_told_of_days_that_were_decided_again(rushes: Rushes, corpus: Home) -> None:
    import dagster as dg

    rushes("replay", "--set", "sharpness.low=30", "--apply")
    with dg.DagsterInstance.from_config(str(corpus.state / "dagster")) as instance:
        materialized = instance.get_materialized_partitions(dg.AssetKey("verdicts"))
    assert materialized == set(corpus.lake.partitions("shots"))


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (("--set", "sharpnes.low=8"), "did you mean sharpness"),
        (("--set", "black.high=50"), "write 0.5 for 50 %"),
        (("--set", "motion.low=3"), "above high"),
        (("--day", "2031-01-01"), "no clips were received on 2031-01-01"),
        (("--day", "2026-01-01", "--apply"), "--apply decides all days"),
    ],
)
def test_misuse_is_one_line_and_writes_nothing(rushes: Rushes, corpus: Home, arguments: Any, why: str) -> None:
    before = tables(corpus)
    output = rushes("replay", *arguments, code=1)
    assert why in output
    assert output.count("\n") == 1
    assert tables(corpus) == before
    assert policy_of(corpus) == POLICY


def test_a_clip_is_explained_with_every_check_and_a_page_that_runs_nothing(rushes: Rushes, explained: World) -> None:
    output = rushes("explain", "holiday-0.mp4")
    for check in POLICY.checks:
        assert check.name in output
    assert "\x1b" not in output
    (address,) = rushes.opened  # type: ignore[attr-defined]
    path = Path(address.removeprefix("file://"))
    page = path.read_text()
    assert page.count("<figure>") == 12
    assert "frame 0 · 0.000000 s" in page
    assert "<script" not in page
    assert "\x1b" not in page
    assert path.stat().st_mode & 0o077 == 0
    assert f"decided by {POLICY.name}" in page
    assert all(check.asks in html.unescape(page) for check in POLICY.checks)


def test_an_explanation_is_plain_values_for_programs_and_opens_nothing(rushes: Rushes, explained: World) -> None:
    explanation = json.loads(rushes("explain", "i-c-1-1", "--json"))
    assert explanation["clip"]["file_name"] == "holiday-1.mp4"
    assert {row["check"] for row in explanation["checks"]} == {check.name for check in POLICY.checks}
    sharpness = next(row for row in explanation["checks"] if row["check"] == "sharpness")
    assert sharpness["threshold"] == "at least 6"
    assert sharpness["unit"] == POLICY.check("sharpness").unit
    assert [row["kind"] for row in explanation["captions"]] == ["long", "short"]
    assert explanation["duplicate_kind"] == "unique"
    assert rushes.opened == []  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("name", "why"), [("zz", "there are "), ("holiday-2.mp4", "did you mean"), ("i-c-1", "could be ")]
)
def test_a_clip_that_is_none_or_several_is_one_line_with_candidates(
    rushes: Rushes, explained: World, name: str, why: str
) -> None:
    output = rushes("explain", name, code=1)
    assert why in output
    assert "holiday-" in output
    assert output.count("\n") == 1


def test_a_file_in_quarantine_says_why_it_has_no_clips(rushes: Rushes, explained: World) -> None:
    rows = explained.home.lake.rows("delivery_items", DAY)
    bad = rows[0] | {
        "item_id": "i-bad",
        "file_name": "bad.mp4",
        "state": "quarantined",
        "reasons": ["media.zero_bytes"],
    }
    explained.home.lake.write("delivery_items", [*rows, bad], DAY)
    assert "media.zero_bytes" in rushes("explain", "bad.mp4", code=1)


def test_what_is_withdrawn_says_so_and_shows_no_picture(
    rushes: Rushes, explained: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("assets.curation.explain.withheld", lambda url, ids: dict.fromkeys(ids, "w-1"))
    output = rushes("explain", "holiday-0.mp4", "--no-open")
    assert "stands withdrawn (w-1)" in output
    page = next((explained.home.state / "scratch" / "sheets").glob("*-explained.html")).read_text()
    assert "<img" not in page
    assert "stands withdrawn" in page


def test_a_file_that_is_gone_says_so_and_shows_no_picture(rushes: Rushes, explained: World) -> None:
    for key in list(explained.home.store.list("media")):
        explained.home.store.delete(key)
    assert "not in the store any more" in rushes("explain", "holiday-0.mp4", "--no-open")


def test_verdicts_of_another_policy_are_told(rushes: Rushes, explained: World) -> None:
    explained.home.store.put("curation.yaml", b"sharpness: {low: 30}")
    output = rushes("explain", "holiday-0.mp4", "--no-open")
    assert POLICY.name in output
    assert policy_of(explained.home).name in output


def test_pages_of_an_explained_clip_go_with_a_withdrawal(rushes: Rushes, explained: World) -> None:
    from assets.withdrawals.artifacts import forget_pages

    rushes("explain", "holiday-0.mp4", "--no-open")
    (page,) = (explained.home.state / "scratch" / "sheets").glob("*-explained.html")
    forget_pages(explained.home, [page.name.split("-")[0]])
    assert not page.exists()

"""What people see of a day: clips near a threshold, what drifted, and bounded metadata with checks that look back."""

from __future__ import annotations

import random
from typing import Any

import dagster as dg
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from assets.curation import assets
from assets.curation.checks import DISTANCE, Jump, distance, drifted
from assets.curation.day_report import (
    Day,
    distributions,
    histograms,
    margin,
    narrowest,
    refused_counts,
    refused_table,
    verdict_table,
)
from assets.curation.explain import judged_good
from assets.curation.policy.policy import POLICY
from assets.curation.policy.policy_overrides import KEY, policy_of
from assets.curation.policy.replay import replay
from assets.curation.policy.verdicts import Evidence, decide
from assets.home import Home
from assets.store import LocalStore
from tests.assets.curation.corpus import write_corpus

Row = dict[str, Any]
SHARP, MOTION = POLICY.check("sharpness"), POLICY.check("motion")


@pytest.fixture
def decided(shot: Row, item: Row, media: Row, signals: Row):
    """Verdicts of clips that differ in their signals: `decided(a={"sharpness": 5.0}, b={})`."""

    def rows(**clips: Row) -> list[Row]:
        result = []
        for name, changes in clips.items():
            measured = signals | changes
            result += decide(Evidence(shot | {"item_id": name, "clip_id": name}, item, media, measured, [measured]))
        return result

    return rows


@pytest.mark.parametrize(
    ("check", "value", "share", "bound"),
    [(SHARP, 6.6, 0.1, 6.0), (SHARP, 3.0, -0.5, 6.0), (MOTION, 1.0, 0.5, 2.0), (MOTION, 0.00075, 0.5, 0.0005)],
)
def test_a_margin_is_the_distance_to_the_nearer_bound_in_shares_of_it(check, value, share, bound) -> None:
    result = margin(check, value)
    assert result is not None
    assert (result.share, result.bound) == (pytest.approx(share), bound)


@given(st.sampled_from([SHARP, MOTION, POLICY.check("black")]), st.floats(0, 1e4))
def test_a_margin_is_negative_exactly_where_the_check_fails(check, value: float) -> None:
    result = margin(check, value)
    inside = (check.low is None or value >= check.low) and (check.high is None or value <= check.high)
    assert result is not None
    assert (result.share >= 0) == inside


def test_the_worst_accepted_come_first_and_so_do_the_best_rejected(decided) -> None:
    rows = decided(
        fine={}, near={"sharpness": 6.1}, nearer={"letterbox_fraction": 0.0499},
        just={"sharpness": 5.9}, far={"sharpness": 1.0}, twice={"sharpness": 5.99, "black_fraction": 1.0},
    )  # fmt: skip
    accepted, rejected = narrowest(rows, POLICY, 10)
    assert [key[0] for key, _ in accepted] == ["nearer", "near", "fine"]
    assert [key[0] for key, _ in rejected] == ["just", "far", "twice"]
    assert accepted[0][1].label == "letterbox +0.2 %\n0.0499; at most 0.05"


def test_what_was_declared_wrongly_was_not_rejected_narrowly(decided, item: Row) -> None:
    item["declared_duration_s"] = 50.0
    assert narrowest(decided(a={"sharpness": 5.9}), POLICY, 10) == ([], [])


def test_tables_stay_small_however_many_clips_a_day_has(decided) -> None:
    rows = decided(**{f"c{at}": {"sharpness": 1.0} for at in range(300)})
    day = Day(rows, POLICY, {f"c{at}": "a" * 300 for at in range(300)})
    assert "240 more" in refused_table(day)
    assert len(refused_table(day)) < 60_000
    assert "**sharpness** | at least 6" in verdict_table(day)


def test_a_clip_that_could_not_be_measured_is_counted_and_not_refused(
    decided, shot: Row, item: Row, media: Row
) -> None:
    blind = decide(Evidence(shot | {"item_id": "blind", "not_measured": "media.crashed: SIGSEGV"}, item, media, None))
    day = Day([*decided(dull={"sharpness": 1.0}), *blind], POLICY, {})
    assert "dull" in refused_table(day)
    assert "blind" not in refused_table(day)
    assert "| not measured |" in verdict_table(day)
    assert (judged_good(blind), judged_good(decided(dull={"sharpness": 1.0})), judged_good(decided(a={}))) == (
        None,
        False,
        True,
    )


def test_histograms_count_what_is_below_and_above_and_stay_small() -> None:
    values = {check.column: list(np.random.default_rng(0).gamma(1, 1, 5000)) for check in POLICY.checks if check.column}
    picture = histograms(values, POLICY)  # type: ignore[arg-type]
    assert picture.startswith(b"\x89PNG")
    assert len(picture) < 250_000
    assert refused_counts(MOTION, np.array([0.0, 0.0005, 1.0, 2.0, 2.1])) == (1, 1)


@pytest.mark.parametrize("values", [[0.0], [0.0, 0.0], [6.0], [1e-9, 1e9]])
def test_a_histogram_of_hardly_anything_is_drawn_all_the_same(values: list[float]) -> None:
    assert histograms({"sharpness": values, "black_fraction": values}, POLICY).startswith(b"\x89PNG")


def test_a_day_without_signals_shows_none() -> None:
    assert distributions([], POLICY) == "*none*"


@pytest.mark.parametrize(
    ("today", "before", "notable"),
    [
        ((30, 100), (100, 1000), True),
        ((12, 100), (100, 1000), False),
        ((5, 10), (0, 1000), False),
        ((0, 90), (45, 90), True),
    ],
)
def test_a_jump_is_told_when_it_is_neither_chance_nor_a_trifle(today, before, notable) -> None:
    assert Jump(today, before).notable is notable


def test_a_signal_that_moved_is_told_and_one_that_did_not_is_not() -> None:
    drawn = random.Random(1)
    before = {name: [drawn.gauss(0, 1) for _ in range(400)] for name in ("same", "moved")}
    today = {
        "same": [drawn.gauss(0, 1) for _ in range(60)],
        "moved": [drawn.gauss(1, 1) for _ in range(60)],
        "new": [1.0] * 60,
    }
    assert list(drifted(today, before)) == ["moved"]
    assert drifted(today, before)["moved"][0] > DISTANCE


@given(st.lists(st.floats(-1e3, 1e3), min_size=1), st.lists(st.floats(-1e3, 1e3), min_size=1))
def test_the_distance_of_two_days_is_symmetric_and_nought_for_the_same(a: list[float], b: list[float]) -> None:
    assert distance(a, b) == distance(b, a)
    assert 0 <= distance(a, b) <= 1
    assert distance(a, a) == 0


# -- through Dagster -------------------------------------------------------------------------------------------------


@pytest.fixture
def days(home: Home, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Three days that are measured, the first two decided; no film can be read."""

    def refuse(*_: object) -> None:
        raise AssertionError("deciding must not read films")

    result = write_corpus(home, days=3, clips_a_day=60)
    replay(home, POLICY, result[:2], write=True)
    monkeypatch.setattr(LocalStore, "fetch", refuse)
    return result


def materialised(home: Home, day: str) -> tuple[dg.AssetMaterialization, dict[str, dg.AssetCheckEvaluation]]:
    instance = dg.DagsterInstance.ephemeral()
    instance.add_dynamic_partitions("received_day", [day])
    result = dg.materialize([assets.verdicts], instance=instance, partition_key=day, resources={"home": home})
    (event,) = result.asset_materializations_for_node("verdicts")
    return event, {check.check_name: check for check in result.get_asset_check_evaluations()}


def test_a_day_like_the_others_is_decided_without_a_warning(home: Home, days: list[str]) -> None:
    event, checks = materialised(home, days[-1])
    assert {name for name, check in checks.items() if check.passed} == {
        "every_check_decided",
        "one_policy",
        "all_measured",
        "refusals_steady",
    }
    assert checks["every_check_decided"].blocking
    assert event.metadata["policy"].value == POLICY.name
    good, refused = (event.metadata[name].value for name in ("clips_good", "clips_refused"))
    assert good + refused == 60
    assert event.metadata["histograms"].value.startswith("![signals with their thresholds](data:image/png;base64,")
    assert "**sharpness**" in event.metadata["verdicts_by_check"].value
    assert sum(len(str(value.value)) for value in event.metadata.values()) < 500_000


def test_a_changed_threshold_of_the_home_decides_and_other_days_are_told(home: Home, days: list[str]) -> None:
    home.store.put(KEY, b"sharpness: {low: 30}")
    event, checks = materialised(home, days[-1])
    assert event.metadata["policy"].value == policy_of(home).name != POLICY.name
    assert not checks["one_policy"].passed
    assert checks["one_policy"].severity == dg.AssetCheckSeverity.WARN
    assert checks["one_policy"].metadata["days_decided_otherwise"].value == 2
    replay(home, policy_of(home), write=True)
    assert materialised(home, days[-1])[1]["one_policy"].passed


def test_a_day_that_is_refused_far_more_than_those_before_is_told(home: Home, days: list[str]) -> None:
    rows = [row | {"sharpness": 1.0} for row in home.lake.rows("signals", days[-1])]
    home.lake.write("signals", rows, days[-1])
    _, checks = materialised(home, days[-1])
    assert not checks["refusals_steady"].passed
    assert "sharpness" in checks["refusals_steady"].metadata["moved"].value
    assert checks["every_check_decided"].passed


def test_a_signal_that_is_measured_otherwise_from_today_on_is_told(home: Home, days: list[str]) -> None:
    from assets.curation.checks import signals_steady

    assert signals_steady(home, days[-1], POLICY).passed
    rows = [row | {"flicker": row["flicker"] + 0.02} for row in home.lake.rows("signals", days[-1])]
    home.lake.write("signals", rows, days[-1])
    result = signals_steady(home, days[-1], POLICY)
    assert not result.passed
    assert "flicker" in str(result.metadata["moved"])
    assert "sharpness" not in str(result.metadata["moved"])


def test_the_first_day_of_all_has_nothing_to_be_compared_with(home: Home, days: list[str]) -> None:
    _, checks = materialised(home, days[0])
    assert checks["refusals_steady"].passed
    assert checks["refusals_steady"].metadata["clips_before"].value == 0

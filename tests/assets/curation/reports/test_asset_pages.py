"""What Dagster is told of a day's verdicts: bounded metadata, and checks that look at the days before as well."""

from __future__ import annotations

import dagster as dg
import pytest

from assets.curation import assets
from assets.curation.policy.policy import POLICY
from assets.curation.policy.policy_overrides import KEY, policy_of
from assets.curation.policy.replay import replay
from assets.home import Home
from assets.store import LocalStore
from tests.assets.curation.corpus import write_corpus


@pytest.fixture
def days(home: Home, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Three days that are measured, the first two decided; no film can be read."""

    def refuse(*_: object) -> None:
        raise AssertionError("deciding must not read films")

    found = write_corpus(home, days=3, clips_a_day=60)
    replay(home, POLICY, found[:2], write=True)
    monkeypatch.setattr(LocalStore, "fetch", refuse)
    return found


def decide(home: Home, day: str) -> tuple[dg.AssetMaterialization, dict[str, dg.AssetCheckEvaluation]]:
    instance = dg.DagsterInstance.ephemeral()
    instance.add_dynamic_partitions("received_day", [day])
    result = dg.materialize([assets.verdicts], instance=instance, partition_key=day, resources={"home": home})
    (event,) = result.asset_materializations_for_node("verdicts")
    return event, {one.check_name: one for one in result.get_asset_check_evaluations()}


def test_a_day_like_the_others_is_decided_without_a_warning(home: Home, days: list[str]) -> None:
    event, checks = decide(home, days[-1])
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
    event, checks = decide(home, days[-1])
    assert event.metadata["policy"].value == policy_of(home).name != POLICY.name
    assert not checks["one_policy"].passed
    assert checks["one_policy"].severity == dg.AssetCheckSeverity.WARN
    assert checks["one_policy"].metadata["days_decided_otherwise"].value == 2
    replay(home, policy_of(home), write=True)
    assert decide(home, days[-1])[1]["one_policy"].passed


def test_a_day_that_is_refused_far_more_than_those_before_is_told(home: Home, days: list[str]) -> None:
    rows = [row | {"sharpness": 1.0} for row in home.lake.rows("signals", days[-1])]
    home.lake.write("signals", rows, days[-1])
    _, checks = decide(home, days[-1])
    assert not checks["refusals_steady"].passed
    assert "sharpness" in checks["refusals_steady"].metadata["moved"].value
    assert checks["every_check_decided"].passed


def test_a_signal_that_is_measured_otherwise_from_today_on_is_told(home: Home, days: list[str]) -> None:
    from assets.curation.checks import signals_steady

    assert signals_steady(home, days[-1], POLICY).passed
    rows = [row | {"flicker": row["flicker"] + 0.02} for row in home.lake.rows("signals", days[-1])]
    home.lake.write("signals", rows, days[-1])
    found = signals_steady(home, days[-1], POLICY)
    assert not found.passed
    assert "flicker" in str(found.metadata["moved"])
    assert "sharpness" not in str(found.metadata["moved"])


def test_the_first_day_of_all_has_nothing_to_be_compared_with(home: Home, days: list[str]) -> None:
    _, checks = decide(home, days[0])
    assert checks["refusals_steady"].passed
    assert checks["refusals_steady"].metadata["clips_before"].value == 0

"""What a run starts from is the clean champion, decided once, and what that saved is read from two measured runs."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from assets.evaluation.registry import CHAMPION, Registry, Version
from assets.home import Home
from assets.model import config, published, warm
from assets.model.outcome import Outcome

ROOT = "ab" * 32


@pytest.fixture
def registered(monkeypatch: pytest.MonkeyPatch) -> list[Version]:
    """The registry's versions; consent holds for all of them."""
    versions: list[Version] = []
    monkeypatch.setattr(Registry, "versions", lambda self: list(versions))
    monkeypatch.setattr("assets.evaluation.promotion.standing_violations", lambda home, *roots: [])
    return versions


def version(key: str, *aliases: str, taint: str = "none") -> Version:
    return Version("1", "run", "", {"model_key": key, "snapshot_root": ROOT, "taint": taint}, aliases)


def publish(home: Home, key: str, parent: str | None = None, **changes: Any) -> None:
    cold = config.cold_plan(home, ROOT)
    tasks = {task: {"choices": dict(cold.choices(task))} for task in config.TASKS}
    record = {"snapshot_root": ROOT, "parent_model": parent, "code_version": cold.code_version, **tasks} | changes
    home.store.put(f"models/{key}/result.json", json.dumps(record).encode())


def decide(home: Home) -> tuple[str | None, str]:
    said = warm.decide(home, config.cold_plan(home, ROOT), config.parent_setting(home.training))
    return config.plan(home, ROOT).parent_model, said


def test_without_a_champion_a_run_starts_from_nothing(home: Home, registered: list[Version]) -> None:
    publish(home, "m-1")
    registered.append(version("m-1", "candidate"))
    parent, said = decide(home)
    assert parent is None
    assert "no version is champion" in said


def test_the_clean_champion_is_the_parent_and_stays_it_for_this_plan(home: Home, registered: list[Version]) -> None:
    for key in ("m-1", "m-2"):
        publish(home, key)
    registered.append(version("m-1", CHAMPION))
    assert decide(home)[0] == "m-1"
    key = config.plan(home, ROOT).model_key
    registered[:] = [version("m-2", CHAMPION), version("m-1")]
    assert decide(home)[0] == "m-1"
    assert config.plan(home, ROOT).model_key == key != config.cold_plan(home, ROOT).model_key
    other = "cd" * 32
    warm.decide(home, config.cold_plan(home, other), CHAMPION)
    assert config.plan(home, other).parent_model == "m-2"


def test_a_tainted_champion_is_no_parent_and_a_parent_that_falls_is_decided_anew(
    home: Home, registered: list[Version]
) -> None:
    publish(home, "m-1")
    registered.append(version("m-1", CHAMPION))
    assert decide(home)[0] == "m-1"
    registered[:] = [version("m-1", CHAMPION, taint="clip withdrawn")]
    parent, said = decide(home)
    assert parent is None
    assert "clip withdrawn" in said


def test_a_champion_whose_consent_is_gone_is_no_parent(
    home: Home, registered: list[Version], monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(home, "m-1")
    registered.append(version("m-1", CHAMPION))
    monkeypatch.setattr("assets.evaluation.promotion.standing_violations", lambda home, *roots: ["clip (revoked)"])
    assert decide(home)[0] is None


@pytest.mark.parametrize(
    "changes", [{"code_version": "older"}, {"codec": {"choices": {"size": "micro"}}}], ids=["code", "size"]
)
def test_weights_of_another_shape_or_code_are_no_parent(home: Home, registered: list[Version], changes: dict) -> None:
    publish(home, "m-1", **changes)
    registered.append(version("m-1", CHAMPION))
    assert decide(home)[0] is None


def test_the_settings_decide_where_they_say(home: Home, registered: list[Version]) -> None:
    publish(home, "m-1")
    registered.append(version("m-1", CHAMPION))
    assert decide(replace(home, training={"parent_model": "none"}))[0] is None
    assert decide(replace(home, training={"parent_model": "m-7"}))[0] == "m-7"


def curve(start: float, *points: float, end: float, warm_start: bool = False) -> dict[str, Any]:
    """A task's published record: measured every ten steps."""
    name = "heldout/flow_loss"
    result = {"start": {name: start}, "end": {name: end}, "steps": 10 * (len(points) + 1), "warm_start": warm_start}
    return {"result": result, "metrics": [{"step": 10 * i, name: value} for i, value in enumerate(points, start=1)]}


def outcome(record: dict[str, Any]) -> Outcome:
    return Outcome("transformer", record["result"], record["metrics"])


@pytest.mark.parametrize(("began", "saved"), [(1.0, 20), (0.75, 30), (0.4, None)])
def test_what_was_saved_is_when_the_run_from_nothing_was_where_this_one_began(
    home: Home, began: float, saved: int | None
) -> None:
    publish(home, "m-1")
    publish(home, "m-2", parent="m-1")
    home.store.put("models/m-1/transformer.result.json", json.dumps(curve(2.0, 1.5, 0.9, 0.7, end=0.6)).encode())
    assert published.origin(home, "m-2") == "m-1"
    plan = replace(config.cold_plan(home, ROOT), parent_model="m-2")
    found = warm.saving(home, plan, "transformer", outcome(curve(began, 0.6, end=0.5)))
    assert found is not None
    assert (found.origin, found.saved, found.origin_steps) == ("m-1", saved, 40)
    assert f"{began:.4g}" in found.said
    assert found.metrics["warm_start/gained_at_the_end"] == pytest.approx(0.1)
    assert found.metrics["warm_start/steps_saved"] == (saved or 40)


def test_a_run_from_nothing_saved_nothing_and_says_nothing(home: Home) -> None:
    assert warm.saving(home, config.cold_plan(home, ROOT), "transformer", outcome(curve(1.0, 0.6, end=0.5))) is None
    assert warm.metadata(None) == {}


def test_a_warm_run_may_stay_where_it_began_and_a_cold_one_may_not() -> None:
    for warm_start in (False, True):
        assert outcome(curve(1.0, end=1.01, warm_start=warm_start)).improved == warm_start
        assert not outcome(curve(1.0, end=1.05, warm_start=warm_start)).improved

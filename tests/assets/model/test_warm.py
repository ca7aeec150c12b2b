"""What a run starts from is decided once for each plan, and what that saved is read from two measured runs."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from assets.home import Home
from assets.model import config, published, warm
from assets.model.outcome import Outcome
from assets.registry.versions import CHAMPION, Registry, Version
from tests.assets.model.conftest import BASE, ROOT, publish

TONIGHT = "f0" * 32


@pytest.fixture
def registered(monkeypatch: pytest.MonkeyPatch) -> list[Version]:
    """The registry's versions; consent holds for all of them."""
    versions: list[Version] = []
    monkeypatch.setattr(Registry, "versions", lambda self: list(versions))
    monkeypatch.setattr("assets.model.parents.standing_violations", lambda home, *roots: [])
    return versions


def version(key: str, *aliases: str, taint: str = "none") -> Version:
    tags = {"model_key": key, "snapshot_root": ROOT, "taint": taint}
    return Version(key.removeprefix("m-"), "run", "", tags, aliases)


def decide(home: Home) -> tuple[str | None, str]:
    said = warm.decide(home, config.cold_plan(home, ROOT), config.parent_setting(home.training), TONIGHT)
    return warm.plan(home, ROOT).parent_model, said


def test_the_decision_stays_for_this_plan_and_enters_its_key(home: Home, registered: list[Version]) -> None:
    for key in ("m-1", "m-2"):
        publish(home, key)
    registered.append(version("m-1", CHAMPION))
    assert decide(home)[0] == "m-1"
    key = warm.plan(home, ROOT).model_key
    registered[:] = [version("m-2", CHAMPION), version("m-1")]
    assert decide(home) == ("m-1", "from model m-1, as decided before")
    assert warm.plan(home, ROOT).model_key == key != config.cold_plan(home, ROOT).model_key
    other = "cd" * 32
    warm.decide(home, config.cold_plan(home, other), config.BEST, TONIGHT)
    assert warm.plan(home, other).parent_model == "m-2"


def test_a_parent_that_falls_is_decided_anew(home: Home, registered: list[Version]) -> None:
    publish(home, "m-1")
    registered.append(version("m-1", CHAMPION))
    assert decide(home)[0] == "m-1"
    registered[:] = [version("m-1", CHAMPION, taint="clip withdrawn")]
    parent, said = decide(home)
    assert parent is None
    assert "decided anew: model m-1 is not clean any more: clip withdrawn" in said


def test_a_base_that_the_code_no_longer_has_is_decided_anew(
    home: Home, registered: list[Version], bases: dict[str, Path], tmp_path: Path
) -> None:
    bases["nano"] = tmp_path
    assert decide(home)[0] == BASE
    assert decide(home) == (BASE, f"from model {BASE}, as decided before")
    bases.clear()
    assert decide(home)[0] is None


def test_the_settings_decide_where_they_say(
    home: Home, registered: list[Version], bases: dict[str, Path], tmp_path: Path
) -> None:
    bases["nano"] = tmp_path
    publish(home, "m-1", origin=BASE)
    registered.append(version("m-1", CHAMPION))
    for setting, parent in {"none": None, "m-7": "m-7", "base": BASE, "champion": "m-1", "best": "m-1"}.items():
        assert decide(replace(home, training={"parent_model": setting}))[0] == parent


def test_a_run_told_to_start_from_the_base_says_where_there_is_none(home: Home, registered: list[Version]) -> None:
    with pytest.raises(config.ConfigError, match="there is no base of this size"):
        decide(replace(home, training={"parent_model": "base"}))


def test_the_base_of_another_shape_is_no_start(
    home: Home, registered: list[Version], bases: dict[str, Path], tmp_path: Path
) -> None:
    bases["nano"] = tmp_path
    assert decide(home)[0] == BASE
    assert decide(replace(home, training={"size": "micro"}))[0] is None
    shaped = {"transformer": {"transformer_shape": {"predicts": "velocity"}}}
    assert decide(replace(home, training=shaped))[0] is None


def test_the_weights_of_the_base_are_read_where_they_ship(home: Home, bases: dict[str, Path], tmp_path: Path) -> None:
    bases["nano"] = tmp_path
    assert published.parent_folder(home, BASE, "codec") == tmp_path
    with pytest.raises(config.ConfigError, match="base-ffffffffffff is not a base of this version"):
        published.parent_folder(home, "base-ffffffffffff", "codec")


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
    assert f"{began:.4g}" in found.summary
    assert found.metrics["warm_start/gained_at_the_end"] == pytest.approx(0.1)
    assert found.metrics["warm_start/steps_saved"] == (saved or 40)


def test_what_was_saved_is_not_said_of_a_run_that_descends_from_the_base(
    home: Home, bases: dict[str, Path], tmp_path: Path
) -> None:
    bases["nano"] = tmp_path
    publish(home, "m-1", parent=BASE)
    assert published.origin(home, "m-1") == BASE
    for parent in (BASE, "m-1"):
        plan = replace(config.cold_plan(home, ROOT), parent_model=parent)
        assert warm.saving(home, plan, "transformer", outcome(curve(1.0, 0.6, end=0.5))) is None


def test_a_run_from_nothing_saved_nothing(home: Home) -> None:
    assert warm.saving(home, config.cold_plan(home, ROOT), "transformer", outcome(curve(1.0, 0.6, end=0.5))) is None


def test_a_warm_run_may_stay_where_it_began_and_a_cold_one_may_not() -> None:
    for warm_start in (False, True):
        assert outcome(curve(1.0, end=1.01, warm_start=warm_start)).good_enough == warm_start
        assert not outcome(curve(1.0, end=1.05, warm_start=warm_start)).good_enough

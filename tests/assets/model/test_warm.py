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
from assets.model.published import Scorecard, store_scorecard
from assets.registry import CANDIDATE, CHAMPION, Registry, Version
from tests.assets.model.conftest import BASE, ROOT, publish

TONIGHT, EARLIER, LONG_AGO = "f0" * 32, "e0" * 32, "d0" * 32


@pytest.fixture
def registered(monkeypatch: pytest.MonkeyPatch) -> list[Version]:
    """The registry's versions; consent holds for all of them."""
    versions: list[Version] = []
    monkeypatch.setattr(Registry, "versions", lambda self: list(versions))
    monkeypatch.setattr("assets.model.warm.standing_violations", lambda home, *roots: [])
    return versions


def version(key: str, *aliases: str, taint: str = "none") -> Version:
    tags = {"model_key": key, "snapshot_root": ROOT, "taint": taint}
    return Version(key.removeprefix("m-"), "run", "", tags, aliases)


def decide(home: Home) -> tuple[str | None, str]:
    why = warm.decide(home, config.cold_plan(home, ROOT), config.parent_setting(home.training), TONIGHT)
    return warm.plan(home, ROOT).parent_model, why


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
    parent, why = decide(home)
    assert parent is None
    assert "decided anew: model m-1 is not clean any more: clip withdrawn" in why


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
    saving = warm.saving(home, plan, "transformer", outcome(curve(began, 0.6, end=0.5)))
    assert saving is not None
    assert (saving.origin, saving.saved, saving.origin_steps) == ("m-1", saved, 40)
    assert f"{began:.4g}" in saving.summary
    assert saving.metrics["warm_start/gained_at_the_end"] == pytest.approx(0.1)
    assert saving.metrics["warm_start/steps_saved"] == (saved or 40)


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


GONE = "99" * 32  # a snapshot of which a clip was withdrawn


class Shop:
    """A registry, oldest version first, over a home's records and scorecards. Consent to `GONE` does not stand."""

    def __init__(self, home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
        self.home, self.found = home, list[Version]()
        monkeypatch.setattr(Registry, "versions", lambda _: self.found[::-1])
        gone = {GONE: ["clip (consent.revoked)"]}
        monkeypatch.setattr("assets.model.warm.standing_violations", lambda _, root: gone.get(root, []))

    def add(self, *aliases: str, taint: str = "none", losses: dict[str, Any] | None = None, **record: Any) -> str:
        """A version with its loss on each set of held-out clips, or that with the base's; returns its model's key."""
        number = len(self.found) + 1
        key = f"m-{number}"
        publish(self.home, key, **record)
        for heldout, loss in (losses or {}).items():
            own, base = loss if isinstance(loss, tuple) else (loss, None)
            rows = [row("all", own)] + ([row("reference=base", base)] if base is not None else [])
            store_scorecard(self.home, Scorecard(key, heldout, rows))
        tags = {"model_key": key, "snapshot_root": ROOT, "taint": taint, "gate": "refused"}
        self.found.append(Version(str(number), "run", "", tags, aliases))
        return key

    def best(self) -> tuple[str | None, str]:
        return warm.best_start(self.home, config.cold_plan(self.home, ROOT), TONIGHT)


def row(part: str, value: float) -> dict[str, Any]:
    return {
        "metric": "heldout_flow_loss", "slice": part, "value": value, "ci_low": None, "ci_high": None, "n": 8,
        "unit": "1", "better": "lower", "method": "t/1", "state": "measured", "why": None,
    }  # fmt: skip


@pytest.fixture
def shop(home: Home, monkeypatch: pytest.MonkeyPatch) -> Shop:
    return Shop(home, monkeypatch)


@pytest.fixture
def base(bases: dict[str, Path], tmp_path: Path) -> str:
    bases["nano"] = tmp_path
    return BASE


def test_with_no_version_a_run_starts_from_the_base(shop: Shop, base: str) -> None:
    assert shop.best() == (base, "no version is clean and fits")


def test_with_no_version_and_no_base_a_run_starts_from_nothing(shop: Shop) -> None:
    parent, why = shop.best()
    assert parent is None
    assert why == "no version is clean and fits; there is no base of this size and shape"


def test_a_refused_candidate_that_is_better_than_the_champion_is_the_start(shop: Shop) -> None:
    shop.add(CHAMPION, losses={EARLIER: 0.55}, origin="m-1")
    refused = shop.add(CANDIDATE, losses={EARLIER: 0.54}, origin="m-1")
    parent, why = shop.best()
    assert parent == refused
    assert why == "version 2 has flow loss 0.54 on held-out clips e0e0e0e0e0e0, the lowest of 2 clean versions"


def test_of_equal_versions_the_champion_is_the_start_and_else_the_one_that_saw_least(shop: Shop) -> None:
    shop.add(losses={EARLIER: 0.5}, origin="m-1")
    champion = shop.add(CHAMPION, losses={EARLIER: 0.5}, origin="m-1")
    shop.add(CANDIDATE, losses={EARLIER: 0.5}, origin="m-1")
    assert shop.best()[0] == champion
    shop.found[1] = Version("2", "run", "", shop.found[1].tags, ())
    assert shop.best()[0] == "m-1"


@pytest.mark.parametrize(
    "fault",
    [{"taint": "clip withdrawn"}, {"exposure": [ROOT, GONE]}, {"code_version": "older"}, {"origin": "m-99"}],
    ids=["tainted", "consent is gone", "other code", "other latent space"],
)
@pytest.mark.parametrize("alias", [CHAMPION, CANDIDATE])
def test_a_version_that_is_not_clean_or_does_not_fit_is_no_start_however_good_it_is(
    shop: Shop, base: str, alias: str, fault: dict[str, Any]
) -> None:
    shop.add(alias, losses={EARLIER: (0.1, 0.6)}, **{"origin": base} | fault)
    assert shop.best()[0] == base
    clean = shop.add(losses={EARLIER: (0.5, 0.6)}, origin=base)
    parent, why = shop.best()
    assert parent == clean
    assert ("version 1, " in why) == (alias == CHAMPION), "the champion's fault is named"


def test_a_version_of_another_shape_is_no_start(shop: Shop) -> None:
    shop.add(CHAMPION, codec={"choices": {"size": "micro"}})
    parent, why = shop.best()
    assert parent is None
    assert "codec.size was 'micro'" in why


def test_a_version_whose_weights_are_gone_is_no_start(shop: Shop) -> None:
    key = shop.add(CHAMPION, losses={EARLIER: 0.5})
    assert shop.best()[0] == key
    shop.home.store.delete(f"models/{key}/transformer.safetensors")
    assert shop.best()[0] is None


def test_a_version_that_is_worse_than_the_base_is_no_better_start_than_the_base(shop: Shop, base: str) -> None:
    shop.add(CHAMPION, losses={EARLIER: (0.61, 0.6)}, origin=base)
    parent, why = shop.best()
    assert parent == base
    assert "flow loss 0.61" in why
    assert why.endswith("the base has 0.6 there, which is better")
    better = shop.add(CANDIDATE, losses={EARLIER: (0.59, 0.6)}, origin=base)
    assert shop.best()[0] == better


def test_tonights_clips_count_before_the_newest_that_most_versions_share(shop: Shop) -> None:
    first = shop.add(losses={TONIGHT: 0.5, EARLIER: 0.6, LONG_AGO: 0.6}, origin="m-1")
    second = shop.add(losses={TONIGHT: 0.6, EARLIER: 0.5, LONG_AGO: 0.7}, origin="m-1")
    assert shop.best()[0] == first
    for key in (first, second):
        shop.home.store.delete(f"models/{key}/scorecard-{TONIGHT[:16]}.json")
    assert shop.best()[0] == second, "the newest of two that all share"
    three = shop.add(losses={EARLIER: 0.4}, origin="m-1")
    assert shop.best()[0] == three


def test_a_version_that_was_not_measured_on_the_same_clips_does_not_take_the_champions_place(shop: Shop) -> None:
    champion = shop.add(CHAMPION, losses={LONG_AGO: 0.6}, origin="m-1")
    shop.add(losses={EARLIER: 0.1}, origin="m-1")
    assert shop.best()[0] == champion


def test_a_champion_that_was_measured_nowhere_is_the_start_and_another_version_only_without_a_base(
    shop: Shop, bases: dict[str, Path], tmp_path: Path
) -> None:
    bases["nano"] = tmp_path
    shop.add(origin=BASE)
    assert shop.best()[0] == BASE
    champion = shop.add(CHAMPION, origin=BASE)
    shop.add(losses={EARLIER: 0.5}, origin=BASE)
    assert shop.best()[0] == champion
    bases.clear()
    shop.found[1:] = []
    assert shop.best()[0] == "m-1"

"""The best start is the clean version with the lowest held-out loss, a refused one too; then the base; then nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from assets.home import Home
from assets.model import config, parents
from assets.model.scorecards import Scorecard, store_scorecard
from assets.registry.versions import CANDIDATE, CHAMPION, Registry, Version
from tests.assets.model.conftest import BASE, ROOT, publish

TONIGHT, EARLIER, LONG_AGO = "f0" * 32, "e0" * 32, "d0" * 32
GONE = "99" * 32  # a snapshot of which a clip was withdrawn


class Shop:
    """A registry, oldest version first, over a home's records and scorecards. Consent to `GONE` does not stand."""

    def __init__(self, home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
        self.home, self.found = home, list[Version]()
        monkeypatch.setattr(Registry, "versions", lambda _: self.found[::-1])
        gone = {GONE: ["clip (consent.revoked)"]}
        monkeypatch.setattr("assets.model.parents.standing_violations", lambda _, root: gone.get(root, []))

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
        return parents.best(self.home, config.cold_plan(self.home, ROOT), TONIGHT)


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
    one = shop.add(losses={TONIGHT: 0.5, EARLIER: 0.6, LONG_AGO: 0.6}, origin="m-1")
    two = shop.add(losses={TONIGHT: 0.6, EARLIER: 0.5, LONG_AGO: 0.7}, origin="m-1")
    assert shop.best()[0] == one
    for key in (one, two):
        shop.home.store.delete(f"models/{key}/scorecard-{TONIGHT[:16]}.json")
    assert shop.best()[0] == two, "the newest of two that all share"
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

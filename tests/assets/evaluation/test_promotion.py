"""Who becomes champion, over a real registry, a real ledger and sealed snapshots: by the gate, by hand, and no longer."""

import sqlite3
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from assets.dataset.sealed import Sealed
from assets.dataset.snapshot import build
from assets.evaluation import history
from assets.evaluation.decisions import verdicts
from assets.evaluation.promotion import PromotionRefused, decide_and_move, promote, reconcile_champion
from assets.model.published import Scorecard, heldout_digest, store_scorecard
from assets.registry import CHAMPION, Registry
from assets.serving import serve
from assets.store import write_atomically
from tests.assets.evaluation import scores

Register = Callable[..., str]


@pytest.fixture
def sealed(small_world: Any) -> Sealed:
    return build(small_world.home, datetime.now(UTC)).sealed


@pytest.fixture
def register(registry: Registry, weights: Path, sealed: Sealed) -> Register:
    """Registers a trained and measured model: `flow` is its held-out flow loss, where the closed form has 1."""
    import json

    def add(model_key: str, flow: float = 0.4, copies: int = 0, snapshot: Sealed = sealed) -> str:
        record = {
            "model_key": model_key,
            "snapshot_root": snapshot.root,
            "transformer": {"mlflow_run_id": registry.start_run(model_key, model_key)},
        }
        registry.home.store.put(f"models/{model_key}/result.json", json.dumps(record).encode())
        for file in weights.glob("codec.*"):
            registry.home.store.put(f"models/{model_key}/{file.name}", file)
        card = Scorecard(
            model_key, heldout_digest(snapshot), scores.rows(model_key, copies=copies), scores.values(flow)
        )
        store_scorecard(registry.home, card)
        tags = {"model_key": model_key, "snapshot_root": snapshot.root, "ledger_checkpoint": "1:ab"}
        return serve.register(registry, record["transformer"]["mlflow_run_id"], weights, tags)

    return add


def test_the_first_good_model_becomes_champion_and_its_tags_say_why(registry: Registry, register: Register):
    version = register("m-1")
    assert decide_and_move(registry.home, version).promote
    assert registry.alias(CHAMPION) == version
    assert registry.version(version).tags["gate"] == "passed"


def test_a_worse_model_does_not_become_champion(registry: Registry, register: Register):
    first, worse = register("m-1", flow=0.3), register("m-2", flow=0.45)
    decide_and_move(registry.home, first)
    decision = decide_and_move(registry.home, worse)
    assert not decision.promote
    assert registry.alias(CHAMPION) == first
    assert "better" in registry.version(worse).tags["gate_reasons"]


def test_a_better_model_does(registry: Registry, register: Register):
    decide_and_move(registry.home, register("m-1", flow=0.45))
    better = register("m-2", flow=0.3)
    assert decide_and_move(registry.home, better).promote
    assert registry.alias(CHAMPION) == better


def test_deciding_again_changes_nothing(registry: Registry, register: Register):
    first, worse = register("m-1", flow=0.3), register("m-2", flow=0.45)
    answers = []
    for _ in range(2):
        assert decide_and_move(registry.home, first).promote
        assert not decide_and_move(registry.home, worse).promote
        assert registry.alias(CHAMPION) == first
        history = [verdict for key in ("m-1", "m-2") for verdict in verdicts(registry.home, key)]
        answers.append((history, registry.version(first).tags, registry.version(worse).tags))
    assert answers[0] == answers[1]
    assert len(answers[0][0]) == 2


def test_a_champion_that_is_decided_about_again_keeps_the_verdict_that_made_it_one(
    registry: Registry, register: Register
):
    version = register("m-1")
    first = decide_and_move(registry.home, version)
    assert decide_and_move(registry.home, version).reasons[0].detail == "is the champion already"
    tags = registry.version(version).tags
    assert "learned" in tags["gate_rules"]
    assert [verdict.decision for verdict in verdicts(registry.home, "m-1")] == [first]
    assert tags["gate_verdict"] == verdicts(registry.home, "m-1")[0].key


def test_a_later_comparison_adds_to_the_history_and_a_version_that_passed_once_stays_accepted(
    registry: Registry, register: Register
):
    first, better, copier = register("m-1", flow=0.45), register("m-2", flow=0.3), register("m-3", copies=2)
    decide_and_move(registry.home, first)
    decide_and_move(registry.home, better)
    assert not decide_and_move(registry.home, first).promote  # a night that trains nothing meets the new champion
    assert registry.version(first).tags["gate"] == "refused"
    history = verdicts(registry.home, "m-1")
    assert [(verdict.case.rival, verdict.decision.promote) for verdict in history] == [("none", True), ("m-2", False)]
    registry.tag(better, "taint", "consent k-1 revoked")
    registry.set_alias(CHAMPION, copier)
    reconcile_champion(registry.home)
    assert registry.alias(CHAMPION) == first


def test_a_move_that_was_interrupted_after_the_verdict_is_finished(
    registry: Registry, register: Register, monkeypatch: pytest.MonkeyPatch
):
    version = register("m-1")
    with monkeypatch.context() as patched:
        patched.setattr(Registry, "set_alias", _killed)
        with pytest.raises(OSError, match="killed"):
            decide_and_move(registry.home, version)
    assert registry.alias(CHAMPION) is None
    assert decide_and_move(registry.home, version).promote
    assert registry.alias(CHAMPION) == version
    assert len(verdicts(registry.home, "m-1")) == 1
    assert [event.event for event in history.events(registry.home)] == ["promoted"]


def _killed(*_: Any) -> None:
    raise OSError("killed")


def test_a_model_that_copies_a_clip_is_promoted_by_nobody(registry: Registry, register: Register):
    version = register("m-1", copies=1)
    assert not decide_and_move(registry.home, version).promote
    with pytest.raises(PromotionRefused, match="copies"):
        promote(registry.home, version, "ann")
    assert registry.alias(CHAMPION) is None


def test_a_person_may_promote_a_weaker_model_and_the_platform_leaves_it(registry: Registry, register: Register):
    first, weaker = register("m-1", flow=0.3), register("m-2", flow=0.6)
    decide_and_move(registry.home, first)
    assert "in place of version 1" in promote(registry.home, weaker, "ann")
    assert reconcile_champion(registry.home) == f"version {weaker} may serve"
    assert "already" in promote(registry.home, weaker, "ann")


def test_every_move_stays_in_the_history_with_who_and_why(registry: Registry, register: Register):
    home, first, better, copier = (
        registry.home,
        register("m-1", flow=0.45),
        register("m-2", flow=0.3),
        register("m-3", copies=2),
    )
    decide_and_move(home, first, by="run r-1")
    decide_and_move(home, better, by="run r-2")
    decide_and_move(home, copier, by="run r-3")
    promote(home, first, "ann", "its colours")
    with pytest.raises(PromotionRefused, match="copies"):
        promote(home, copier, "ann")
    registry.set_alias(CHAMPION, copier)  # as a person does in MLflow's UI
    reconcile_champion(home, "a sensor")
    reconcile_champion(home, "a sensor")
    told = [(e.event, e.version, e.before, e.after, e.by) for e in history.events(home)]
    assert told == [
        ("promoted", "1", "none", "1", "run r-1"),
        ("promoted", "2", "1", "2", "run r-2"),
        ("refused", "3", "2", "2", "run r-3"),
        ("promoted", "1", "2", "1", "person ann"),
        ("refused", "3", "1", "1", "person ann"),
        ("moved outside", "3", "1", "3", "unknown"),
        ("demoted", "3", "3", "2", "a sensor"),
    ]
    whys = [event.why for event in history.events(home)]
    assert whys[0] == "every rule passed"
    assert whys[3] == "its colours"
    assert all("copies" in why for why in (whys[2], whys[4], whys[6]))
    assert [event.number for event in history.events(home, "2")] == [2, 3, 4, 7]
    page = registry.client.get_registered_model("video-transformer").description
    assert page.index("version 3 demoted") < page.index("version 1 promoted")  # newest first
    assert "its colours" in page


def test_the_history_cannot_be_changed(registry: Registry, register: Register):
    decide_and_move(registry.home, register("m-1"))
    with sqlite3.connect(registry.home.state / "rushes.db") as database:
        for change in ("UPDATE champion_history SET why = 'x'", "DELETE FROM champion_history"):
            with pytest.raises(sqlite3.IntegrityError, match="rows are never"):
                database.execute(change)


def test_a_tainted_version_is_refused_with_its_cause(registry: Registry, register: Register):
    version = register("m-1")
    registry.tag(version, "taint", "consent.revoked on 1 clips")
    with pytest.raises(PromotionRefused, match=r"taint: consent\.revoked"):
        promote(registry.home, version, "ann")
    assert not decide_and_move(registry.home, version).promote


def test_consent_withdrawn_after_training_refuses_every_way_up(
    registry: Registry, register: Register, small_world: Any, sealed: Sealed
):
    version = register("m-1")
    small_world.revoke(sealed.clip_ids[0])
    assert "consent" in decide_and_move(registry.home, version).summary
    with pytest.raises(PromotionRefused, match=sealed.clip_ids[0][:16]):
        promote(registry.home, version, "ann")
    assert registry.alias(CHAMPION) is None


def test_an_alias_moved_by_hand_to_a_version_that_must_not_serve_is_moved_back(registry: Registry, register: Register):
    good, copier = register("m-1"), register("m-2", copies=2)
    decide_and_move(registry.home, good)
    registry.set_alias(CHAMPION, copier)  # as a person does in MLflow's UI
    outcome = reconcile_champion(registry.home)
    assert registry.alias(CHAMPION) == good
    assert "copies" in outcome
    assert f"version {good} is champion again" in outcome
    assert "copies" in registry.version(copier).tags["refused_as_champion"]


def test_a_champion_whose_consent_is_withdrawn_is_closed_when_no_other_may_serve(
    registry: Registry, register: Register, small_world: Any, sealed: Sealed
):
    decide_and_move(registry.home, register("m-1"))
    small_world.revoke(sealed.clip_ids[0])
    assert "there is no champion" in reconcile_champion(registry.home)
    assert registry.alias(CHAMPION) is None


def test_a_clean_retrain_takes_over_from_a_champion_that_may_not_serve(
    registry: Registry, register: Register, small_world: Any, sealed: Sealed
):
    decide_and_move(registry.home, register("m-1", flow=0.2))
    small_world.revoke(sealed.clip_ids[0])
    small_world.write_mart()
    retrained = register("m-2", flow=0.45, snapshot=build(registry.home, datetime.now(UTC)).sealed)
    assert decide_and_move(registry.home, retrained).promote
    assert registry.alias(CHAMPION) == retrained


def test_a_version_without_a_scorecard_or_a_snapshot_cannot_show_that_it_may_serve(registry: Registry, weights: Path):
    tags = {"model_key": "m-9", "snapshot_root": "ab" * 32, "ledger_checkpoint": "1:ab"}
    version = serve.register(registry, registry.start_run("m-9", "m-9"), weights, tags)
    with pytest.raises(PromotionRefused, match=r"consent: .*cannot be read.*copies: not measured"):
        promote(registry.home, version, "ann")


def test_an_edited_snapshot_counts_as_no_consent(registry: Registry, register: Register, sealed: Sealed):
    version = register("m-1")
    text = sealed.path.read_text().replace('"split":"heldout"', '"split":"train"')
    write_atomically(sealed.path, text.encode())
    with pytest.raises(PromotionRefused, match="consent"):
        promote(registry.home, version, "ann")


def test_in_an_empty_registry_there_is_no_champion(registry: Registry):
    assert reconcile_champion(registry.home) == "no version is champion"


def test_promoting_a_version_that_is_not_there_says_what_is(registry: Registry, register: Register):
    register("m-1")
    with pytest.raises(LookupError, match="no version 5; it has 1"):
        promote(registry.home, "5", "ann")

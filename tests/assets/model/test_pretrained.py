"""A pretrained base through the graph: tuned, measured, registered, promoted, served, named everywhere, tainted."""

from __future__ import annotations

import importlib
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from assets.consent.platform import checkpoint_key
from assets.consent.proofs.statements import file_bytes
from assets.consent.proofs.verification import verify_file
from assets.dataset import assets as dataset
from assets.dataset.sealed import Sealed
from assets.evaluation import assets as evaluation
from assets.evaluation import commitments, promotion
from assets.marks.c2pa import read_provenance
from assets.model import assets as stage
from assets.model import config, published, warm
from assets.model.config import ConfigError
from assets.registry import Registry
from assets.release import assets as release
from assets.release.generation import export_version, generate_marked
from assets.serving.answer import GenerationRequest
from assets.serving.serve import NothingToServe
from assets.withdrawals import answers
from tests.training.bases import make_base
from training.consent.keys import public_bytes
from training.model.base_folder import UNCOVERED, digest

pytest.importorskip("diffusers")
pytest.importorskip("peft")

SHAPE = {"width": 64, "height": 64, "frames": 5, "steps": 2}
FEW = {"steps": 12, "eval_every": 6, "checkpoint_every": 6, "lr": 3e-3, "batch_tokens": 2000, "warmup": 2}
TUNED = [dataset.training_snapshot, dataset.renditions, stage.video_autoencoder, stage.latents, stage.video_transformer]
JUDGED = [evaluation.samples, evaluation.scorecard, evaluation.registered_model, evaluation.champion]


def in_this_process(context: Any, started: Any) -> None:
    module = started.command[2]
    module += ".__main__" if module == "training.evaluate" else ""
    assert importlib.import_module(module).main(list(started.command[-2:])) == 0


@pytest.mark.slow
def test_a_tuned_base_is_judged_served_and_tainted_as_our_own_and_named_in_every_document(
    small_world: Any, sealed: Sealed, run: Callable[..., dg.ExecuteInProcessResult], monkeypatch: Any, tmp_path: Path
) -> None:
    base = make_base(tmp_path / "tiny-ltx")
    lora = {"rank": 4, "alpha": 8}
    settings = {"base": str(base), "lora": lora, "sampling_shape": SHAPE, "transformer": FEW}
    home = replace(small_world.home, training=settings)
    for module in (stage, evaluation):
        monkeypatch.setattr(module, "execute", in_this_process)
    trained = run(home, *TUNED)
    assert trained.success
    plan = warm.plan(home, sealed.root)
    record = published.pair(home, plan.model_key) or {}
    result = record["transformer"]["result"]
    assert result["end"]["heldout/flow_loss"] < result["start"]["heldout/flow_loss"]
    facts = {"name": "tiny-ltx", "sha256": digest(base), "licence": "apache-2.0", "training_data": UNCOVERED}
    assert published.pretrained_base(record) == facts

    assert run(home, *JUDGED).success
    registry, card = Registry(home), published.stored_scorecard(home, plan.model_key)
    assert card is not None
    assert card.value(published.PRIMARY) < (card.value(published.PRIMARY, published.BASE) or 0)  # type: ignore[operator]
    assert {row["state"] for row in card.rows if row["metric"].startswith("trial_")} == {"not_measured"}
    rules = {rule["rule"]: rule for rule in json.loads(registry.version("1").tags["gate_rules"])}
    assert "beyond the noise of measuring" not in rules["learned"]["detail"], "in total it is better than its base"
    assert rules["obeys"]["detail"].startswith("not measured")
    assert not rules["reconstruction"]["passed"], "the autoencoder of this base is random"

    promotion.promote(home, "1", "ann")
    made = generate_marked(home, GenerationRequest("a red circle", 3), tmp_path / "made.mp4")
    assert made["version"] == "1"
    assert read_provenance(tmp_path / "made.mp4", trust=home.signing).claims["base"] == facts
    assert export_version(home, "1", tmp_path / "out") == tmp_path / "out"

    assert run(home, release.data_summary, release.model_card).success
    text = home.store.get(f"release/{plan.model_key}/model_card.md").decode()
    assert f"- pretrained base: tiny-ltx, SHA-256 `{facts['sha256']}`, licence apache-2.0; {UNCOVERED}" in text
    committed = home.store.get(commitments.key(plan.model_key))
    assert json.loads(committed)["base"] == facts
    shown = "\n".join(verify_file(committed, public_bytes(checkpoint_key(home))).shown)
    assert UNCOVERED in shown
    assert digest(base) in shown

    proof = verify_file(file_bytes(answers.answer(home, "ab" * 32, "1")), public_bytes(checkpoint_key(home)))
    assert (
        "the sets here are what this platform added, and nothing is shown of what the base was trained on"
        in "\n".join(proof.shown)
    )

    clip_id = sealed.clip_ids[0]
    small_world.revoke(clip_id)
    assert not run(home, stage.video_transformer).success
    with pytest.raises(promotion.PromotionRefused, match="no longer allowed"):
        promotion.promote(home, "1", "ann")
    registry.tag("1", "taint", "consent withdrawn")
    with pytest.raises(NothingToServe, match="must not leave"):
        export_version(home, "1", tmp_path / "again")


def test_a_base_is_part_of_a_plan_by_what_it_holds_and_not_by_where_it_lies(small_world: Any, tmp_path: Path) -> None:
    base = make_base(tmp_path / "base", licence="")
    root = "ab" * 32

    def plan(**settings: Any) -> config.Plan:
        return config.cold_plan(replace(small_world.home, training=settings), root)

    with pytest.raises(ConfigError, match="set base_licence"):
        plan(base=str(base))
    own = plan(base=str(base), base_licence="bought")
    assert own.pretrained["licence"] == "bought"
    assert own.base_model is None
    moved = shutil.copytree(base, tmp_path / "elsewhere" / "base")
    assert plan(base=str(moved), base_licence="bought").model_key == own.model_key
    assert plan(base=str(moved), base_licence="mit").model_key != own.model_key
    assert plan(base=str(base), base_licence="bought", tuning="full").model_key != own.model_key
    (moved / "scheduler" / "more.json").write_text("{}")
    assert plan(base=str(moved), base_licence="bought").model_key != own.model_key
    with pytest.raises(ConfigError, match="set base for both tasks"):
        plan(transformer={"base": str(base)})
    assert warm.source(None, own) == "from pretrained base base"
    assert warm.decided(small_world.home, own, "base") is None

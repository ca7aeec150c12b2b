"""Measuring a model in processes of their own: what is asked, what comes back, and that it fits the lake."""

import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from assets.dataset import renditions
from assets.dataset.sealed import Sealed
from assets.dataset.snapshot import build
from assets.evaluation import assets as evaluation
from assets.evaluation import measuring
from assets.home import Home
from assets.model.scorecards import COPIES, PRIMARY, stored_scorecard


@pytest.fixture
def sealed(small_world: Any) -> Sealed:
    return build(small_world.home, datetime.now(UTC)).sealed


def test_the_same_snapshot_asks_for_the_same_videos(sealed: Sealed):
    wanted = measuring.prompts(sealed)
    assert wanted == measuring.prompts(sealed)
    assert len({prompt.sample_id for prompt in wanted}) == len(wanted)
    held = {member["caption"] for member in sealed.members if member["split"] == "heldout"}
    trained = {member["caption"] for member in sealed.members if member["split"] == "train"}
    assert {prompt.text for prompt in wanted} & held
    assert not {prompt.text for prompt in wanted} & (trained - held)


@pytest.mark.slow
def test_a_model_is_sampled_and_measured_through_dagster_and_the_second_time_nothing_runs(
    home: Home, sealed: Sealed, untrained: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(measuring, "MEASURED_SCENES", 2)
    monkeypatch.setattr(measuring, "MEASURED_TRIALS", 2)
    publish(home, sealed, untrained)
    renditions.render_all(home, sealed.members)
    for started in measuring.rescoring(home, "m-1", sealed):  # encodes the clips, then measures without samples
        subprocess.run(started.command, env={**started.env}, cwd=started.cwd, check=True, timeout=300)
    card = measuring.read_scorecard(home, "m-1", sealed, started.run_dir)
    assert card.value(PRIMARY) is not None
    assert card.value(COPIES) is None

    first = dg.materialize([evaluation.samples, evaluation.scorecard], resources={"home": home})
    assert first.success
    stored = stored_scorecard(home, "m-1")
    assert stored is not None
    assert stored.value(COPIES) is not None
    assert stored.values["trial_colour"].keys() == card.values["trial_colour"].keys()
    assert len(stored.values["heldout_flow_loss@closed_form"]) == len(stored.values["heldout_flow_loss"])
    assert home.lake.read("scorecard").num_rows == len(stored.rows)
    made = home.lake.read("samples").to_pylist()
    assert len(made) == len(measuring.prompts(sealed))
    assert {(row["frames"], row["fps"], row["width"]) for row in made} == {(9, 4.0, 64)}, "as the model says of itself"
    (videos,) = first.asset_materializations_for_node("samples")
    assert "data:image/webp" in str(videos.metadata["beside_rendered_scenes"].value)
    assert "right: the held-out clip" in str(videos.metadata["beside_real_clips"].value)

    before = home.lake.read("samples"), home.lake.read("scorecard")
    again = dg.materialize([evaluation.samples, evaluation.scorecard], resources={"home": home})
    outcomes = {name: _outcome(again, name) for name in ("samples", "scorecard")}
    assert outcomes == {"samples": "nothing new: reused", "scorecard": "nothing new: reused"}
    assert (home.lake.read("samples"), home.lake.read("scorecard")) == before


def _outcome(result: dg.ExecuteInProcessResult, asset: str) -> Any:
    (event,) = result.asset_materializations_for_node(asset)
    return event.metadata["outcome"].value


def publish(home: Home, sealed: Sealed, weights: Path) -> None:
    import json

    for file in weights.iterdir():
        home.store.put(f"models/m-1/{file.name}", file)
    record = {"model_key": "m-1", "snapshot_root": sealed.root, "transformer": {"mlflow_run_id": "none"}}
    home.store.put("models/m-1/result.json", json.dumps(record).encode())
    home.store.put("models/latest.json", json.dumps({"model_key": "m-1"}).encode())

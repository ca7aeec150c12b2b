"""Measuring a model in processes of their own: what is asked, what comes back, and that it fits the lake."""

from __future__ import annotations

import json
import subprocess
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import pytest

from assets.dataset import renditions
from assets.dataset.sealed import Sealed
from assets.dataset.snapshot import build
from assets.evaluation import assets as evaluation
from assets.evaluation import measuring
from assets.evaluation.report import NUMBERS, all_scores, headline, not_measured, scores_page
from assets.home import Home
from assets.model.published import COPIES, PRIMARY, stored_scorecard
from assets.pages.plots import beside


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
    monkeypatch.setattr(measuring, "LOOKED_AT", {"clips": 1, "camera_trials": 1, "twins": 0})
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
    networks = {"reconstruction_lpips", "subject_consistency", "imaging_quality", "seam_energy", "camera_obedience"}
    if home.networks.is_dir():
        assert all(stored.value(metric) is not None for metric in networks)
    assert card.value("subject_consistency") is None, "what is only compared is not looked at again"
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
    for file in weights.iterdir():
        home.store.put(f"models/m-1/{file.name}", file)
    record = {"model_key": "m-1", "snapshot_root": sealed.root, "transformer": {"mlflow_run_id": "none"}}
    home.store.put("models/m-1/result.json", json.dumps(record).encode())
    home.store.put("models/latest.json", json.dumps({"model_key": "m-1"}).encode())


def row(metric: str, part: str = "all", value: float | None = 0.5, **more: Any) -> dict[str, Any]:
    lines = {
        "metric": metric, "slice": part, "value": value, "ci_low": None, "ci_high": None, "n": 48, "unit": "share",
        "better": "higher", "method": "t/1", "state": "measured" if value is not None else "not_measured", "why": None,
    }  # fmt: skip
    return lines | more


def test_a_number_stands_beside_its_references() -> None:
    rows = [
        row("trial_colour", value=0.9, ci_low=0.78, ci_high=0.96),
        row("trial_colour", "reference=base", 0.85),
        row("trial_colour", "reference=codec", 0.98),
        row("trial_colour", "reference=rendered", 1.0),
        row("heldout_flow_loss", value=0.3, unit="squared error", better="lower"),
        row("heldout_flow_loss", "reference=closed_form", 0.597, unit="squared error", better="lower"),
        row("heldout_flow_loss", "aspect=square", 0.2, unit="squared error", better="lower"),
    ]
    flow, colour = headline(rows)
    assert colour["what"] == "colour as asked ↑"
    assert colour["this model"] == "90 % (78–96)"
    assert (colour["base"], colour["best possible"]) == ("85 %", "98 %")
    assert (flow["this model"], flow["untrained"], flow["best possible"]) == ("0.3", "0.597", "")
    assert "real clips" not in flow, "a column that nothing fills is not shown"


def test_the_table_has_a_line_for_each_of_the_chosen_numbers_and_no_other() -> None:
    rows = [row(metric) for metric in NUMBERS] + [row("forward_speed"), row("reconstruction_ssim")]
    assert [line["metric"] for line in headline(rows)] == list(NUMBERS)
    assert "forward" in all_scores(rows)


def test_what_was_not_measured_is_one_line_for_each_reason() -> None:
    absent = [row(name, value=None, why="no feature network") for name in ("subject_consistency", "video_distance")]
    unasked = [row(f"trial_{n}", value=None, why="no trials were asked for") for n in range(12)]
    rows = [row("prompt_colour"), *absent, *unasked]
    assert not_measured(rows) == [
        "Not measured, no feature network: subject consistency, video distance.",
        "Not measured, no trials were asked for: trial 0, trial 1, trial 2 and 9 more.",
    ]
    assert scores_page(rows).lower().count("not measured") == 2
    assert "not measured" not in all_scores(rows)


def test_two_videos_stand_side_by_side_at_one_height() -> None:
    left, right = np.zeros((17, 64, 64, 3), np.uint8), np.full((9, 32, 64, 3), 200, np.uint8)
    both = beside(left, right)
    assert both.shape == (9, 64, 64 + 4 + 128, 3)
    assert both[:, :, :64].max() == 0
    assert both[:, :, 68:].min() == 200


def test_how_much_is_looked_at_is_a_setting_and_the_slices_are_the_clips_classes(
    small_world: Any, sealed: Sealed
) -> None:
    home = small_world.home
    classes = json.loads(measuring.write_classes(home, sealed, home.scratch("classes")).read_text())
    held = {member["clip_id"] for member in sealed.members if member["split"] == "heldout"}
    assert held
    assert classes.keys() <= held
    assert all(set(of) <= set(measuring.SLICED) and "unknown" not in of.values() for of in classes.values())
    asked = measuring.looked_at(replace(home, evaluation={"clips": 64}))
    assert asked == {**measuring.LOOKED_AT, "clips": 64}

"""The whole way from a sealed snapshot to a published pair, by real training processes of a few steps."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import dagster as dg
import duckdb
import numpy as np
import pytest
from safetensors.numpy import load_file

from assets.dataset import assets as dataset
from assets.dataset.sealed import Sealed, current
from assets.home import Home
from assets.model import assets as stage
from assets.model import config, published, warm
from assets.model.outcome import Outcome
from tests.assets.model.conftest import BASE

pytestmark = pytest.mark.slow

FEW = {
    "codec": {"steps": 6, "eval_every": 6, "checkpoint_every": 6, "lr": 1e-4},
    "transformer": {
        "steps": 40,
        "eval_every": 40,
        "checkpoint_every": 40,
        "batch_tokens": 400,
        # nano's usual correction starts where the covariance leaves it, which forty steps on six clips cannot better
        "transformer_shape": {"predicts": "velocity"},
    },
}
PAIR = [dataset.training_snapshot, dataset.renditions, stage.latents, stage.video_autoencoder, stage.video_transformer]


def outcomes(result: dg.ExecuteInProcessResult) -> dict[str, str]:
    names = ("video_autoencoder", "latents", "video_transformer")
    events = {name: result.asset_materializations_for_node(name)[0] for name in names}
    return {name: str(event.metadata["outcome"].value) for name, event in events.items()}


def in_this_process(context: Any, started: Any) -> None:
    """What the launched process would do, without its start, which takes longer than these few steps."""
    assert importlib.import_module(started.command[2]).main(list(started.command[-2:])) == 0


@pytest.fixture
def quick(small_world: Any, monkeypatch: pytest.MonkeyPatch) -> Home:
    """The small world's home, in which training takes few steps and always counts as progress: six clips teach the
    autoencoder little about two others, and whether it learned is not the question here."""
    if not (small_world.home.text_encoder / "model.safetensors").is_file():
        pytest.skip("the text encoder was not fetched")
    monkeypatch.setattr(Outcome, "good_enough", True)
    return replace(small_world.home, training=FEW)


def test_a_pair_is_trained_published_and_reused_and_its_child_falls_with_it(
    small_world: Any,
    quick: Home,
    sealed: Sealed,
    run: Callable[..., dg.ExecuteInProcessResult],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    home = quick
    first = run(home, *PAIR)
    assert first.success
    assert outcomes(first) == {"video_autoencoder": "trained", "latents": "encoded", "video_transformer": "trained"}

    plan = warm.plan(home, sealed.root)
    assert published.latest(home) == plan.model_key
    pair = published.pair(home, plan.model_key)
    assert pair is not None
    assert pair["snapshot_root"] == sealed.root
    for task in config.TASKS:
        seen = (published.result(home, plan.model_key, task) or {})["result"]["clips_seen"]
        assert seen["repetition_sha256"] == plan.repetition_sha256 != "", "training read the sealed weights"
        assert seen["never"] == 0 < seen["fewest"]
    assert pair["transformer"]["mlflow_run_id"] == pair["codec"]["mlflow_run_id"]
    flow = pair["transformer"]["result"]
    assert flow["end"]["heldout/flow_loss"] < flow["start"]["heldout/flow_loss"]
    names = {path.name for path in published.local_folder(home, plan.model_key).iterdir()}
    assert names == {"codec.safetensors", "codec.json", "transformer.safetensors", "transformer.json"}

    again = run(home, *PAIR)
    assert again.success
    assert set(outcomes(again).values()) == {"nothing new: reused"}

    parent, dropped = plan.model_key, sealed.clip_ids[0]
    with duckdb.connect(str(home.warehouse_path)) as connection:
        connection.execute("update mart_training_eligibility set eligible = false where clip_id = ?", [dropped])
    home = replace(home, training=FEW | {"parent_model": parent, "steps": 8, "eval_every": 8})
    with monkeypatch.context() as patch:
        patch.setattr(stage, "execute", in_this_process)
        assert run(home, *PAIR).success
    smaller = current(home)
    assert dropped not in smaller.clip_ids
    child = published.pair(home, warm.plan(home, smaller.root).model_key)
    assert child is not None
    assert (child["parent_model"], child["exposure"]) == (parent, sorted([sealed.root, smaller.root]))
    assert child["transformer"]["result"]["exposure"] == child["exposure"]

    small_world.revoke(dropped)  # a clip that the child's own snapshot does not hold
    again = run(replace(home, training=home.training | {"seed": 1}), *PAIR)
    assert not again.success
    (check,) = [c for c in again.get_asset_check_evaluations() if c.check_name == stage.CONSENT]
    assert dropped[:16] in str(check.metadata["reasons"].value)
    reused = run(home, stage.video_autoencoder)
    assert not reused.success


def test_a_pair_really_starts_from_the_base_and_has_seen_the_snapshot_only(
    quick: Home,
    sealed: Sealed,
    run: Callable[..., dg.ExecuteInProcessResult],
    tiny_base: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(stage, "execute", in_this_process)  # a process of its own would know no base of a test
    few = {"steps": 2, "eval_every": 2, "checkpoint_every": 2, "lr": 1e-9}
    home = replace(quick, training={"codec": few, "transformer": few | {"batch_tokens": 400}})
    assert run(home, *PAIR).success
    plan = warm.plan(home, sealed.root)
    pair = published.pair(home, plan.model_key)
    assert pair is not None
    assert plan.parent_model == pair["parent_model"] == pair["origin"] == BASE
    assert pair["exposure"] == [sealed.root]
    folder = published.local_folder(home, plan.model_key)
    for task in config.TASKS:
        assert pair[task]["result"]["warm_start"]
        theirs, ours = (load_file(place / f"{task}.safetensors") for place in (tiny_base, folder))
        assert theirs.keys() == ours.keys()
        moved = [name for name in theirs if not np.allclose(ours[name], theirs[name], atol=1e-4)]
        assert [name for name in moved if not name.startswith(("mean", "std"))] == [], "all but latent statistics"

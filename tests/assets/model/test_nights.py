"""Night after night through the real assets: where each training starts, and how one ends that finds nothing better.

Scripts stand in for training and encoding, so that a test says how a run ends; snapshots, ledger, registry and gate are real.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import dagster as dg
import pytest

from assets.dataset import assets as dataset
from assets.dataset.sealed import Sealed, current
from assets.evaluation import assets as evaluation
from assets.home import Home
from assets.model import assets as stage
from assets.model import published, warm
from assets.model.published import COPIES, PRIMARY, Scorecard, heldout_digest, store_scorecard
from assets.registry import CHAMPION, Registry, Version
from assets.withdrawals.plan import act_on_ledger
from tests.assets.model.conftest import BASE

pytestmark = pytest.mark.slow

PAIR = [dataset.training_snapshot, dataset.renditions, stage.latents, stage.video_autoencoder, stage.video_transformer]

# what training and encoding leave behind; `BEST` is the step whose weights a run publishes
SCRIPT = """
import numpy as np
from safetensors.numpy import load_file, save_file
if "task" not in config:
    for member in json.loads(Path(config["manifest"]).read_text())["members"]:
        path = Path(config["latents_dir"]) / f"{member['clip_id']}.safetensors"
        if not path.exists():
            save_file({"latent": np.ones((2, 2), np.float32)}, path)
    raise SystemExit
task, root = config["task"], config["snapshot_root"]
measure, start, gain = ("heldout/codec_loss", 0.02, -0.002) if task == "codec" else ("heldout/flow_loss", 0.6, -0.1)
seen, weights = {root: json.loads(Path(config["manifest"]).read_text())["at"]}, {"w": np.zeros((3, 4), np.float32)}
if "parent_dir" in config:
    parent = Path(config["parent_dir"])
    seen |= json.loads((parent / "result.json").read_text())["exposed_since"]
    weights = load_file(parent / f"{task}.safetensors")
if BEST:
    weights = {name: value + 1 for name, value in weights.items()}
end = start + gain if BEST else start
with (run_dir / "metrics.jsonl").open("a") as out:
    out.write(json.dumps({"step": 10, "train/loss": 0.5, measure: end - gain / 2}) + "\\n")
save_file(weights, run_dir / f"{task}.safetensors", {"exposure": json.dumps(dict(sorted(seen.items())))})
(run_dir / f"{task}.json").write_text("{}")
(run_dir / "result.json").write_text(json.dumps({"task": task, "steps": 10, "seconds": 0.2, "stopped": None,
    "warm_start": "parent_dir" in config, "best_step": BEST, "start": {measure: start}, "end": {measure: end},
    "last": {measure: end - gain / 2}, "exposure": sorted(seen), "exposed_since": seen}))
"""


class Nights:
    def __init__(self, world: Any, run: Any, scripted: Callable[[str], None]) -> None:
        self.world, self.home, self.run, self.scripted = world, world.home, run, scripted
        self.registry = Registry(self.home)

    def train(self, best_step: int = 5) -> dg.ExecuteInProcessResult:
        """A night up to the registered version."""
        self.scripted(f"BEST = {best_step}\n{SCRIPT}")
        result = self.run(self.home, *PAIR)
        assert result.success
        return result

    def register(self, flow: float, base: float = 0.6) -> Version:
        """Measure the newest model, and the champion with it, and register it; `flow` is its loss on tonight's clips."""
        key = published.latest(self.home)
        assert key is not None
        self.measure(key, flow, base)
        self.home.lake.write("samples", [])
        self.home.lake.write("scorecard", [])
        assert self.run(self.home, evaluation.registered_model).success
        return self.version(key)

    def measure(self, key: str, flow: float, base: float = 0.6) -> None:
        rows = [row(key, PRIMARY, "all", flow), row(key, PRIMARY, "reference=base", base), row(key, COPIES, "all", 0.0)]
        store_scorecard(self.home, Scorecard(key, heldout_digest(current(self.home)), rows))

    def version(self, key: str) -> Version:
        return next(version for version in self.registry.versions() if version.model_key == key)

    def deliver(self, who: str) -> list[str]:
        clips = self.world.deliver(who)
        self.world.settle()
        return clips

    def withdraw(self, clip: str) -> None:
        """A person withdraws a clip, and the platform acts on it."""
        size = self.world.ledger.size()
        self.world.revoke(clip)
        act_on_ledger(self.home, size)
        self.world.write_mart()

    def decided(self) -> dict[str, Any]:
        """What the champion's asset says at the end of the night."""
        result = self.run(self.home, evaluation.champion)
        assert result.success
        (event,) = result.asset_materializations_for_node("champion")
        return {name: entry.value for name, entry in event.metadata.items()}


def row(key: str, metric: str, part: str, value: float) -> dict[str, Any]:
    return {
        "model_key": key, "metric": metric, "slice": part, "value": value, "ci_low": value - 0.05,
        "ci_high": value + 0.05, "n": 8, "unit": "1", "better": "lower", "method": "t/1", "state": "measured", "why": None,
    }  # fmt: skip


def parent_of(home: Home) -> str | None:
    return warm.plan(home, current(home).root).parent_model


def improved(result: dg.ExecuteInProcessResult) -> dict[str, str]:
    checks = [c for c in result.get_asset_check_evaluations() if c.check_name == stage.IMPROVED]
    assert all(check.passed for check in checks)
    return {check.asset_key.to_user_string(): str(check.description) for check in checks}


@pytest.fixture
def nights(
    small_world: Any, sealed: Sealed, tiny_base: Any, run: Any, scripted: Any, monkeypatch: pytest.MonkeyPatch
) -> Nights:
    """Over a home that has had no night yet, with a base in the repository."""
    monkeypatch.setattr(stage, "_reconstruction", lambda *_: b"picture")
    return Nights(small_world, run, scripted)


def test_the_first_night_starts_from_the_base_and_every_record_names_it(nights: Nights) -> None:
    result = nights.train()
    assert parent_of(nights.home) == BASE
    (event,) = result.asset_materializations_for_node("video_transformer")
    assert event.metadata["parent_model"].value == BASE
    assert event.metadata["started_there_because"].value == "no version is clean and fits"
    version = nights.register(0.55)
    record = published.pair(nights.home, version.model_key)
    assert record is not None
    assert (record["parent_model"], record["origin"]) == (BASE, BASE)
    assert record["exposure"] == [version.snapshot_root], "the base saw nothing"
    assert (version.tags["parent_model"], version.tags["origin_model"]) == (BASE, BASE)
    run = nights.registry.client.get_run(version.run_id)
    assert (run.data.tags["parent_model"], run.data.tags["origin_model"]) == (BASE, BASE)


def test_the_next_nights_start_from_the_best_clean_version_also_a_refused_one_and_never_from_a_tainted_one(
    nights: Nights,
) -> None:
    nights.train()
    first = nights.register(0.55)
    nights.registry.set_alias(CHAMPION, first.number)

    (late, _) = nights.deliver("c-5")
    nights.train()
    assert parent_of(nights.home) == first.model_key
    second = nights.register(0.5)
    nights.measure(first.model_key, 0.55)
    nights.registry.tag(second.number, "gate", "refused")  # by less than the gate asks for

    nights.deliver("c-6")
    nights.train()
    assert parent_of(nights.home) == second.model_key
    assert (published.pair(nights.home, published.latest(nights.home) or "") or {})["origin"] == BASE

    nights.withdraw(late)
    assert nights.version(second.model_key).taint
    nights.train()
    assert parent_of(nights.home) == first.model_key, "the best one is tainted"


def test_a_retrain_after_a_withdrawal_that_finds_nothing_better_ends_green_and_the_champion_stays(
    nights: Nights,
) -> None:
    nights.train()
    champion = nights.register(0.55)
    nights.registry.set_alias(CHAMPION, champion.number)
    (late, _) = nights.deliver("c-5")
    nights.train()
    tainted = nights.register(0.5)

    nights.withdraw(late)
    result = nights.train(best_step=0)
    assert parent_of(nights.home) == champion.model_key
    stays = "no improvement tonight: the start's weights stay"
    assert improved(result) == {
        "video_autoencoder": f"{stays} (heldout/codec_loss 0.02, the last step reached 0.021)",
        "video_transformer": f"{stays} (heldout/flow_loss 0.6, the last step reached 0.65)",
    }
    same = nights.register(0.55)
    nights.measure(champion.model_key, 0.55)
    why = nights.decided()
    assert why["outcome"] == f"no improvement: the champion stays (version {champion.number})"
    assert nights.registry.alias(CHAMPION) == champion.number
    assert nights.version(tainted.model_key).taint
    assert published.unchanged(published.pair(nights.home, same.model_key) or {})

    nights.deliver("c-8")
    nights.train()
    assert parent_of(nights.home) == champion.model_key, "of two with the same weights, the one that saw less"


def test_a_retrain_after_the_champion_itself_fell_starts_from_the_base_and_never_ends_with_a_tainted_champion(
    nights: Nights, sealed: Sealed
) -> None:
    nights.train()
    fallen = nights.register(0.1)
    nights.registry.set_alias(CHAMPION, fallen.number)
    nights.withdraw(sealed.clip_ids[0])
    assert nights.registry.alias(CHAMPION) is None
    nights.train()
    assert parent_of(nights.home) == BASE
    clean = nights.register(0.55)
    assert nights.decided()["champion"] in ("none", clean.number)
    assert clean.taint is None


@pytest.mark.parametrize("every", [False, True])
def test_a_clip_without_a_finite_latent_is_left_out_of_training_and_without_any_the_night_ends(
    nights: Nights, every: bool
) -> None:
    bad = current(nights.home).clip_ids[0]
    value = f"np.full((2, 2), np.nan if {every} or member['clip_id'] == {bad!r} else 1, np.float32)"
    script = 'if task == "transformer": (run_dir / "left_out").write_text(json.dumps(config["left_out"]))'
    nights.scripted(f"BEST = 5\n{SCRIPT.replace('np.ones((2, 2), np.float32)', value)}\n{script}\n")
    result = nights.run(nights.home, *PAIR)
    (why,) = (c for c in result.get_asset_check_evaluations() if c.check_name == stage.LATENT_CHECK)
    assert (result.success, why.passed) == (not every, False)
    assert bad in why.metadata["clips"].value
    left_out = [json.loads(path.read_text()) for path in nights.home.state.rglob("left_out")]
    assert left_out == ([] if every else [[bad]])

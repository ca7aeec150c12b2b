"""A run publishes the weights that measured best on held-out clips, ends when nothing improves, and resumes to the same."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from tests.training.conftest import TrainingWorld
from tests.training.exposure.conftest import edit, refusal, strip
from tests.training.test_fit import assert_same, run, weights
from training.config import TrainConfig
from training.data.clips import Encoded, FrameClips, LatentClips, read_members
from training.evaluate.heldout import flow_loss, psnr, reconstruct
from training.fit import fit
from training.model import exposure
from training.model.codec import load_codec, to_unit
from training.model.config import ConfigError, TransformerConfig
from training.model.transformer import load_transformer
from training.trainer.checkpoint import checkpoints
from training.trainer.learner import CLIP_WARMUP, DIVERGED, AdaptiveClip, Divergence, TransformerLearner
from training.trainer.metrics import RunLogger
from training.trainer.weights import Ema

Losses = dict[int, float]


@pytest.fixture
def losses(monkeypatch: pytest.MonkeyPatch) -> Losses:
    """Held-out loss by step, as the test says it; 1.0 for any other step."""
    by_step: Losses = {}

    def heldout(learner: TransformerLearner) -> dict[str, float]:
        return {"heldout/flow_loss": by_step.get(learner.average.updates, 1.0)}

    monkeypatch.setattr(TransformerLearner, "heldout", heldout)
    return by_step


def saved(config: TrainConfig, step: int, name: str) -> dict[str, torch.Tensor]:
    return load_file(Path(config.run_dir) / "checkpoints" / f"step-{step:08d}" / f"{name}.safetensors")


def test_the_weights_of_the_best_step_are_published_and_not_the_last(
    world: TrainingWorld, losses: Losses, capsys: pytest.CaptureFixture
) -> None:
    losses |= {2: 0.8, 4: 0.5, 6: 0.6}
    config = world.flow_config(steps=6, eval_every=2)
    code, result = run(config)
    assert (code, result["stopped"], result["steps"], result["best_step"]) == (0, None, 6, 4)
    shown = {when: result[when]["heldout/flow_loss"] for when in ("start", "end", "last")}
    assert shown == {"start": 1.0, "end": 0.5, "last": 0.6}
    assert_same(weights(config.run_dir), saved(config, 4, "ema"))
    assert_same(saved(config, 6, "best"), saved(config, 4, "ema"))
    assert "flow_loss 1 -> flow_loss 0.5 at step 4, the best (step 6: flow_loss 0.6)" in capsys.readouterr().out
    records = [json.loads(line) for line in (Path(config.run_dir) / "metrics.jsonl").read_text().splitlines()]
    curve = {r["step"]: r["heldout/flow_loss"] for r in records if "heldout/flow_loss" in r}
    assert curve == {0: 1.0, 2: 0.8, 4: 0.5, 6: 0.6}


def test_the_last_step_is_published_where_it_is_the_best(world: TrainingWorld, losses: Losses, capsys) -> None:
    losses |= {2: 0.8, 4: 0.9, 6: 0.7}
    config = world.flow_config(steps=6, eval_every=2)
    assert run(config)[1]["best_step"] == 6
    assert_same(weights(config.run_dir), saved(config, 6, "ema"))
    assert "the best" not in capsys.readouterr().out


def test_a_transformer_that_got_worse_is_published_as_it_began_and_measures_so(world: TrainingWorld) -> None:
    # begins at what can be said in closed form
    shape = {"width": 64, "layers": 2, "heads": 2, "patch": 2, "predicts": "correction"}
    config = world.flow_config(steps=12, lr=0.05, eval_every=4, warmup=1, transformer_shape=shape)
    code, result = run(config)
    assert code == 0
    assert (result["best_step"], result["end"]) == (0, result["start"])
    assert result["last"]["heldout/flow_loss"] > 1.02 * result["start"]["heldout/flow_loss"]
    members = read_members(config.manifest, "heldout")
    clips = LatentClips(Encoded(config.latents_dir, config.text_dir, 2, 4), members)
    measured = flow_loss(load_transformer(config.run_dir), [clips.read(m["clip_id"]) for m in members]).mean()
    assert float(measured) == pytest.approx(result["end"]["heldout/flow_loss"], rel=1e-5)


def test_a_codecs_best_weights_have_latent_statistics_of_their_own(world: TrainingWorld) -> None:
    config = world.config(steps=8, lr=4e-3, eval_every=2)
    code, result = run(config)
    assert code == 0
    assert result["best_step"] < 8
    assert result["end"]["heldout/psnr_db"] > result["last"]["heldout/psnr_db"]
    codec = load_codec(config.run_dir)
    heldout = FrameClips(config.frames_dir, read_members(config.manifest, "heldout"))
    shown = [heldout.read(clip_id)[0] for clip_id in heldout.clip_ids]
    measured = sum(psnr(x, reconstruct(codec, x)) for x in shown) / len(shown)
    assert measured == pytest.approx(result["end"]["heldout/psnr_db"], rel=1e-4)
    stored = codec.mean_2C1.clone(), codec.std_2C1.clone()
    train = FrameClips(config.frames_dir, read_members(config.manifest, "train"))
    codec.set_statistics(to_unit(train.read(clip_id)[0]) for clip_id in train.clip_ids)
    torch.testing.assert_close(stored, (codec.mean_2C1, codec.std_2C1), rtol=1e-4, atol=1e-5)


def test_a_run_ends_after_so_many_measurements_without_improvement(
    world: TrainingWorld, losses: Losses, capsys
) -> None:
    losses |= {2: 0.5, 4: 0.6, 6: 0.4, 8: 0.4, 10: 0.5}
    config = world.flow_config(steps=40, eval_every=2, checkpoint_every=40, patience=2)
    code, result = run(config)
    assert (code, result["stopped"], result["early_stop"]) == (0, None, True)
    assert (result["steps"], result["best_step"], result["end"]["heldout/flow_loss"]) == (10, 6, 0.4)
    assert "after step 10, as nothing improved any more" in capsys.readouterr().out
    before = weights(config.run_dir)
    code, again = run(config)
    assert (code, again["resumed_from_step"], again["steps"], again["early_stop"]) == (0, 10, 10, True)
    assert {key: again[key] for key in ("end", "last", "start")} == {
        key: result[key] for key in ("end", "last", "start")
    }
    assert_same(before, weights(config.run_dir))


def test_without_patience_a_run_that_does_not_improve_goes_to_its_end(world: TrainingWorld, losses: Losses) -> None:
    result = run(world.flow_config(steps=8, eval_every=1))[1]
    assert (result["steps"], result["early_stop"], result["best_step"]) == (8, False, 0)
    with pytest.raises(ConfigError, match="patience should be greater than or equal to 0"):
        world.flow_config(patience=-1)


def test_a_resumed_run_publishes_the_same_best_to_the_last_bit(world: TrainingWorld, losses: Losses) -> None:
    losses |= {2: 0.9, 4: 0.5, 6: 0.7, 8: 0.6, 10: 0.8}
    changes: dict[str, Any] = {"steps": 20, "eval_every": 2, "patience": 3, "checkpoint_every": 3}
    whole = world.flow_config("whole", **changes)
    expected = run(whole)[1]
    assert (expected["best_step"], expected["steps"]) == (4, 10)
    for until in (2, 5, 7):
        parted = world.flow_config(f"parted-{until}", **changes)
        assert "interrupted" in run(parted, until)[1]["stopped"]
        assert not (Path(parted.run_dir) / "transformer.safetensors").exists()
        result = run(parted)[1]
        for name in ("best_step", "end", "last", "steps", "early_stop"):
            assert result[name] == expected[name]
        assert_same(weights(whole.run_dir), weights(parted.run_dir))


def test_a_best_that_came_after_the_last_checkpoint_is_measured_again(world: TrainingWorld, losses: Losses) -> None:
    losses |= {2: 0.9, 4: 0.5, 6: 0.7}
    whole, killed = (world.flow_config(n, steps=6, eval_every=2, checkpoint_every=3) for n in ("whole", "killed"))

    class Killed(RunLogger):
        def log_metrics(self, metrics, step=None):
            super().log_metrics(metrics, step)
            if step == 5:
                raise OSError("killed")

    with pytest.raises(OSError, match="killed"):
        fit(killed, Killed(Path(killed.run_dir)))
    assert run(whole)[0] == 0
    result = run(killed)[1]
    assert (result["resumed_from_step"], result["best_step"]) == (3, 4)
    assert_same(weights(whole.run_dir), weights(killed.run_dir))


def test_a_measurement_that_is_no_number_is_never_the_best(world: TrainingWorld, losses: Losses) -> None:
    nan = float("nan")
    losses |= {0: nan, 2: nan, 4: 0.9, 6: nan}
    result = run(world.flow_config(steps=6, eval_every=2))[1]
    assert (result["best_step"], result["end"]["heldout/flow_loss"]) == (4, 0.9)


def test_best_weights_say_what_they_saw_and_are_refused_where_they_do_not(world: TrainingWorld, losses: Losses) -> None:
    losses |= {2: 0.5}
    config = world.flow_config(steps=8, eval_every=2)
    run(config, until=4)
    (*_, latest) = checkpoints(Path(config.run_dir) / "checkpoints")
    assert set(exposure.of_weights(latest / "best.safetensors")) == {world.snapshot_root}
    strip(latest / "best.safetensors")
    assert refusal(config) == "exposure.unknown"
    (latest / "best.safetensors").unlink()
    assert refusal(config) == "exposure.unknown"


def test_a_best_that_was_trained_beyond_a_revocation_is_not_kept(world: TrainingWorld, losses: Losses) -> None:
    losses |= {4: 0.5, 6: 0.1}
    config = world.flow_config(steps=40, eval_every=2, checkpoint_every=4)

    class Revoking(RunLogger):
        """A contributor withdraws after the sixth step, which is the best one."""

        def log_metrics(self, metrics, step=None):
            super().log_metrics(metrics, step)
            if step == 6:
                world.people.revoke(world.consents[1])

    assert fit(config, Revoking(Path(config.run_dir))) == 3
    run_dir = Path(config.run_dir)
    assert [
        json.loads((p / "state.json").read_text())["best"]["step"] for p in checkpoints(run_dir / "checkpoints")
    ] == [4]
    assert (run_dir / "tainted").is_file()
    assert [p for p in run_dir.rglob("*.safetensors") if "step-00000004" not in str(p)] == []
    assert run(config)[0] == 3  # and what is there is not gone on from


def test_a_checkpoint_without_a_best_goes_on_from_its_own_measurement(world: TrainingWorld, losses: Losses) -> None:
    losses |= {4: 0.5, 6: 0.6}
    config = world.flow_config(steps=6, eval_every=2)
    run(config, until=4)
    (*_, latest) = checkpoints(Path(config.run_dir) / "checkpoints")
    edit(latest / "state.json", lambda state: [state.pop(name) for name in ("best", "last")])
    (latest / "best.safetensors").unlink()
    result = run(config)[1]
    assert (result["resumed_from_step"], result["best_step"]) == (4, 4)


def test_the_average_of_a_short_run_is_not_that_of_its_first_steps() -> None:
    model = nn.Linear(1, 1, bias=False)
    nn.init.zeros_(model.weight)
    average, weight = Ema(model, 0.999), 0.0
    for step in range(1, 31):
        nn.init.constant_(model.weight, float(step))
        average.update()
        decay = min(0.999, (1 + step) / (10 + step))
        weight = decay * weight + (1 - decay) * step
    assert average.weights()["weight"].item() == pytest.approx(weight, rel=1e-5)
    assert weight > 20  # with the full decay from the start it would be below 0.5


def test_a_long_run_is_averaged_with_the_full_decay() -> None:
    model = nn.Linear(1, 1, bias=False)
    average = Ema(model, 0.9)
    average.updates = 10_000
    before = average.weights()["weight"].item()
    nn.init.constant_(model.weight, before + 1)
    average.update()
    assert average.weights()["weight"].item() == pytest.approx(before + 0.1, abs=1e-6)


def gradient(parameter: nn.Parameter, norm: float) -> None:
    parameter.grad = torch.full_like(parameter, norm / parameter.numel() ** 0.5)


def test_a_spike_is_clipped_to_what_is_usual_and_does_not_become_usual() -> None:
    parameter, clip = nn.Parameter(torch.zeros(16)), AdaptiveClip()
    for step in range(40):
        gradient(parameter, 0.1 + 0.01 * (step % 3))
        clip([parameter])
    usual = clip.threshold()
    assert 0.1 < usual < 0.2
    gradient(parameter, 50.0)
    assert clip([parameter]) == pytest.approx(50.0, rel=1e-4)
    assert parameter.grad is not None
    assert parameter.grad.norm().item() == pytest.approx(usual, rel=1e-3)
    assert clip.threshold() < 1.2 * usual
    gradient(parameter, 0.1)
    clip([parameter])
    assert parameter.grad.norm().item() == pytest.approx(0.1, rel=1e-4)


def test_a_clips_state_goes_on_where_it_was() -> None:
    clip, parameter = AdaptiveClip(), nn.Parameter(torch.zeros(4))
    for _ in range(30):
        gradient(parameter, 0.3)
        clip([parameter])
    assert AdaptiveClip(**json.loads(json.dumps(asdict(clip)))).threshold() == clip.threshold() != 1


@pytest.mark.parametrize("value", [float("nan"), float("inf"), DIVERGED * 2.01])
def test_a_loss_that_is_broken_or_far_beyond_the_usual_names_the_step_and_its_clips(
    world: TrainingWorld, value: float
) -> None:
    learner = TransformerLearner(world.flow_config(), TransformerConfig(width=16, layers=1, heads=2), [])
    learner.last = SimpleNamespace(step=7, clip_ids=("ab", "cd"))
    learner.refuse_divergence(2.0, "loss")
    learner.refuse_divergence(DIVERGED * 3, "loss")  # the first steps say nothing of what is usual
    learner.usual_loss, learner.clip.steps = 2.0, CLIP_WARMUP
    learner.refuse_divergence(DIVERGED * 1.9, "loss")
    learner.usual_loss = 2.0
    with pytest.raises(Divergence, match="at step 7, on clips ab, cd") as caught:
        learner.refuse_divergence(value, "loss")
    assert caught.value.clip_ids == ["ab", "cd"]

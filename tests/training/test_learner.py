"""What every step is held to: the average warms up, spikes of the gradient are clipped, a broken loss names its clips."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from tests.training.conftest import TrainingWorld
from training.model.config import TransformerConfig
from training.trainer.ema import Ema
from training.trainer.learner import DIVERGED, AdaptiveClip, Divergence, TransformerLearner


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
    parameter, clip = nn.Parameter(torch.zeros(16)), AdaptiveClip(warmup=5)
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
    one, other, parameter = AdaptiveClip(), AdaptiveClip(), nn.Parameter(torch.zeros(4))
    for _ in range(30):
        gradient(parameter, 0.3)
        one([parameter])
    other.load(one.state())
    assert other.threshold() == one.threshold()


@pytest.mark.parametrize("value", [float("nan"), float("inf"), DIVERGED * 2.01])
def test_a_loss_that_is_broken_or_far_beyond_the_usual_names_the_step_and_its_clips(
    world: TrainingWorld, value: float
) -> None:
    learner = TransformerLearner(world.flow_config(), TransformerConfig(width=16, layers=1, heads=2), [])
    learner.last = SimpleNamespace(step=7, clip_ids=("ab", "cd"))
    learner.refuse_divergence(2.0, "loss")
    learner.refuse_divergence(DIVERGED * 3, "loss")  # the first steps say nothing of what is usual
    learner.usual_loss, learner.clip.steps = 2.0, learner.clip.warmup
    learner.refuse_divergence(DIVERGED * 1.9, "loss")
    learner.usual_loss = 2.0
    with pytest.raises(Divergence, match="at step 7, on clips ab, cd") as caught:
        learner.refuse_divergence(value, "loss")
    assert caught.value.clip_ids == ["ab", "cd"]

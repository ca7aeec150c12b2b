"""A budget of minutes ends a run with its last step that fits, lowers the rate in time, and survives a kill."""

from __future__ import annotations

import itertools
import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.training.conftest import TrainingWorld
from training.config import TrainConfig
from training.fit import fit
from training.model.config import ConfigError, build
from training.trainer import learner
from training.trainer.callback import POINTS
from training.trainer.metrics import RunLogger
from training.trainer.schedule import LOWEST, Schedule

CPU = torch.device("cpu")


def config(**changes: Any) -> TrainConfig:
    places = {"run_dir": "", "manifest": "m", "snapshot_root": "", "database_url": "", "frames_dir": "f"}
    return build(TrainConfig, {"task": "codec", **places, **changes})


@given(st.floats(0.01, 100), st.lists(st.floats(0.001, 60), min_size=1, max_size=40), st.floats(0, 30))
def test_no_step_begins_that_would_not_end_in_time_if_steps_took_no_longer_than_before(
    minutes: float, durations: list[float], closing: float
) -> None:
    now = 0.0
    schedule = Schedule(config(steps=0, minutes=minutes, warmup=1), lambda: now)
    with schedule.closing("measuring"):
        now += closing
    rates = []
    for step, took in enumerate(itertools.cycle([max(durations)]), 1):
        rates.append(schedule.learning_rate(step))
        schedule.begins()
        now += took
        schedule.ends(CPU)
        if schedule.over or step == 500:
            break
    if step > 1 and schedule.over:
        assert now + closing <= 60 * minutes * (1 + 1e-9), "the end of the run fits too"
        assert now + max(durations) + closing > 60 * minutes * (1 - 1e-9), "and no further step does"
    assert rates == sorted(rates, reverse=True)
    assert min(rates) >= LOWEST * schedule.config.lr


def run(config: TrainConfig, until: int | None = None) -> dict[str, Any]:
    assert fit(config, RunLogger(Path(config.run_dir)), until) == 0
    return json.loads((Path(config.run_dir) / "result.json").read_text())


def rates(config: TrainConfig) -> list[float]:
    lines = (Path(config.run_dir) / "metrics.jsonl").read_text().splitlines()
    return [record["train/lr"] for record in map(json.loads, lines) if "train/lr" in record]


def test_a_run_of_minutes_ends_in_time_and_a_killed_one_goes_on_with_what_is_left(
    world: TrainingWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    def each_look_takes_a_second() -> Any:
        monkeypatch.setattr(learner, "Schedule", partial(Schedule, clock=partial(next, itertools.count())))

    each_look_takes_a_second()
    budget: dict[str, Any] = {"steps": 0, "minutes": 1.0, "eval_every": 50, "checkpoint_every": 2}
    whole = run(world.flow_config("whole", **budget))
    assert (whole["stopped"], whole["early_stop"]) == (None, False)
    assert 4 <= whole["steps"] <= 20
    assert whole["end"], "the last step is measured"
    falling = rates(world.flow_config("whole", **budget))
    assert falling[-1] < 0.5 * max(falling)

    each_look_takes_a_second()
    parted = world.flow_config("parted", **budget)
    assert "interrupted" in run(parted, until=4)["stopped"]
    state = json.loads((Path(parted.run_dir) / "checkpoints/step-00000004/state.json").read_text())
    each_look_takes_a_second()
    result = run(parted)
    assert 0 < state["spent"]["seconds"] < 60
    assert (result["resumed_from_step"], result["early_stop"]) == (4, False)
    assert abs(result["steps"] - whole["steps"]) <= 3, "the minutes are those of both processes together"


def test_a_run_needs_steps_or_minutes() -> None:
    with pytest.raises(ConfigError, match="needs steps or minutes"):
        config(steps=0)


def test_the_training_curve_has_a_point_for_each_of_a_hundred_steps_and_a_bounded_number_for_any() -> None:
    for steps in (100, 250, 401, 5000, 123_457):
        schedule = Schedule(config(steps=steps))
        points = sum(schedule.marks(step, POINTS) > schedule.marks(step - 1, POINTS) for step in range(1, steps + 1))
        assert points == min(steps, POINTS)

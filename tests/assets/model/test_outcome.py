"""A run is good enough to publish only when it finished, stayed finite and is no worse than its start."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from assets.model.outcome import Outcome, read_outcome


def outcome(
    start: float | None = 2.0, end: float | None = 1.0, losses: tuple[float, ...] = (1.0, 0.5), **more: Any
) -> Outcome:
    result = {"stopped": None, "start": {"heldout/flow_loss": start}, "end": {"heldout/flow_loss": end}} | more
    return Outcome("transformer", result, [{"step": i, "train/loss": loss} for i, loss in enumerate(losses)])


def test_a_falling_held_out_loss_is_an_improvement() -> None:
    assert outcome(2.0, 1.0).good_enough
    assert not outcome(1.0, 1.0).good_enough
    assert not outcome(1.0, 2.0).good_enough


def test_a_rising_psnr_is_an_improvement_for_the_codec() -> None:
    result = {"stopped": None, "start": {"heldout/psnr_db": 18.0}, "end": {"heldout/psnr_db": 25.0}}
    assert Outcome("codec", result).good_enough


def test_a_run_that_kept_its_start_is_good_enough_and_says_so_with_figures() -> None:
    found = outcome(0.6, 0.6, best_step=0, last={"heldout/flow_loss": 0.7}, steps=500)
    assert found.unchanged
    assert found.good_enough
    assert found.change == "no improvement: the start's weights stay (heldout/flow_loss 0.6, the last step reached 0.7)"


def test_a_run_that_kept_its_best_says_which_step_it_was() -> None:
    found = outcome(0.6, 0.5, best_step=300, last={"heldout/flow_loss": 0.7}, steps=500)
    assert found.good_enough
    assert not found.unchanged
    assert found.change == "heldout/flow_loss 0.6 → 0.5 at step 300 of 500 (lower is better)"


def test_a_run_that_says_it_kept_its_best_and_ended_worse_is_not_good_enough() -> None:
    assert not outcome(0.6, 0.601, best_step=0, warm_start=True).good_enough
    assert outcome(0.6, 0.601, warm_start=True).good_enough, "without the best kept, about as good is enough"


@pytest.mark.parametrize(("start", "end"), [(None, 1.0), (2.0, None), (2.0, float("nan")), (float("inf"), 1.0)])
def test_what_was_not_measured_is_not_good_enough(start: float | None, end: float | None) -> None:
    assert not outcome(start, end).good_enough


@pytest.mark.parametrize("losses", [(), (1.0, float("nan")), (float("inf"),)])
def test_no_loss_or_one_that_is_not_finite_fails(losses: tuple[float, ...]) -> None:
    assert not outcome(losses=losses).finite
    assert outcome().finite


def test_a_process_that_left_nothing_did_not_finish(tmp_path: Path) -> None:
    found = read_outcome("codec", tmp_path)
    assert not found.finished
    assert found.stopped
    assert not found.finite


def test_a_line_cut_by_a_kill_is_left_out_and_a_repeated_step_counts_once(tmp_path: Path) -> None:
    lines = [json.dumps({"step": step, "train/loss": loss}) for step, loss in ((1, 3.0), (2, 2.0), (2, 1.5))]
    (tmp_path / "metrics.jsonl").write_text("\n".join([*lines, '{"step": 3, "tra']))
    assert read_outcome("codec", tmp_path).curve("train/loss") == [(1.0, 3.0), (2.0, 1.5)]

"""A run is good enough to publish only when it finished, stayed finite and is no worse than its start."""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assets.model.outcome import MetricsRelay, Outcome, Tail, numbers, read_outcome


def outcome(
    start: float | None = 2.0, end: float | None = 1.0, losses: tuple[float, ...] = (1.0, 0.5), **more: Any
) -> Outcome:
    result = {"stopped": None, "start": {"heldout/flow_loss": start}, "end": {"heldout/flow_loss": end}} | more
    return Outcome("transformer", result, [{"step": i, "train/loss": loss} for i, loss in enumerate(losses)])


def test_a_falling_held_out_loss_is_an_improvement() -> None:
    assert outcome(2.0, 1.0).good_enough
    assert not outcome(1.0, 1.0).good_enough
    assert not outcome(1.0, 2.0).good_enough


def test_a_falling_loss_is_an_improvement_for_the_codec() -> None:
    result = {"stopped": None, "start": {"heldout/codec_loss": 0.02}, "end": {"heldout/codec_loss": 0.01}}
    assert Outcome("codec", result).good_enough


def test_a_run_that_kept_its_start_is_good_enough_and_says_so_with_figures() -> None:
    ended = outcome(0.6, 0.6, best_step=0, last={"heldout/flow_loss": 0.7}, steps=500)
    assert ended.unchanged
    assert ended.good_enough
    assert (
        ended.change
        == "no improvement tonight: the start's weights stay (heldout/flow_loss 0.6, the last step reached 0.7)"
    )


def test_a_run_that_kept_its_best_says_which_step_it_was() -> None:
    ended = outcome(0.6, 0.5, best_step=300, last={"heldout/flow_loss": 0.7}, steps=500)
    assert ended.good_enough
    assert not ended.unchanged
    assert ended.change == "heldout/flow_loss 0.6 → 0.5 at step 300 of 500 (lower is better)"


def test_over_fitting_is_a_held_out_loss_that_rises_while_the_training_loss_falls() -> None:
    falling, rising = [1 - 0.01 * step for step in range(60)], [0.5 + 0.01 * step for step in range(60)]
    more = {"best_step": 20, "steps": 59, "last": {"heldout/flow_loss": 0.7}}
    assert outcome(0.6, 0.5, losses=falling, **more).over_fitting == (
        "after step 20 heldout/flow_loss went from 0.5 to 0.7, while the training loss fell from 0.825 to 0.435: "
        "the weights of step 20 are kept"
    )
    assert outcome(0.6, 0.5, losses=rising, **more).over_fitting == "", "learning less of everything is no over-fitting"
    assert outcome(0.6, 0.5, losses=falling, **more | {"last": {"heldout/flow_loss": 0.5}}).over_fitting == ""
    assert outcome(0.6, 0.5, losses=falling[:5], **more).over_fitting == "", "too few points to say"


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
    ended = read_outcome("codec", tmp_path)
    assert not ended.finished
    assert ended.stopped
    assert not ended.finite


def test_a_line_cut_by_a_kill_is_left_out_and_a_repeated_step_counts_once(tmp_path: Path) -> None:
    lines = [json.dumps({"step": step, "train/loss": loss}) for step, loss in ((1, 3.0), (2, 2.0), (2, 1.5))]
    (tmp_path / "metrics.jsonl").write_text("\n".join([*lines, '{"step": 3, "tra']))
    assert read_outcome("codec", tmp_path).curve("train/loss") == [(1.0, 3.0), (2.0, 1.5)]


def line(step: int, **values: float) -> bytes:
    return json.dumps({"step": step, "time_s": 0.1 * step, **values}).encode() + b"\n"


@given(st.lists(st.integers(1, 30), min_size=1, max_size=12))
def test_lines_cut_anywhere_arrive_whole_and_once(cuts: list[int]) -> None:
    import tempfile

    written = b"".join(line(step, **{"train/loss": 1.0 / (step + 1)}) for step in range(8))
    with tempfile.TemporaryDirectory() as folder:
        path, got, at = Path(folder) / "metrics.jsonl", [], 0
        tail = Tail(path)
        for cut in [*cuts, len(written)]:
            with path.open("ab") as file:
                file.write(written[at : at + cut])
            at += cut
            got += tail.read()
    assert [record["step"] for record in got] == list(range(8))


def test_a_half_written_line_waits_for_its_end(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(line(1) + b'{"step": 2, "tra')
    tail = Tail(path)
    assert [record["step"] for record in tail.read()] == [1]
    with path.open("ab") as file:
        file.write(b'in/loss": 0.5}\n')
    assert tail.read() == [{"step": 2, "train/loss": 0.5}]


def test_a_line_that_is_no_record_is_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(b"not json\n[1]\n" + line(3))
    assert [record["step"] for record in Tail(path).read()] == [3]


def test_only_numbers_are_metrics() -> None:
    assert numbers({"step": 4, "time_s": 1.5, "a": 1, "b": 0.5, "note": "x", "flag": True}) == {"a": 1.0, "b": 0.5}


def test_metrics_arrive_while_the_file_still_grows(tmp_path: Path) -> None:
    path, arrived, got = tmp_path / "metrics.jsonl", threading.Event(), []

    def log(step: int, metrics: Mapping[str, float]) -> None:
        got.append((step, dict(metrics)))
        arrived.set()

    with MetricsRelay(path, log, every_s=0.01):
        path.write_bytes(line(1, loss=2.0))
        assert arrived.wait(5)
        with path.open("ab") as file:
            file.write(line(2, loss=1.0))
    assert got == [(1, {"loss": 2.0}), (2, {"loss": 1.0})]


def test_a_resumed_run_logs_nothing_twice(tmp_path: Path) -> None:
    path, got = tmp_path / "metrics.jsonl", []
    path.write_bytes(line(1))
    with MetricsRelay(path, lambda step, _: got.append(step), every_s=0.01):
        pass
    with path.open("ab") as file:
        file.write(line(2))
    with MetricsRelay(path, lambda step, _: got.append(step), every_s=0.01):
        pass
    assert got == [1, 2]


def test_a_failing_tracker_loses_no_line_and_hides_no_error(tmp_path: Path) -> None:
    path, got, failures = tmp_path / "metrics.jsonl", [], [OSError("tracker is down")]
    path.write_bytes(line(1) + line(2))

    def log(step: int, _: Mapping[str, float]) -> None:
        if failures:
            raise failures.pop()
        got.append(step)

    with MetricsRelay(path, log, every_s=0.01) as relay:
        threading.Event().wait(0.1)
    assert got == [1, 2]
    assert "tracker is down" in str(relay.error)

"""The relay passes on every complete line once, live, whatever the tracker does."""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from assets.model.outcome import MetricsRelay, Tail, numbers


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

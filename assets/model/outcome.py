"""What a training process writes: its metrics, relayed to MLflow while it runs, and its outcome, judged when it has ended.

The rules by which a run is good enough to publish are plain numbers in, verdicts out. The relay follows a growing file
without ever disturbing the training; how MLflow is reached is the caller's (`log`), so training knows of no tracker.
"""

from __future__ import annotations

import json
import math
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

from assets.model.config import Task
from training.config import HELD_OUT

TRAIN_LOSS = "train/loss"
WARM_SLACK = 0.02  # share of the start by which a run from a parent may end worse, if it did not keep its best
FEWEST = 10  # points of a training curve that say which way it goes
Log = Callable[[int, Mapping[str, float]], None]


@dataclass(frozen=True)
class Outcome:
    """`records` are the lines of metrics.jsonl; `result` is result.json, empty if the process left none."""

    task: Task
    result: Mapping[str, Any]
    records: Sequence[Mapping[str, Any]] = field(default_factory=list)

    @property
    def stopped(self) -> str | None:
        """Why the run ended before its last step, or None."""
        if not self.result:
            return "the process left no result"
        return self.result.get("stopped")

    @property
    def finished(self) -> bool:
        return bool(self.result) and self.result.get("stopped") is None

    @property
    def violation(self) -> dict[str, list[str]]:
        """Reasons by clip why the process refused to train; empty if it did not."""
        return {clip_id: list(reasons) for clip_id, reasons in (self.result.get("reasons") or {}).items()}

    @property
    def seen(self) -> dict[str, str]:
        """What the weights ever saw: snapshot roots with the time of first use; empty if the process did not say."""
        return dict(self.result.get("exposed_since") or {})

    def curve(self, name: str) -> list[tuple[float, float]]:
        """(step, value) of a metric, by step; of a step repeated after a resume, the last value counts."""
        return sorted({float(r["step"]): float(r[name]) for r in self.records if name in r}.items())

    @property
    def start(self) -> float | None:
        return _number(self.result.get("start", {}).get(HELD_OUT[self.task]))

    @property
    def end(self) -> float | None:
        return _number(self.result.get("end", {}).get(HELD_OUT[self.task]))

    @property
    def finite(self) -> bool:
        """Every loss that was written is a finite number, and there is at least one."""
        losses = [value for name in (TRAIN_LOSS, HELD_OUT[self.task]) for _, value in self.curve(name)]
        return bool(losses) and all(map(math.isfinite, losses))

    @property
    def kept_best(self) -> int | None:
        """The step whose weights are published: 0 if no step was better than the start, None for the last step."""
        return self.result.get("best_step")

    @property
    def unchanged(self) -> bool:
        """Whether the published weights are those that the run started from: it found none that are better."""
        return self.kept_best == 0

    @property
    def good_enough(self) -> bool:
        """No worse on held-out clips at the end than at the start; what was not measured is not good enough.

        A run that keeps its best has the start among its candidates, so "no improvement" is a sound end. One that
        publishes its last step must have become better, or from a parent's weights be about as good.
        """
        if self.start is None or self.end is None:
            return False
        gain = self.start - self.end
        if self.kept_best is not None:
            return gain >= 0
        return gain > 0 or (bool(self.result.get("warm_start")) and -gain <= WARM_SLACK * abs(self.start))

    @property
    def change(self) -> str:
        """What training did to the held-out measure, with figures."""
        name = HELD_OUT[self.task]
        if self.start is None or self.end is None:
            return f"{name} was not measured"
        if self.unchanged:
            last = _number(self.result.get("last", {}).get(name))
            tried = "" if last is None else f", the last step reached {last:.4g}"
            return f"no improvement tonight: the start's weights stay ({name} {self.start:.4g}{tried})"
        at = "" if self.kept_best is None else f" at step {self.kept_best} of {self.result.get('steps', 'unknown')}"
        return f"{name} {self.start:.4g} → {self.end:.4g}{at} (lower is better)"

    @property
    def over_fitting(self) -> str:
        """What the held-out measure lost after the best step while the training loss still fell; empty if it did not."""
        name = HELD_OUT[self.task]
        last, losses, best = _number(self.result.get("last", {}).get(name)), self.curve(TRAIN_LOSS), self.kept_best
        if best is None or self.end is None or last is None or len(losses) < FEWEST:
            return ""
        lately, before = _mean_until(losses, losses[-1][0]), _mean_until(losses, max(best, losses[FEWEST // 2 - 1][0]))
        if last <= self.end or lately >= before:
            return ""
        return (
            f"after step {best} {name} went from {self.end:.4g} to {last:.4g}, while the training loss fell from "
            f"{before:.4g} to {lately:.4g}: the weights of step {best} are kept"
        )


def _mean_until(curve: Sequence[tuple[float, float]], step: float) -> float:
    """The mean of the curve's tenth that ends with a step: single steps are noisy."""
    until = [value for at, value in curve if at <= step][-max(FEWEST // 2, len(curve) // 10) :]
    return sum(until) / len(until)


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None


def read_outcome(task: Task, run_dir: Path) -> Outcome:
    """The outcome of a run folder; one that has nothing in it is an outcome that did not finish."""
    path = run_dir / "result.json"
    result = json.loads(path.read_text()) if path.is_file() else {}
    return Outcome(task, result, read_metrics(run_dir / "metrics.jsonl"))


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """Whole records of a metrics file; a last line cut by a kill is left out."""
    lines = path.read_bytes().splitlines() if path.is_file() else []
    return [record for line in lines if (record := _record(line)) is not None]


def _record(line: bytes) -> dict[str, Any] | None:
    try:
        record = json.loads(line)
    except ValueError:
        return None
    return record if isinstance(record, dict) and isinstance(record.get("step"), int) else None


class Tail:
    """Reads the complete new lines of a file that another process appends to.

    The position is kept in `<file>.relayed`, so that a resumed run logs nothing twice. A half-written last line is left for
    the next time; a file that became shorter is read from its start.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.mark = path, path.with_name(path.name + ".relayed")
        self.offset = int(self.mark.read_text()) if self.mark.is_file() else 0

    def read(self) -> list[dict[str, Any]]:
        """The records of the new lines, in order; a line that is not a JSON object is skipped."""
        if not self.path.is_file():
            return []
        if self.path.stat().st_size < self.offset:
            self.offset = 0
        with self.path.open("rb") as file:
            file.seek(self.offset)
            data = file.read()
        complete = data[: data.rfind(b"\n") + 1]
        self.offset += len(complete)
        return [record for line in complete.splitlines() if (record := _record(line)) is not None]

    def remember(self) -> None:
        self.mark.write_text(str(self.offset))


def numbers(record: Mapping[str, Any]) -> dict[str, float]:
    """The metrics of a record: every number but the step and the clock."""
    return {
        name: float(value)
        for name, value in record.items()
        if name not in ("step", "time_s") and isinstance(value, int | float) and not isinstance(value, bool)
    }


class MetricsRelay:
    """A thread that follows `path` and calls `log(step, metrics)` until the `with` block ends.

    A tracker that fails is not training's concern: `error` keeps the last failure, and the lines are tried again.
    """

    def __init__(self, path: Path, log: Log, every_s: float = 1.0) -> None:
        self.log, self.every_s = log, every_s
        self.error: Exception | None = None
        self._tail = Tail(path)
        self._waiting: list[dict[str, Any]] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._follow, name=f"relay {path.name}", daemon=True)

    def __enter__(self) -> MetricsRelay:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join(timeout=30)

    def _follow(self) -> None:
        while not self._stop.wait(self.every_s):
            self._pass_on()
        self._pass_on()  # what was written since

    def _pass_on(self) -> None:
        self._waiting += self._tail.read()
        try:
            while self._waiting:
                self.log(self._waiting[0]["step"], numbers(self._waiting[0]))
                del self._waiting[0]
            if self._tail.path.is_file():
                self._tail.remember()
        except Exception as error:  # whatever a tracking server throws
            self.error = error

"""What a training process left behind, judged: its result, its curves, and whether it learned.

Belongs here: reading `result.json` and `metrics.jsonl` of a run and the rules by which a run is good enough to
publish. Plain numbers in, verdicts out.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from assets.model.config import Task

TRAIN_LOSS = "train/loss"
WARM_SLACK = 0.02  # share of the start by which a run from a parent may end worse, where it did not keep its best
# what is measured on held-out clips, and whether more is better
HELD_OUT: Mapping[Task, tuple[str, bool]] = {
    "codec": ("heldout/psnr_db", True),
    "transformer": ("heldout/flow_loss", False),
}


@dataclass(frozen=True)
class Outcome:
    """`records` are the lines of metrics.jsonl; `result` is result.json, empty where the process left none."""

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
        """Reasons by clip why the process refused to train; empty where it did not."""
        return {clip_id: list(reasons) for clip_id, reasons in (self.result.get("reasons") or {}).items()}

    @property
    def seen(self) -> dict[str, str]:
        """What the weights ever saw, by snapshot root with the time of first use; empty where the process did not say."""
        return dict(self.result.get("exposed_since") or {})

    def curve(self, name: str) -> list[tuple[float, float]]:
        """(step, value) of a metric, in the order written; a step repeated after a resume counts once, the last."""
        return sorted({float(r["step"]): float(r[name]) for r in self.records if name in r}.items())

    @property
    def start(self) -> float | None:
        return _number(self.result.get("start", {}).get(HELD_OUT[self.task][0]))

    @property
    def end(self) -> float | None:
        return _number(self.result.get("end", {}).get(HELD_OUT[self.task][0]))

    @property
    def finite(self) -> bool:
        """Every loss that was written is a finite number, and there is at least one."""
        losses = [value for name in (TRAIN_LOSS, HELD_OUT[self.task][0]) for _, value in self.curve(name)]
        return bool(losses) and all(map(math.isfinite, losses))

    @property
    def kept_best(self) -> int | None:
        """The step whose weights are published, 0 where no step was better than the start; None: the last, whatever it is."""
        return self.result.get("best_step")

    @property
    def unchanged(self) -> bool:
        """The published weights are those that the run started from: it found none that are better."""
        return self.kept_best == 0

    @property
    def good_enough(self) -> bool:
        """No worse on held-out clips at the end than at the start; what was not measured is not good enough.

        A run that keeps its best has the start among its candidates, so "no improvement" is a sound end. One that
        publishes its last step must have become better, or from a parent's weights be about as good.
        """
        if self.start is None or self.end is None:
            return False
        gain = self.end - self.start if HELD_OUT[self.task][1] else self.start - self.end
        if self.kept_best is not None:
            return gain >= 0
        return gain > 0 or (bool(self.result.get("warm_start")) and -gain <= WARM_SLACK * abs(self.start))

    @property
    def change(self) -> str:
        """What training did to the held-out measure, with figures."""
        name, more = HELD_OUT[self.task]
        if self.start is None or self.end is None:
            return f"{name} was not measured"
        if self.unchanged:
            last = _number(self.result.get("last", {}).get(name))
            tried = "" if last is None else f", the last step reached {last:.4g}"
            return f"no improvement: the start's weights stay ({name} {self.start:.4g}{tried})"
        at = "" if self.kept_best is None else f" at step {self.kept_best} of {self.result.get('steps', 'unknown')}"
        return f"{name} {self.start:.4g} → {self.end:.4g}{at} ({'higher' if more else 'lower'} is better)"


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None


def read_outcome(task: Task, run_dir: Path) -> Outcome:
    """The outcome of a run folder; one that has nothing in it is an outcome that did not finish."""
    path = run_dir / "result.json"
    result = json.loads(path.read_text()) if path.is_file() else {}
    return Outcome(task, result, read_metrics(run_dir / "metrics.jsonl"))


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """Whole records of a metrics file; a last line cut by a kill is left out."""
    records = []
    for line in path.read_bytes().splitlines() if path.is_file() else []:
        try:
            record = json.loads(line)
        except ValueError:
            continue
        if isinstance(record, dict) and isinstance(record.get("step"), int):
            records.append(record)
    return records

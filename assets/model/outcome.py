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
WARM_SLACK = 0.02  # share of the start by which a run from a parent may end worse
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
    def improved(self) -> bool:
        """Better on held-out clips at the end than at the start; what was not measured did not improve.

        A run from a parent's weights may end where it began, or a little before: it starts from what was learned.
        """
        if self.start is None or self.end is None:
            return False
        if self.result.get("warm_start") and abs(self.end - self.start) <= WARM_SLACK * abs(self.start):
            return True
        return self.end > self.start if HELD_OUT[self.task][1] else self.end < self.start

    @property
    def change(self) -> str:
        name, more = HELD_OUT[self.task]
        if self.start is None or self.end is None:
            return f"{name} was not measured"
        return f"{name} {self.start:.4g} → {self.end:.4g} ({'higher' if more else 'lower'} is better)"


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

"""Live metrics: what a training process writes to `metrics.jsonl` goes to MLflow while it runs.

Belongs here: following a growing file, line by line, without ever disturbing the training. How MLflow is reached is
the caller's (`log`), so that this module is testable without one and training knows of no tracker.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

Log = Callable[[int, Mapping[str, float]], None]


class Tail:
    """Reads the complete new lines of a file that another process appends to.

    The place reached is kept in `<file>.relayed`, so that a resumed run logs nothing twice. A half-written last line
    is left for the next time; a file that became shorter is read from its start.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.mark = path, path.with_name(path.name + ".relayed")
        self.offset = int(self.mark.read_text()) if self.mark.is_file() else 0

    def read(self) -> list[dict[str, Any]]:
        """The records of the new lines, in order; a line that is no JSON object is skipped."""
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


def _record(line: bytes) -> dict[str, Any] | None:
    try:
        record = json.loads(line)
    except ValueError:
        return None
    return record if isinstance(record, dict) and isinstance(record.get("step"), int) else None


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
        self._pass_on()  # what was written since the last look

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

"""The logger of a run: metrics.jsonl and result.json for machines, a bar and one line now and then for people.

A Lightning logger, so that any other of Lightning's can stand beside it. Its file is read by the graph while the run goes
on, so each record is one appended line; Lightning's CSVLogger writes all of them again, in columns. Under Dagster Pipes
the same lines also go to the run's log.
"""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, nullcontext
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers.logger import Logger

from training.reporting import Bar, write_json


class RunLogger(Logger):
    """Writes a run's numbers. Silent where `rank` is not 0."""

    name = "run"
    version = ""

    def __init__(self, run_dir: Path, rank: int = 0, pipes: Any = None) -> None:
        super().__init__()
        self.run_dir, self.rank, self.pipes = run_dir, rank, pipes
        self.started = time.monotonic()
        self.bar: Bar | None = None
        run_dir.mkdir(parents=True, exist_ok=True)

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.started

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Append one line to metrics.jsonl."""
        if self.rank == 0:
            record = {"step": step, "time_s": round(self.seconds, 3), **metrics}
            with (self.run_dir / "metrics.jsonl").open("a") as file:
                file.write(json.dumps(record) + "\n")

    def log_hyperparams(self, *_: Any, **__: Any) -> None:
        """The run's configuration is a file already."""

    def say(self, text: str, values: Mapping[str, Any] | None = None) -> None:
        """One line to standard output and, under Pipes, to Dagster's log."""
        if self.rank:
            return
        if self.bar is None:
            print(text, flush=True)
        else:
            self.bar.say(text)
        if self.pipes is not None:
            self.pipes.log.info(text)
            if values:
                self.pipes.report_custom_message(dict(values))

    def begin(self, what: str, steps: int, done: int = 0) -> None:
        """Show a bar from now on; `done` of the steps are done already."""
        if self.rank == 0:
            self.bar = Bar(what, steps, done)

    def advance(self, **figures: Any) -> None:
        """One more step is done."""
        if self.bar is not None:
            self.bar(**figures)

    def close(self) -> None:
        if self.bar is not None:
            self.bar.close()
            self.bar = None

    def result(self, values: Mapping[str, Any]) -> None:
        """Write result.json, atomically. NaN is not JSON and becomes null."""
        if self.rank == 0:
            write_json(self.run_dir / "result.json", _plain(values), sort_keys=True)


@contextmanager
def run_logger(run_dir: Path, rank: int = 0) -> Iterator[RunLogger]:
    """A RunLogger that is connected to Dagster where a Pipes session has started this process."""
    with _pipes() if rank == 0 else nullcontext() as pipes, closing(RunLogger(run_dir, rank, pipes)) as logger:
        yield logger


def _pipes() -> Any:
    """The open Pipes session, or a context that holds None. Needed only where Dagster started the process."""
    if "DAGSTER_PIPES_CONTEXT" not in os.environ:
        return nullcontext()
    from dagster_pipes import open_dagster_pipes

    return open_dagster_pipes()


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and math.isnan(value) else value

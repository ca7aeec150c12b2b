"""What a run says while it goes: metrics.jsonl and result.json for machines, a bar and one line now and then for people.

Under Dagster Pipes the same lines also go to the run's log. Only the first process of a distributed run speaks.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, nullcontext
from pathlib import Path
from typing import Any


class Reporter:
    """Writes a run's numbers. Silent where `rank` is not 0."""

    def __init__(self, run_dir: Path, rank: int = 0, pipes: Any = None) -> None:
        self.run_dir, self.rank, self.pipes = run_dir, rank, pipes
        self.started = time.monotonic()
        self.bar: Bar | None = None
        run_dir.mkdir(parents=True, exist_ok=True)

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.started

    def metrics(self, step: int, values: Mapping[str, float]) -> None:
        """Append one line to metrics.jsonl."""
        if self.rank:
            return
        record = {"step": step, "time_s": round(self.seconds, 3), **values}
        with (self.run_dir / "metrics.jsonl").open("a") as file:
            file.write(json.dumps(record) + "\n")

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
        """Show a bar from now on, of which so many steps are done."""
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
        """Write result.json, atomically. NaN is not JSON: a number that is none becomes null."""
        if self.rank:
            return
        write_json(self.run_dir / "result.json", _plain(dict(values)), sort_keys=True)


class Bar:
    """A progress bar on standard error: how far, how fast, how long still. Nothing where that is no terminal."""

    def __init__(self, what: str, total: int, done: int = 0, shown: bool | None = None) -> None:
        from tqdm import tqdm

        hidden = None if shown is None else not shown  # None: tqdm looks whether it is a terminal
        self._bar = tqdm(desc=what, total=total, initial=done, disable=hidden, dynamic_ncols=True, leave=False)

    def __call__(self, more: int = 1, **figures: Any) -> None:
        """So much more is done; the figures stand beside the bar."""
        self._bar.set_postfix(figures, refresh=False)
        self._bar.update(more)

    def say(self, text: str) -> None:
        """A line on standard output that does not break the bar."""
        self._bar.write(text)

    def close(self) -> None:
        self._bar.refresh()  # as it ended: updates in quick succession are not all drawn
        self._bar.close()


@contextmanager
def bar(what: str, total: int, done: int = 0) -> Iterator[Bar]:
    """A Bar that is closed at the end."""
    one = Bar(what, total, done)
    try:
        yield one
    finally:
        one.close()


@contextmanager
def reporter(run_dir: Path, rank: int = 0) -> Iterator[Reporter]:
    """A Reporter that is connected to Dagster where a Pipes session has started this process."""
    with _pipes() if rank == 0 else nullcontext() as pipes, closing(Reporter(run_dir, rank, pipes)) as report:
        yield report


def _pipes() -> Any:
    """The open Pipes session, or a context that holds None. Needed only where Dagster started the process."""
    if "DAGSTER_PIPES_CONTEXT" not in os.environ:
        return nullcontext()
    from dagster_pipes import open_dagster_pipes

    return open_dagster_pipes()


def write_json(path: Path, value: Any, **options: Any) -> None:
    """Write a JSON file, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    partial.write_text(json.dumps(value, indent=1, **options) + "\n")
    os.replace(partial, path)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float) and value != value:
        return None
    return value

"""What every command of this package shares: a progress bar for people, and JSON files that are whole or not there.

The bar is tqdm itself, not Lightning's: Lightning's draws into log files too, knows no total of an endless loader, and
begins at 0 after a resume.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


class Bar:
    """A progress bar on standard error: done, rate and time left. Hidden where that is not a terminal."""

    def __init__(self, what: str, total: int, done: int = 0, shown: bool | None = None) -> None:
        from tqdm import tqdm

        hidden = None if shown is None else not shown  # None: tqdm looks whether it is a terminal
        self._bar = tqdm(desc=what, total=total, initial=done, disable=hidden, dynamic_ncols=True, leave=False)

    def __call__(self, more: int = 1, **figures: Any) -> None:
        """`more` is done; the figures are shown after the bar."""
        self._bar.set_postfix(figures, refresh=False)
        self._bar.update(more)

    def say(self, text: str) -> None:
        """A line on standard output that does not break the bar."""
        self._bar.write(text)

    def close(self) -> None:
        self._bar.refresh()  # as it ended: updates in quick succession are not all drawn
        self._bar.close()


@contextmanager
def bar(what: str, total: int) -> Iterator[Bar]:
    """A Bar that is closed at the end."""
    progress = Bar(what, total)
    try:
        yield progress
    finally:
        progress.close()


def write_json(path: Path, value: Any, **options: Any) -> None:
    """Write a JSON file, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    partial.write_text(json.dumps(value, indent=1, **options) + "\n")
    os.replace(partial, path)

"""What every training process has: its lifeline, the memory it keeps, a progress bar, whole files. Needs no torch.

The launcher holds a lock on a file that only it locks; the operating system frees it when the launcher is gone, killed
or not. Every process that finds the file's name in its environment waits for that lock and then ends: also the several
that `torchrun` starts, whose parent is not the launcher. Nothing is lost: checkpoints are whole or not there.

Each step frees and asks for the same large tensors. By glibc's defaults the pages go back and come again zeroed, page
fault by page fault: a twentieth of a small model's step.
"""

from __future__ import annotations

import ctypes
import fcntl
import json
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

LIFELINE = "RUSHES_LIFELINE"  # the file that the launcher locks as long as it lives
PRESENCE = "RUSHES_TRAINING_PRESENCE"  # the file that each process locks together with its like, as long as it lives

# from glibc's malloc.h, and the most that it takes for the second
TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3
KEPT, MAPPED = 2**31 - 1, 32 * 2**20

_kept: list[IO[str]] = []  # a lock lasts as long as its file is open


def hold_on() -> None:
    """Begin to watch the launcher; nothing where a person started this process."""
    if path := os.environ.get(LIFELINE):
        _kept.append(present := open(os.environ[PRESENCE], "a"))  # noqa: SIM115 - open as long as the process lives
        fcntl.flock(present, fcntl.LOCK_SH)
        threading.Thread(target=_end_with_launcher, args=(path,), name="lifeline", daemon=True).start()


def _end_with_launcher(path: str) -> None:
    try:
        with open(path) as lifeline:
            fcntl.flock(lifeline, fcntl.LOCK_SH)
    except FileNotFoundError:
        pass  # the launcher has ended already, and tidied up
    os._exit(75)  # "try again": the next launch goes on from the last checkpoint


def keep_freed_memory() -> bool:
    """Keep up to 2 GiB of freed memory, blocks of less than 32 MiB among it; whether the C library took it."""
    if sys.platform != "linux":
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):
        return False
    return bool(mallopt(TRIM_THRESHOLD, KEPT)) and bool(mallopt(MMAP_THRESHOLD, MAPPED))


class Bar:
    """A progress bar on standard error: done, rate and time left. Hidden where that is not a terminal.

    It is tqdm itself: Lightning's bar draws into log files too, knows no total of an endless loader, and begins at 0 after
    a resume.
    """

    def __init__(self, what: str, total: int | None, done: int = 0, shown: bool | None = None) -> None:
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


@contextmanager
def atomically(path: Path) -> Iterator[Path]:
    """A path to write to inside the block; `path` is replaced by it at the end, or is as it was after an error."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        yield partial
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def write_json(path: Path, value: Any, **options: Any) -> None:
    """Write a JSON file, whole or not at all."""
    with atomically(path) as partial:
        partial.write_text(json.dumps(value, indent=1, **options) + "\n")

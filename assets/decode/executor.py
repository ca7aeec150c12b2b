"""Many files through many workers, on this machine or on a Ray cluster: how many run at once, retries, and progress.

`Work.do` processes an item on whichever machine has it. Its result is in the store before the item counts as done, so a
crash loses only what was in flight.
"""

from __future__ import annotations

import os
import re
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Any

from assets.decode.process import Children
from assets.decode.ray import RayExecutor
from assets.decode.work import Executor, Host, MachineLost, Work
from assets.reasons import printable
from assets.store import Store

UNDER_WAY = 2  # items a slot: one that is worked on and one that waits, however many there are in all
TRIES = 3  # of an item whose machine is lost
LOST = "machine.lost"  # the reason of an item that is given up after them
SAY_EVERY_S = 15.0


class LocalExecutor:
    """Child processes of this process; as many as there are processors, unless `size` says otherwise."""

    def __init__(self, store: Store, size: int | None = None) -> None:
        self._store, self._size = store, size or len(os.sched_getaffinity(0))
        self._threads = ThreadPoolExecutor(self._size)
        self._children: dict[Work, Children] = {}

    def __enter__(self) -> LocalExecutor:
        return self

    def __exit__(self, *_: object) -> None:
        for children in self._children.values():
            children.close()  # also of items under way, which nobody waits for
        self._threads.shutdown(cancel_futures=True)

    def slots(self) -> int:
        return self._size

    def submit(self, work: Work, item: Any) -> Future[str | None]:
        if work not in self._children:
            self._children[work] = Children(work.command, work.limits)
        return self._threads.submit(work.do, Host(self._children[work], self._store), item)


def checked(setting: str) -> str:
    """`local`, `local:4`, `ray`, `ray:HOST:PORT` or `ray://HOST:PORT`; raises ValueError for anything else."""
    if not re.fullmatch(r"local(:[1-9][0-9]{0,3})?|ray(:(//)?[^/\s]+:[0-9]{1,5})?", setting):
        raise ValueError(f"{setting!r} is none of local, local:PROCESSES, ray, ray:HOST:PORT and ray://HOST:PORT")
    return setting


def is_local(setting: str) -> bool:
    """Whether a setting means processes of this machine."""
    return checked(setting).partition(":")[0] == "local"


def open_executor(setting: str, store: Store) -> Executor:
    """The executor that a setting names; raises ValueError where it names none."""
    _, _, more = checked(setting).partition(":")
    if is_local(setting):
        return LocalExecutor(store, int(more) if more else None)
    return RayExecutor(store.address, setting if more.startswith("//") else more)


def run(executor: Executor, work: Work, items: Iterable[Any]) -> Iterator[tuple[Any, str | None]]:
    """(item, reason or None) as they are done. Takes items only as fast as they are worked on.

    An item whose machine is lost is tried again elsewhere, and given up after `TRIES`. Raises what is no item's fault.
    """
    waiting, again = iter(items), deque[tuple[Any, int]]()
    running: dict[Future[str | None], tuple[Any, int]] = {}

    def following() -> tuple[Any, int] | None:
        if again:
            return again.popleft()
        for item in waiting:
            return item, 1
        return None

    while True:
        while len(running) < UNDER_WAY * max(1, executor.slots()) and (entry := following()):
            running[executor.submit(work, entry[0])] = entry
        if not running:
            return
        for future in wait(running, return_when=FIRST_COMPLETED).done:
            item, tries = running.pop(future)
            try:
                reason = future.result()
            except MachineLost as lost:
                if tries < TRIES:
                    again.append((item, tries + 1))
                    continue
                reason = f"{LOST}: {tries} times, at last: {printable(str(lost))}"
            yield item, reason


@dataclass(frozen=True)
class Progress:
    """How far the work is."""

    done: int
    total: int
    failed: int
    elapsed_s: float

    @property
    def rate(self) -> float:
        """Items a second."""
        return self.done / self.elapsed_s if self.elapsed_s else 0.0

    def __str__(self) -> str:
        left = f", {(self.total - self.done) / self.rate:.0f} s left" if self.rate and self.done < self.total else ""
        failed = f", {self.failed} failed" if self.failed else ""
        return f"{self.done} of {self.total} files{failed}: {self.rate:.2f} a second{left}"


class Report:
    """Counts what is done: every item to `progress`, a line to `say` at most once in `SAY_EVERY_S`, and at the end."""

    def __init__(
        self, total: int, say: Callable[[str], None], progress: Callable[[Progress], None] = lambda now: None
    ) -> None:
        self._total, self._say, self._progress = total, say, progress
        self._done = self._failed = 0
        self._began = self._said = time.monotonic()

    def __call__(self, failed: bool = False) -> None:
        self._done, self._failed = self._done + 1, self._failed + failed
        now = time.monotonic()
        progress = Progress(self._done, self._total, self._failed, now - self._began)
        self._progress(progress)
        if self._done == self._total or now - self._said >= SAY_EVERY_S:
            self._say(str(progress))
            self._said = now

"""What work on many files is, and what an executor is: the interfaces that `executor` and `ray` implement."""

from __future__ import annotations

from collections.abc import Hashable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, Protocol

from assets.decode.limits import Limits
from assets.decode.process import Children
from assets.store import Store


class Unfit(RuntimeError):
    """A machine would do other work than is asked for. Says which and what to do."""


class MachineLost(Exception):
    """The process or the node that had the item is gone. It was the item's fault only if that repeats."""


@dataclass(frozen=True)
class Host:
    """What a machine gives to work: its child processes, and its view of the store."""

    children: Children
    store: Store


class Work(Hashable, Protocol):
    """What is done with each item. It travels to other machines, so it holds plain values only, as items do."""

    @property
    def command(self) -> tuple[str, ...]:
        """How a child process is started; its limits follow."""

    @property
    def limits(self) -> Limits: ...

    def check(self) -> None:
        """Raises Unfit where this machine is not as the one that asks."""

    def do(self, host: Host, item: Any) -> str | None:
        """Do the work and keep its result in the store; the reason why not, where the item is at fault.

        Doing it twice gives the same result.
        """


class Executor(Protocol):
    """Where work is done. A context manager: at its end nothing is under way any more."""

    def __enter__(self) -> Executor: ...

    def __exit__(self, *_: object) -> None: ...

    def slots(self) -> int:
        """How many items can be worked on at once, now."""

    def submit(self, work: Work, item: Any) -> Future[str | None]:
        """Begin; the future gives what `Work.do` gives, or MachineLost."""

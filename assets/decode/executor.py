"""Many files through many workers, on this machine or on a Ray cluster: how many run at once, retries, and progress.

`Work.do` processes an item on whichever machine has it. Its result is in the store before the item counts as done, so a
crash loses only what was in flight.

A Ray task holds a bounded child process, as this machine's threads do, so a hostile file kills the child and neither
the task nor the node. Media do not pass through here: nodes fetch them from the store by key, and keep results there.
A node needs the same Rushes and the same weights (it is asked, and refused otherwise), and its own credentials for the
store. Ray pickles between our own processes only; nothing that comes from outside is ever unpickled.

Whoever reaches a Ray cluster's ports runs code on it. A cluster that is started here listens on loopback alone and
wants a token; one that is joined must be guarded by those who run it (RAY_AUTH_MODE, RAY_AUTH_TOKEN, a closed network).
"""

from __future__ import annotations

import logging
import os
import re
import secrets
import shutil
import tempfile
import time
from collections import deque
from collections.abc import Callable, Hashable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import ExitStack
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

from assets.decode.process import Children, Limits, Unavailable
from assets.reasons import printable
from assets.store import Address, Store


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


UNDER_WAY = 2  # items a slot: one that is worked on and one that waits, however many there are in all
TRIES = 3  # of an item whose machine is lost, and of a connection that is refused
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

    An item whose machine is lost is tried again elsewhere, and given up after `TRIES`. Raises what is not an item's fault.
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


# -- Ray -------------------------------------------------------------------------------------------------------------


QUIET = {"RAY_USAGE_STATS_ENABLED": "0"}
OWN = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0", "RAY_AUTH_MODE": "token"}  # the first: loopback, on any system
OBJECT_STORE_BYTES = 80 << 20  # nothing large passes through it
COUNTED_EVERY_S = 5.0


class RayExecutor:
    """The cluster at `where`, as `ray.init` names it (`HOST:PORT`, `ray://HOST:PORT`); without, one of this machine.

    A connection that this process has already is used, and left open.
    """

    def __init__(self, store: Address, where: str = "") -> None:
        self._store, self._where = store, where
        self._under_way: dict[Future[str | None], Any] = {}
        self._slots, self._counted = 0, float("-inf")
        self._closing = ExitStack()

    def __enter__(self) -> RayExecutor:
        own = {} if self._where else OWN | {"RAY_AUTH_TOKEN": secrets.token_hex(32)}
        for name, value in (QUIET | own).items():
            os.environ.setdefault(name, value)
        try:
            import ray
        except ModuleNotFoundError:
            raise Unavailable(
                "Ray is not installed here: install the extra `ray`, or set RUSHES_EXECUTOR=local"
            ) from None

        with ExitStack() as closing:
            if not ray.is_initialized():
                options = {} if self._where else this_machine(closing)
                closing.callback(ray.shutdown)
                connect(self._where or "local", log_to_driver=False, logging_level=logging.WARNING, **options)
            self._do = ray.remote(num_cpus=1, max_retries=0, scheduling_strategy="SPREAD")(do)
            self._closing = closing.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        import ray

        for ref in list(self._under_way.values()):  # settling goes on in another thread
            ray.cancel(ref, force=True)
        self._closing.close()

    def slots(self) -> int:
        """Processors of the cluster; nodes may come and go."""
        import ray

        if time.monotonic() - self._counted > COUNTED_EVERY_S:
            self._slots, self._counted = int(ray.cluster_resources().get("CPU", 0)), time.monotonic()
        return self._slots

    def submit(self, work: Work, item: Any) -> Future[str | None]:
        ref = self._do.remote(work, self._store, item)
        answer: Future[str | None] = Future()
        self._under_way[answer] = ref

        def settle(done: Future[str | None]) -> None:
            self._under_way.pop(answer, None)
            if (error := done.exception()) is None:
                answer.set_result(done.result())
            else:
                answer.set_exception(_translated(error))

        ref.future().add_done_callback(settle)
        return answer


def connect(where: str, **options: Any) -> None:
    """`ray.init`, again where it is refused: a client server may lose a race of its own as it forks (ray issue 63202)."""
    import ray

    for left in reversed(range(TRIES)):
        try:
            ray.init(where, **options)
            return
        except ConnectionError as error:
            if not left:
                raise
            logging.getLogger(__name__).warning("Ray at %s refused a connection, trying again: %s", where, error)


def this_machine(closing: ExitStack) -> dict[str, Any]:
    """How a cluster of this machine alone is started; what it writes goes when `closing` does."""
    return {
        "num_cpus": len(os.sched_getaffinity(0)),
        "object_store_memory": OBJECT_STORE_BYTES,
        "include_dashboard": False,
        "_temp_dir": closing.enter_context(
            tempfile.TemporaryDirectory(prefix="rushes-ray-", ignore_cleanup_errors=True)
        ),
    }


def _translated(error: BaseException) -> BaseException:
    """MachineLost where Ray lost whoever had the item; what the work itself raised; or else Ray's error."""
    from ray import exceptions as ray_errors

    lost = (
        ray_errors.WorkerCrashedError,
        ray_errors.NodeDiedError,
        ray_errors.LocalRayletDiedError,
        ray_errors.OutOfMemoryError,
        ray_errors.ObjectLostError,
    )
    if isinstance(error, lost):
        return MachineLost(str(error))
    if isinstance(error, ray_errors.RayTaskError) and isinstance(error.cause, Exception):
        error.cause.__cause__ = error  # with the traceback from the node
        return error.cause
    return error


def do(work: Work, store: Address, item: Any) -> str | None:
    """The Ray task: `work` on one item, on this node."""
    children = _children(work)
    with tempfile.TemporaryDirectory(dir=_folder(), prefix=f"{os.getpid()}-") as cache:  # a node keeps no media
        return work.do(Host(children, store.open(Path(cache))), item)


@lru_cache(maxsize=1)
def _children(work: Work) -> Children:
    """This process's child for `work`: a Ray process works on one item at a time, and ends with its driver."""
    work.check()
    return Children(work.command, work.limits)


@lru_cache(maxsize=1)
def _folder() -> Path:
    """Where a node's processes fetch media to; what processes left there that were killed is removed."""
    folder = Path(tempfile.gettempdir()) / f"rushes-media-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.is_symlink() or folder.stat().st_uid != os.getuid():
        raise Unavailable(f"{folder} belongs to somebody else: remove it, or set TMPDIR")
    for left in folder.iterdir():
        if not Path("/proc", left.name.split("-")[0]).exists():
            shutil.rmtree(left, ignore_errors=True)
    return folder

"""Work on a Ray cluster: the same children, in whatever process Ray gives them to, on whatever node.

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
import secrets
import shutil
import tempfile
import time
from concurrent.futures import Future
from contextlib import ExitStack
from functools import lru_cache
from pathlib import Path
from typing import Any

from assets.decode.process import Children, Unavailable
from assets.decode.work import Host, MachineLost, Work
from assets.store import Address

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
                options = {} if self._where else _this_machine(closing)
                closing.callback(ray.shutdown)
                ray.init(self._where or "local", log_to_driver=False, logging_level=logging.WARNING, **options)
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


def _this_machine(closing: ExitStack) -> dict[str, Any]:
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

"""Steps made ahead, so that reading data hides behind compute.

A thread reads and packs the next steps while this one is computed: file reads and tensor operations leave Python's lock
to the others. Every random number of a step is keyed (`flow.keyed`), so that a step is the same whenever it is made.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Generator, Iterable
from typing import Any, TypeVar

T = TypeVar("T")

AHEAD = 2  # steps that wait ready
_END = object()


def ahead(steps: Iterable[T], count: int = AHEAD) -> Generator[T, None, None]:
    """The same steps in the same order, up to `count` of them made in advance. What making one raises is raised here.

    Whoever may leave before the last step closes it: the thread ends then.
    """
    ready: queue.Queue[tuple[Any, BaseException | None]] = queue.Queue(count)
    stopped = threading.Event()

    def put(step: Any, error: BaseException | None = None) -> bool:
        """Whether anyone still wants it."""
        while not stopped.is_set():
            try:
                ready.put((step, error), timeout=0.1)
                return True
            except queue.Full:
                continue
        return False

    def work() -> None:
        try:
            for step in steps:
                if not put(step):
                    return
            put(_END)
        except BaseException as error:
            put(_END, error)

    worker = threading.Thread(target=work, name="steps ahead", daemon=True)
    worker.start()
    try:
        while True:
            step, error = ready.get()
            if error is not None:
                raise error
            if step is _END:
                return
            yield step
    finally:
        stopped.set()
        worker.join(timeout=10)

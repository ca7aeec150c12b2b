"""What a training process arranges for itself: it ends with its launcher, and it keeps freed memory. Needs no torch.

The launcher holds a lock on a file that only it locks; the operating system frees it when the launcher is gone, killed
or not. Every process that finds the file's name in its environment waits for that lock and then ends: also the several
that `torchrun` starts, whose parent is not the launcher. Nothing is lost: checkpoints are whole or not there.

Each step frees and asks for the same large tensors. By glibc's defaults the pages go back and come again zeroed, page
fault by page fault: a twentieth of a small model's step.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import sys
import threading
from typing import IO

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

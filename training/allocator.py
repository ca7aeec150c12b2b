"""Memory that a training process keeps for its next step instead of giving it back to the system.

Each step frees and asks for the same large tensors. By glibc's defaults the pages go back and come again zeroed, page
fault by page fault: a twentieth of a small model's step. Nothing happens where the C library is another one.
"""

from __future__ import annotations

import ctypes
import sys

# from glibc's malloc.h, and the most that it takes for the second
TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3
KEPT, MAPPED = 2**31 - 1, 32 * 2**20


def keep_freed_memory() -> bool:
    """Keep up to 2 GiB of freed memory, blocks of less than 32 MiB among it; whether the C library took it."""
    if sys.platform != "linux":
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):
        return False
    return bool(mallopt(TRIM_THRESHOLD, KEPT)) and bool(mallopt(MMAP_THRESHOLD, MAPPED))

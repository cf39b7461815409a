"""Memory that this process frees is kept for its next use.

A network on the CPU allocates and frees the same large tensors in every batch. By default glibc maps each of them
anew, and the system fills every page with zeros again: about a tenth of the time of a small network. The command's
own process therefore keeps what it freed. A process that only imports compbench is left as it is; there
`MALLOC_MMAP_THRESHOLD_` and `MALLOC_TRIM_THRESHOLD_` do the same, and where one of them is set it is obeyed here too.
"""

from __future__ import annotations

import ctypes
import os
import platform

__all__ = ["keep"]

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # malloc.h
_SETTINGS = ("MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_")
_LARGEST = 2**31 - 1  # an int of C


def keep() -> bool:
    """Keep freed memory from now on, where the C library is glibc; whether it does."""
    if platform.libc_ver()[0] != "glibc" or any(name in os.environ for name in _SETTINGS):
        return False
    libc = ctypes.CDLL(None)
    # the smaller one for a glibc that takes no more than half of a heap
    is_kept = any(libc.mallopt(_MMAP_THRESHOLD, size) for size in (1 << 30, 1 << 25))
    return bool(is_kept and libc.mallopt(_TRIM_THRESHOLD, _LARGEST))

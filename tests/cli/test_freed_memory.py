"""The command keeps the memory it frees; a process that only imports compbench is left as it is."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from collections.abc import Sequence

import pytest

pytestmark = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the C library is not glibc")

_ALLOCATES = """
import ctypes, resource
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.malloc.argtypes, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_size_t], [ctypes.c_void_p]
def turn():
    place = libc.malloc(64_000_000)
    ctypes.memset(place, 1, 64_000_000)
    libc.free(place)
turn()
before = faults()
for _ in range(4):
    turn()
print(faults() - before)
"""


def n_faults(*lines: str, **settings: str) -> int:
    """The page faults of a process that uses 64 MB four times, after `lines`."""
    words: Sequence[str] = [sys.executable, "-c", "\n".join(lines) + _ALLOCATES]
    return int(subprocess.run(words, check=True, capture_output=True, env={**os.environ, **settings}).stdout)


def test_memory_that_the_command_frees_is_not_mapped_anew() -> None:
    plain = n_faults("import compbench.cli.app")
    assert n_faults("from compbench.cli import _freed_memory", "assert _freed_memory.keep()") < plain / 20


def test_a_threshold_that_the_user_set_is_obeyed() -> None:
    lines = ("from compbench.cli import _freed_memory", "assert not _freed_memory.keep()")
    assert n_faults(*lines, MALLOC_MMAP_THRESHOLD_="1000000") > 1_000

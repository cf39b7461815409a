"""The library of refusing.c, compiled: file systems that refuse something, or are slow, by LD_PRELOAD and REFUSED."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

__all__ = ["compiled"]


def compiled(folder: Path) -> Path:
    """The library, in `folder`; without a compiler the test is skipped."""
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None or not sys.platform.startswith("linux"):
        pytest.skip("there is no C compiler, or no LD_PRELOAD")
    made = folder / "refusing.so"
    source = Path(__file__).parent / "refusing.c"
    subprocess.run([compiler, "-shared", "-fPIC", "-o", str(made), str(source), "-ldl"], check=True)
    return made

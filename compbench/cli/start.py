"""Where the command begins: before click is imported, which may be missing like any other package."""

from __future__ import annotations

from collections.abc import Sequence

from compbench.cli._exit_codes import FAILED
from compbench.core.errors import MissingPackage
from compbench.core.packages import named
from compbench.core.printable import say

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code: 0 done, 1 failed, 2 misuse, 130 interrupted."""
    try:
        with named():
            from compbench.cli import app
    except MissingPackage as error:
        say(f"error: {error}")
        return FAILED
    return app.main(arguments)

"""The exit codes of the command."""

from __future__ import annotations

__all__ = ["DONE", "FAILED", "INTERRUPTED", "MISUSED"]

DONE, FAILED, MISUSED, INTERRUPTED = 0, 1, 2, 130

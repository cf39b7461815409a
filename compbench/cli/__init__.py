"""The command line: parses, calls one public function and prints."""

from __future__ import annotations

from typing import TYPE_CHECKING

from compbench.core.faces import lazily

if TYPE_CHECKING:
    from compbench.cli.start import main

__all__ = [
    "main",
]

__getattr__ = lazily(
    __name__,
    {
        ".start": ["main"],
    },
)

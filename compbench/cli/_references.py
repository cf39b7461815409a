"""From what stands for runs on the command line to the runs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from compbench.store.run import Run

__all__ = ["found"]


def found(references: Sequence[str], root: Path | None) -> list[Run]:
    """The runs in the order they were named, each once."""
    from compbench.store.store import Store

    store = Store(root)
    return list({run.path: run for run in map(store.find, references)}.values())

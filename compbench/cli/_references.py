"""From what stands for runs on the command line to the runs, read as the options say."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from compbench.core.printable import say

if TYPE_CHECKING:
    from compbench.store.run import Run

__all__ = ["found", "one", "read"]


def found(
    references: Sequence[str], root: Path | None, options: Sequence[str] = (), limit: int | None = None
) -> list[Run]:
    """The runs in the order they were named, each once, read with the `options` (NAME=VALUE) and the limit."""
    from compbench.store.store import Store

    store = Store(root)
    runs = list({run.path: run for reference in references for run in store.find_all(reference)}.values())
    return read(runs, options, limit)


def one(reference: str, root: Path | None, options: Sequence[str] = (), limit: int | None = None) -> Run:
    """The one run that the reference stands for, read with the `options` and the limit."""
    from compbench.store.store import Store

    return read([Store(root).find(reference)], options, limit)[0]


def read(runs: Sequence[Run], options: Sequence[str], limit: int | None) -> list[Run]:
    """Each run as the options say; a run of scores has one reading, which is said where others have more."""
    from compbench.store.reading import Settings, settings_of

    settings = settings_of(options)
    has_errors = [run.info.has_rule for run in runs]
    if settings and not any(has_errors):
        runs[0].check_errors()
    chosen: list[Run] = []
    for run, is_of_errors in zip(runs, has_errors, strict=True):
        if settings and not is_of_errors:
            say(f"{run.key.task}/{run.key.model} stores scores: -o {' -o '.join(options)} changes nothing for it")
        chosen.append(run.read(**(settings if is_of_errors else Settings()), limit=limit))
    return chosen

"""Notes on a task that was just read: the task's own, and on links among the files of a local copy."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from compbench.core import disk
from compbench.core.examples import Task
from compbench.core.links import n_outside

__all__ = ["tell"]


def tell(task: Task, data: Path | str | None, say: Callable[[str], None]) -> None:
    """Say the notes of a task, and how many of its image files lie outside `data`; DataError where none may."""
    for note in task.notes:
        say(note)
    root = task.folder if data is None else task.folder or disk.expanded(data)
    if root is None:
        return
    files = _files(task)
    if n_found := n_outside(files, root):
        say(f"{task.name}: {n_found:,} of {len(files):,} image files are links that lead out of {str(root)!r}")


def _files(task: Task) -> list[Path]:
    shown = {id(example.images): example.images for example in task.examples}
    return [image.source for images in shown.values() for image in images if isinstance(image.source, Path)]

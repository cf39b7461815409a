"""Takes over what a run measured before its unreadable images were repaired: only they are measured then."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable, Mapping

from compbench.core import disk
from compbench.core.examples import Example, Task
from compbench.runs.resolve import ResolvedRun
from compbench.store.run import Run
from compbench.store.writer import RunWriter

__all__ = ["take_over"]

_TAKEN = ("draws.parquet", "parts.jsonl", "errors", "scores", "verdicts")


def take_over(asked: ResolvedRun, say: Callable[[str], None]) -> None:
    """Where there is no such run yet, copy one that differs only by images that could not be read."""
    if asked.store.has(asked.key) or "training" in asked.key.measurement:
        return  # a model that learns leaves out test pictures, and which those are depends on the unreadable ones too
    others = asked.store.of_model(asked.key)
    asked.store.tell_damaged(asked.key)
    for before in others:
        is_alike = dataclasses.replace(before.key, task_revision=asked.key.task_revision) == asked.key
        images = before.unreadable().images if is_alike else {}
        if images and _as_it_was(asked.task, images).revision == before.key.task_revision:
            _copy(before, asked)
            n = len(asked.open().done())
            say(
                f"{asked.task.name} · {asked.label}: {n:,} examples are taken over from {str(before.path)!r}, measured "
                f"before {', '.join(map(repr, list(images)[:3]))}{', ...' if len(images) > 3 else ''} changed"
            )
            return


def _as_it_was(task: Task, images: Mapping[str, str]) -> Task:
    """The task with what these images were known by while they were unreadable."""

    def before(example: Example) -> Example:
        if not any(image.name in images for image in example.images):
            return example
        replaced = (dataclasses.replace(image, sha256=images.get(image.name, image.sha256)) for image in example.images)
        return dataclasses.replace(example, images=tuple(replaced))

    return dataclasses.replace(task, examples=[before(example) for example in task.examples])


def _copy(before: Run, asked: ResolvedRun) -> None:
    """The parts are copied, not moved: the older run stays what it is."""
    made = asked.open()
    with RunWriter(made) as writer, writer.guarded(), RunWriter(before).guarded(), disk.writing(made.path):
        for name in _TAKEN:
            source, target = before.path / name, made.path / name
            if source.is_dir():
                shutil.copytree(source, target, ignore=shutil.ignore_patterns("_*", ".*"), dirs_exist_ok=True)
            elif source.exists():
                shutil.copyfile(source, target)
        if (made.path / "errors").exists() and (derived := made.path / "scores" / "scores.parquet").exists():
            derived.unlink()  # the scores of an error run are derived again

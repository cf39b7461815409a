"""Tasks that no package offers: a user's own folder with a manifest, given as TASK or as --data.

TASK is a path when it holds a separator or is a pathlib.Path; so is the name of a folder with a manifest, where no
task is registered by that name. The task is then called like the folder; `TASK --data FOLDER` calls it TASK.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from compbench.core import disk
from compbench.core.errors import UsageError
from compbench.core.examples import Task
from compbench.registry import plugins

__all__ = ["MANIFESTS", "OwnSet", "own_set", "slug"]

MANIFESTS = ("metadata.jsonl", "metadata.csv", "metadata.tsv", "metadata.parquet", "metadata.json")
_SUFFIXES = tuple(name.removeprefix("metadata") for name in MANIFESTS)
_SEPARATORS = tuple(each for each in ("/", os.sep, os.altsep) if each)
_UNNAMED = "own-set"  # where nothing is left of a folder's name


@dataclass(frozen=True, slots=True)
class OwnSet:
    """A folder with a manifest, or the manifest, and what the task is called."""

    name: str
    place: Path

    def read(self, *, skip_unreadable: bool) -> Task:
        """The task; whatever is wrong with the manifest is told."""
        reader: Callable[..., Task] = plugins.load(plugins.find("folder task", "manifest"))
        return reader(self.place, self.name, skip_unreadable=skip_unreadable)


def own_set(task: str | Path, data: Path | None) -> OwnSet | None:
    """The folder that is meant; None where a registered task is, or an unknown one. UsageError for a name in use."""
    offered = {entry.name: entry.package for entry in plugins.entries("task")}
    if isinstance(task, Path) or _is_path(task):
        if data is not None:
            raise UsageError(f"task {str(task)!r} is a path, which is its data; leave out --data {data}")
        return _named(disk.expanded(task), offered)
    if task in offered:
        return None
    if data is not None:
        return _called(task, disk.expanded(data)) if is_offered(disk.expanded(data)) else None
    return _named(Path(task), offered) if is_offered(Path(task)) else None


def is_offered(place: Path) -> bool:
    """Whether there is a folder with a manifest, or a manifest."""
    if os.path.isdir(place):  # not Path.is_dir, which raises for a name that is too long
        return any(os.path.exists(place / name) for name in MANIFESTS)
    return place.suffix.lower() in _SUFFIXES and os.path.exists(place)


def _is_path(task: str) -> bool:
    return task in (".", "..", "~") or any(separator in task for separator in _SEPARATORS)


def _named(place: Path, offered: dict[str, str]) -> OwnSet:
    name = slug(place)
    if name in offered:
        raise UsageError(
            f"{str(place)!r} would be called {name!r}, which is a task of {offered[name]}; give it another name: "
            f"NAME --data {place}"
        )
    return OwnSet(name, place)


def _called(task: str, place: Path) -> OwnSet:
    if not task or disk.slug(task, _UNNAMED) != task:
        raise UsageError(f"a task cannot be called {task!r}; expected letters, digits, '.', '_' and '-'")
    return OwnSet(task, place)


def slug(place: Path) -> str:
    """What the task of a folder is called; a manifest of another name than metadata adds its own.

    >>> slug(Path("sets/my set")), slug(Path("sets/my-set/metadata.csv")), slug(Path("sets/my-set/hard.csv"))
    ('my-set', 'my-set', 'my-set-hard')
    """
    whole = Path(os.path.abspath(place))
    if whole.suffix.lower() not in _SUFFIXES or os.path.isdir(whole):
        return disk.slug(disk.text_of(whole.name), _UNNAMED)
    own = "" if whole.name.lower() in MANIFESTS else f"-{whole.stem}"
    return disk.slug(disk.text_of(f"{whole.parent.name}{own}"), _UNNAMED)

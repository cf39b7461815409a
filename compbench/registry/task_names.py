"""Names to tasks: a task that a package offers, or a user's own folder with a manifest, given as TASK or as --data.

TASK is a path when it holds a separator or is a pathlib.Path; so is the name of a folder with a manifest, where no
task is registered by that name. The task is then called like the folder; `TASK --data FOLDER` calls it TASK.
"""

from __future__ import annotations

import functools
import inspect
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from compbench.core import disk
from compbench.core.errors import UsageError
from compbench.core.examples import Task
from compbench.registry import plugins
from compbench.registry.plugins import Entry

__all__ = ["MANIFESTS", "find_task", "on_lost_letters", "slug", "task", "tasks"]

MANIFESTS = ("metadata.jsonl", "metadata.csv", "metadata.tsv", "metadata.parquet", "metadata.json")
_SUFFIXES = tuple(name.removeprefix("metadata") for name in MANIFESTS)
_SEPARATORS = tuple(separator for separator in ("/", os.sep, os.altsep) if separator)
_UNNAMED = "own-set"  # where nothing is left of a folder's name


def tasks(*, is_checked: bool = False) -> list[Entry]:
    """All tasks on offer; imports none of them unless `is_checked`, which fills each entry's error."""
    offered = plugins.entries("task")
    return plugins.checked(offered) if is_checked else offered


def task(
    name: str | Path,
    *,
    data: Path | None = None,
    images: Path | None = None,
    is_offline: bool = False,
    prompts: Sequence[Path | str] = (),
    skip_unreadable: bool = False,
) -> Task:
    """The task with this name, or in this folder with a manifest, its examples read.

    UsageError for an unknown name, with the nearest ones. `images` is the folder of pictures that lie apart from the
    data; `prompts` are files with the captions of a classification task. With `skip_unreadable` pictures that are
    missing or cannot be read are left to whoever measures. A name may say a protocol: "mmvp-vlm+2x2".
    """
    found = find_task(name, data)
    if isinstance(found, OwnSet):
        if prompts:
            raise UsageError(f"task {found.name!r} has captions of its own; leave out --prompts {prompts[0]}")
        if images is not None:
            raise UsageError(f"task {found.name!r} has its pictures beside its manifest; leave out --images {images}")
        return found.read(skip_unreadable=skip_unreadable)
    protocol = str(name).removeprefix(found.name).split("+")[1:]
    value = plugins.load(found)
    if protocol and (isinstance(value, Task) or "protocol" not in inspect.signature(value).parameters):
        raise UsageError(f"task {found.name!r} has no protocols; leave out {'+' + '+'.join(protocol)!r}")
    if not isinstance(value, Task):
        made = functools.partial(value, protocol=protocol) if protocol else value
        given: dict[str, Any] = {
            "data": disk.given(data),
            "images": disk.given(images),
            "is_offline": is_offline,
            "prompts": [disk.expanded(file) for file in prompts],
            "skip_unreadable": skip_unreadable,
        }
        value = _call(found, made, given)
    if not isinstance(value, Task):
        raise UsageError(f"task {name!r} of {found.package} gave a {type(value).__name__}; expected a compbench.Task")
    return value


def find_task(name: str | Path, data: Path | None = None) -> Entry | OwnSet:
    """The source of the task, before anything is read; UsageError for an unknown name, with the nearest ones."""
    if (own := own_set(name, data)) is not None:
        return own
    try:
        return plugins.find("task", str(name))
    except UsageError as error:
        place = data or Path(name)
        if not os.path.isdir(place) or any(entry.name == name for entry in plugins.entries("task")):
            raise
        raise UsageError(f"{error} The folder {str(place)!r} has no {MANIFESTS[0]} or .csv either") from None


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
            raise UsageError(f"task {str(task)!r} is a path, which is already its data; leave out --data {data}")
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
            f"{str(place)!r} would be named {name!r}, which is already a task of {offered[name]}; give it another "
            f"name: "
            f"NAME --data {place}"
        )
    return OwnSet(name, place)


def _called(task: str, place: Path) -> OwnSet:
    if not task or disk.slug(task, _UNNAMED) != task:
        raise UsageError(f"a task cannot be called {task!r}; expected letters, digits, '.', '_' and '-'")
    return OwnSet(task, place)


def slug(place: Path) -> str:
    """The name of a folder's task; a manifest that is not called metadata adds its own name.

    >>> slug(Path("sets/my set")), slug(Path("sets/my-set/metadata.csv")), slug(Path("sets/my-set/hard.csv"))
    ('my-set', 'my-set', 'my-set-hard')
    """
    whole = Path(os.path.abspath(place))
    if whole.suffix.lower() not in _SUFFIXES or os.path.isdir(whole):
        return disk.slug(disk.text_of(whole.name), _UNNAMED)
    own = "" if whole.name.lower() in MANIFESTS else f"-{whole.stem}"
    return disk.slug(disk.text_of(f"{whole.parent.name}{own}"), _UNNAMED)


def on_lost_letters(place: Path, name: str) -> tuple[str, ...]:
    """The note on a folder's task whose name lacks letters of the folder's; empty where it was named by hand.

    >>> on_lost_letters(Path("sets/möbel"), "m-bel")
    ("the task of 'möbel' is called 'm-bel': a name holds a-z, A-Z, 0-9 and .-_; NAME --data FOLDER calls it NAME",)
    >>> on_lost_letters(Path("sets/my set"), "my-set"), on_lost_letters(Path("sets/möbel"), "furniture")
    ((), ())
    """
    whole = Path(os.path.abspath(place))
    parts = (whole,) if os.path.isdir(whole) or whole.suffix.lower() not in _SUFFIXES else (whole.parent, whole)
    is_lost = any(letter.isalnum() and not letter.isascii() for part in parts for letter in part.name)
    if not is_lost or name != slug(place):
        return ()
    return (
        f"the task of {disk.text_of(parts[0].name)!r} is called {name!r}: a name holds a-z, A-Z, 0-9 and .-_; "
        "NAME --data FOLDER calls it NAME",
    )


# what a task that does not take a setting says of it
_NOT_TAKEN = {
    "data": "reads no data from disk; leave out --data",
    "images": "takes no pictures from elsewhere; leave out --images",
    "prompts": "has prompts of its own; leave out --prompts",
}


def _call(entry: Entry, value: Any, given: Mapping[str, Any]) -> object:
    """The task that a function or class makes, called with the settings that it takes."""
    if not callable(value):
        raise UsageError(
            f"task {entry.name!r} of {entry.package} is a {type(value).__name__}; "
            "expected a function (data=None, is_offline=False) that returns a compbench.Task"
        )
    parameters = inspect.signature(value).parameters
    takes_all = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values())
    for name, why in _NOT_TAKEN.items():
        if (value_of := given[name]) and not takes_all and name not in parameters:
            first = value_of[0] if isinstance(value_of, list) else value_of  # pyright: ignore[reportUnknownVariableType]
            raise UsageError(f"task {entry.name!r} {why} {first}")
    with plugins.blamed(entry, "while it read its examples"):
        made = value(**{name: setting for name, setting in given.items() if takes_all or name in parameters})
        return made() if callable(made) else made

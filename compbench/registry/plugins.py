"""The models and tasks that installed packages declare as entry points, or that a decorator registered.

Entry points: group `compbench.tasks`, `compbench.models`, `compbench.model_schemes` for `--model scheme:ADDRESS`,
`compbench.folder_tasks` for what reads a user's own folder, `compbench.model_objects` for what makes a spec of an
object in memory, and `compbench.diffusion_families` for the pipelines that `--model diffusion:ADDRESS` reads.
Listing reads package metadata only; a plugin is imported when it is asked for by name, or checked.
"""

from __future__ import annotations

import os
import sys
import traceback
from collections import defaultdict
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import lru_cache
from importlib import metadata
from typing import Any, Literal, TypeVar

from compbench.core.errors import DataError, MissingPackage, RunError, UsageError
from compbench.core.packages import named
from compbench.core.suggestions import unknown

__all__ = ["Entry", "Kind", "blamed", "checked", "each_of", "entries", "find", "load", "model", "owner", "task"]

Kind = Literal["task", "model", "scheme", "folder task", "model object", "family"]
_GROUPS: dict[Kind, str] = {
    "task": "compbench.tasks",
    "model": "compbench.models",
    "scheme": "compbench.model_schemes",
    "folder task": "compbench.folder_tasks",
    "model object": "compbench.model_objects",
    "family": "compbench.diffusion_families",
}
Registered = TypeVar("Registered")
Made = TypeVar("Made")
Folders = tuple[tuple[str, int], ...]  # of sys.path, each with the time of its last change
_OURS = ("compbench", "compbench_baselines", "compbench_analysis")


@dataclass(frozen=True, slots=True)
class Entry:
    """A name that can be asked for, and who offers it."""

    name: str
    kind: Kind
    package: str  # "compbench 0.2.0", or the module that used the decorator
    value: str  # "module:attribute"
    error: str | None = None  # why it cannot be used: a clash, or what loading it raised
    load: Callable[[], Any] = field(repr=False, compare=False, default=lambda: None)


# what decorators registered in this process; the one piece of state here
_registered: dict[tuple[Kind, str], Entry] = {}


def model(name: str) -> Callable[[Registered], Registered]:
    """Decorator: offers a frozen dataclass (a compbench.ModelSpec) as `--model NAME` in this process.

    >>> @model("my-model")
    ... class MyModel: ...
    >>> find("model", "my-model").name
    'my-model'
    """
    return lambda value: _register("model", name, value)


def task(name: str) -> Callable[[Registered], Registered]:
    """Decorator: offers a function that returns a Task under `name` in this process.

    >>> @task("my-task")
    ... def my_task(data=None, is_offline=False): ...
    >>> find("task", "my-task").name
    'my-task'
    """
    return lambda value: _register("task", name, value)


def entries(*kinds: Kind) -> list[Entry]:
    """Everything on offer, by name; nothing is imported. Names that two packages claim carry an error naming both."""
    here = _installed_here()
    found = [entry for kind in kinds for entry in _installed(kind, here)]
    found += [entry for (kind, _), entry in _registered.items() if kind in kinds]
    claims: defaultdict[tuple[Kind, str], list[Entry]] = defaultdict(list)
    for entry in found:
        claims[entry.kind, entry.name].append(entry)
    listed: list[Entry] = []
    for claimed in claims.values():
        error = _clash(claimed) if len(claimed) > 1 else None
        listed += [replace(entry, error=error) for entry in claimed]
    return sorted(listed, key=lambda entry: (entry.name, entry.package))


def find(kind: Kind, name: str) -> Entry:
    """The entry with this name; UsageError when there is none, or when two packages claim it.

    That of a task may be followed by + and a protocol, unless a task has the whole as its name.
    """
    offered = entries(kind)
    for wanted in (name, name.partition("+")[0]) if kind == "task" else (name,):
        for entry in offered:
            if entry.name == wanted:
                if entry.error:
                    raise UsageError(entry.error)
                return entry
    raise unknown(kind, name, [entry.name for entry in offered])


def load(entry: Entry) -> Any:
    """The object that the entry point names; UsageError names the package and the error when it cannot be imported.

    MissingPackage where that lies with a package that compbench itself asks for.
    """
    try:
        with named():
            return entry.load()
    except (KeyboardInterrupt, MissingPackage):
        raise
    except BaseException as error:  # SystemExit and GeneratorExit are not Exceptions
        raise UsageError(_broken(entry, error)) from error


def checked(offered: Iterable[Entry]) -> list[Entry]:
    """The same entries, each loaded; what fails carries its error."""
    return [entry if entry.error else replace(entry, error=_failure(entry)) for entry in offered]


@contextmanager
def blamed(value: object, doing: str) -> Generator[None]:
    """Report what a plugin's code raises as the plugin's, with its package, version and line; RunError.

    `value` is what the plugin gave: an Entry, a spec, a scorer. Errors that are meant for the user pass as they are,
    and so does whatever code of this package raises; that would be a fault of ours, and its traceback is wanted.
    """
    try:
        with named():
            yield
    except (UsageError, DataError, MissingPackage, RunError, KeyboardInterrupt):
        raise
    except BaseException as error:  # SystemExit and GeneratorExit are not Exceptions
        if _is_ours(value) and not isinstance(error, SystemExit):
            raise
        raise RunError(f"{owner(value)} {_what(error)} {doing}{_where(error)}") from error


def each_of(results: Iterator[Made], value: object, doing: str) -> Iterator[Made]:
    """The results one by one; what making one raises is blamed on `value`."""
    while True:
        with blamed(value, doing):
            try:
                result = next(results)
            except StopIteration:
                return
        yield result


def owner(value: object) -> str:
    """The origin of a plugin's object, in words: "'Greenness' of compbench-greenness 0.1"."""
    if isinstance(value, Entry):
        return f"{value.kind} {value.name!r} of {value.package}"
    kind = value if isinstance(value, type) else type(value)
    return f"{kind.__qualname__!r} of {_distribution(kind.__module__)}"


def _is_ours(value: object) -> bool:
    if isinstance(value, Entry):
        module = value.value.partition(":")[0]
    else:
        module = (value if isinstance(value, type) else type(value)).__module__
    return module.partition(".")[0] in _OURS


def _distribution(module: str) -> str:
    """The package and version that a module was installed with, or the module where no package owns it."""
    names = _distributions(_installed_here()).get(module.partition(".")[0], [])
    return f"{names[0]} {metadata.version(names[0])}" if names else f"module {module}"


def _what(error: BaseException) -> str:
    if isinstance(error, SystemExit):
        return f"called sys.exit({error.code!r})"
    return f"raised {type(error).__name__} ({error})" if str(error) else f"raised {type(error).__name__}"


def _where(error: BaseException) -> str:
    """The last line of the plugin that was reached."""
    frames = traceback.extract_tb(error.__traceback__)
    return f" ({frames[-1].filename}, line {frames[-1].lineno})" if frames else ""


def _failure(entry: Entry) -> str | None:
    try:
        load(entry)
    except (MissingPackage, UsageError) as error:
        return str(error)
    return None


def _broken(entry: Entry, error: BaseException) -> str:
    why = f"it called sys.exit({error.code!r})" if isinstance(error, SystemExit) else f"{type(error).__name__}: {error}"
    return (
        f"{entry.kind} {entry.name!r} of {entry.package} cannot be loaded from {entry.value!r} ({why}); "
        "reinstall or remove that package"
    )


def _clash(claimed: Sequence[Entry]) -> str:
    first, *_ = claimed
    owners = " and ".join(sorted(f"{entry.package} ({entry.value})" for entry in claimed))
    return f"{first.kind} {first.name!r} is claimed by {owners}; remove one of them"


def _installed_here() -> Folders:
    """Where packages are looked for, and when each place last changed: as long as nothing is installed, the same."""
    stamps = list[tuple[str, int]]()
    for folder in sys.path:
        with suppress(OSError):
            stamps.append((os.path.abspath(folder), os.stat(folder or ".").st_mtime_ns))
    return tuple(stamps)


@lru_cache(maxsize=1)
def _distributions(folders: Folders) -> Mapping[str, Sequence[str]]:
    """The packages that each top-level module was installed with; looking takes a tenth of a second and more."""
    return metadata.packages_distributions()


@lru_cache(maxsize=len(_GROUPS))
def _installed(kind: Kind, folders: Folders) -> list[Entry]:
    """The entry points of a kind, read once as long as nothing is installed: a command asks several times."""
    points = metadata.entry_points(group=_GROUPS[kind])
    packages = {id(point.dist): point.dist for point in points}  # each reads its metadata whenever it is asked
    names = {number: _package(package) for number, package in packages.items()}
    return [Entry(point.name, kind, names[id(point.dist)], point.value, None, point.load) for point in points]


def _package(package: metadata.Distribution | None) -> str:
    if package is None:
        return "an unnamed package"
    words = package.metadata
    return f"{words['Name']} {words['Version']}"


def _register(kind: Kind, name: str, value: Registered) -> Registered:
    """A name of one's own is replaced, as when a notebook cell is run again; one of somebody else is a clash."""
    module, attribute = getattr(value, "__module__", "?"), getattr(value, "__qualname__", type(value).__qualname__)
    entry = Entry(name, kind, f"module {module}", f"{module}:{attribute}", None, lambda: value)
    others = [other for other in entries(kind) if other.name == name and _module(other) != module]
    if others:
        raise UsageError(_clash([entry, *others]))
    if all(declared.name != name for declared in _installed(kind, _installed_here())):
        # a plugin may also use the decorator on what it declares
        _registered[kind, name] = entry
    return value


def _module(entry: Entry) -> str:
    return entry.value.partition(":")[0]

"""The packages that compbench declares: which are missing, and what to install. Imports the standard library alone.

`compbench/reading.txt` lists those that reading stored runs needs; all others are for measuring, for data of the hub or
for single tasks and models.
"""

from __future__ import annotations

import re
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from importlib import metadata
from importlib.util import find_spec
from typing import NamedTuple

from compbench.core.errors import DataError, MissingPackage, RunError, UsageError

__all__ = [
    "Package",
    "declared",
    "install",
    "is_for_reading",
    "missing",
    "missing_for_reading",
    "named",
    "why",
]

_REQUIREMENT = re.compile(r"\s*([\w.-]+)\s*([^;#]*?)\s*(?:;(.*))?")
_MODULES = {"open_clip_torch": "open_clip", "pillow": "PIL", "scikit_learn": "sklearn"}  # where the names differ
_NETWORKS = ("torch", "torchvision", "diffusers", "transformers", "open_clip", "timm")


class Package(NamedTuple):
    """A declared package: `name` on the index, `wanted` its range, `module` what is imported."""

    name: str
    wanted: str
    module: str

    @property
    def is_missing(self) -> bool:
        try:
            return find_spec(self.module) is None
        except (ImportError, ValueError):  # a module that is set to None, or half imported
            return True

    @property
    def is_for_networks(self) -> bool:
        return self.module in _NETWORKS


def declared() -> tuple[Package, ...]:
    """Every package that compbench asks for, extras aside."""
    return _read(metadata.requires("compbench") or ())


def missing_for_reading() -> tuple[Package, ...]:
    """The packages that reading stored runs needs and that are not installed."""
    from importlib.resources import files

    wanted = (files("compbench") / "reading.txt").read_text(encoding="utf-8").splitlines()
    return tuple(package for package in _read(wanted) if package.is_missing)


def missing() -> tuple[Package, ...]:
    """Every declared package that is not installed: with them, all of compbench works."""
    return tuple(package for package in declared() if package.is_missing)


def is_for_reading() -> bool:
    """Whether this installation is for reading runs: none of the packages for networks is there."""
    return all(package.is_missing for package in declared() if package.is_for_networks)


def install(packages: Iterable[Package]) -> str:
    """The command that installs them.

    >>> install([Package("pillow", ">=10.3", "PIL"), Package("rich", "", "rich")])
    "pip install 'pillow>=10.3' rich"
    """
    words = (f"'{package.name}{package.wanted}'" if package.wanted else package.name for package in packages)
    return " ".join(("pip install", *words))


@contextmanager
def named() -> Generator[None]:
    """Report a declared package that is missing or broken by its name, with what to install: MissingPackage.

    Other errors pass, as do imports that fail for a reason of ours or of the user's own code.
    """
    try:
        yield
    except (DataError, MissingPackage, RunError, UsageError):
        raise
    except Exception as error:  # of any kind: diffusers makes a RuntimeError of an import that fails
        if (told := why(error)) is None:
            raise
        raise MissingPackage(told) from error


def why(error: Exception) -> str | None:
    """Which declared package is behind a failed import and what to install; None where it is none of them.

    >>> why(ModuleNotFoundError("No module named 'my_plugin'", name="my_plugin")) is None
    True
    """
    packages = {package.module: package for package in declared()}
    failed = [cause for cause in _causes(error) if isinstance(cause, ImportError)]
    for cause in reversed(failed):  # the first to fail is the last of them
        package = packages.get(_top(cause.name))
        if package is not None and package.is_missing:
            return _missing(package)
    if not isinstance(error, ImportError):
        return None
    behind = (packages[module] for module in [_top(error.name), *_modules_of(error)] if module in packages)
    package = next(behind, None)
    if package is None:
        return None
    # pandas, transformers and diffusers name what they lack in words of their own
    words = set(re.findall(r"\w+", str(error).lower()))
    lacking = (other for other in missing() if {other.name, other.module.lower()} & words)
    return next(map(_missing, lacking), None) or _broken(package, error)


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The error, what it was raised from or while handling, and so on."""
    cause: BaseException | None = error
    while cause is not None:
        yield cause
        cause = cause.__cause__ or (None if cause.__suppress_context__ else cause.__context__)


def _missing(package: Package) -> str:
    """A one-line message: the package, and what to install for the job that needs it."""
    reading = missing_for_reading()
    if package.module in {other.module for other in reading}:
        return f"{package.name} is not installed: {install(reading)}"
    if not package.is_for_networks:
        return f"{package.name} is not installed: {install([package])}"
    only = "; this installation only reads runs, and to measure it needs" if is_for_reading() else ""
    return f"{package.name} is not installed{only}: {install(missing())}"


def _broken(package: Package, error: ImportError) -> str:
    first = (str(error).strip().splitlines() or [type(error).__name__])[0]
    try:
        version = metadata.version(package.name)
    except metadata.PackageNotFoundError:
        version = "of an unknown version"
    cure = install([package])  # which also installs what an installed package lacks
    if not isinstance(error, ModuleNotFoundError):
        cure = cure.replace("install", "install --force-reinstall --no-deps", 1)
    return f"{package.name} {version} cannot be imported ({first}); expected {package.wanted or 'any version'}: {cure}"


def _modules_of(error: ImportError) -> list[str]:
    """The top-level package of each frame that the error went through, the innermost first."""
    import traceback

    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    return [_top(str(frame.f_globals.get("__name__", ""))) for frame in reversed(frames)]


def _top(module: str | None) -> str:
    return (module or "").partition(".")[0]


def _read(lines: Iterable[str]) -> tuple[Package, ...]:
    """The packages of lines such as `numpy>=1.26`; comments and what belongs to an extra are left out."""
    found = [match.groups() for match in map(_REQUIREMENT.fullmatch, lines) if match]
    return tuple(
        Package(name, wanted.replace(" ", ""), _MODULES.get(name.lower().replace("-", "_"), name.replace("-", "_")))
        for name, wanted, marker in found
        if "extra" not in (marker or "")
    )

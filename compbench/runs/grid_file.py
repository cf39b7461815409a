"""A grid of tasks and models in a TOML file, under the names that `compbench run` has for them on the command line.

tasks = ["shapes", "winoground"]
models = ["tiny-sd", "tiny-clip"]
limit = 24

[options]
draws = 8                       # of every model that has it
tiny-sd = { draws = 100 }
"""

from __future__ import annotations

import tomllib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from compbench.core.errors import UsageError
from compbench.core.suggestions import did_you_mean

__all__ = ["GridFile", "read"]

_LISTS = ("tasks", "models")


@dataclass(frozen=True, slots=True)
class GridFile:
    """The request in a grid file; the command line overrides it."""

    tasks: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    options: tuple[str, ...] = ()  # "option=value" and "model.option=value"
    settings: Mapping[str, Any] = field(default_factory=dict[str, Any])  # the other keys


def read(path: Path, known: Collection[str], switches: Collection[str], lists: Collection[str] = ()) -> GridFile:
    """The grid in `path`; `known` are the names of all other keys, `switches` those that are true or false.

    `lists` are those that may hold several values.
    """
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        raise UsageError(f"cannot read grid {str(path)!r} ({error}); expected a TOML file") from error
    keys = {key.replace("_", "-"): value for key, value in content.items()}
    for key, value in keys.items():
        if key not in {*_LISTS, "options", *known}:
            hint = did_you_mean(key, {*_LISTS, "options", *known})
            raise UsageError(f"grid {str(path)!r} has an unknown key {key!r}; {hint}")
        keys[key] = _checked(path, key, value, is_switch=key in switches, is_list=key in {*_LISTS, *lists})
    tasks, models, options = (tuple(keys.pop(name, ())) for name in ("tasks", "models", "options"))
    return GridFile(tasks, models, options, keys)


def _checked(path: Path, key: str, value: object, *, is_switch: bool, is_list: bool) -> object:
    if key == "options":
        return _options(path, value)
    if is_list:
        values = [value] if isinstance(value, str) else value
        if isinstance(values, list) and all(isinstance(value, str) for value in values):
            return values
        raise _wrong(path, key, value, "a list of names")
    if is_switch != isinstance(value, bool) or not isinstance(value, bool | int | float | str):
        raise _wrong(path, key, value, "true or false" if is_switch else "one value, as on the command line")
    return value


def _options(path: Path, value: object) -> list[str]:
    """The table as the texts that follow -o; a table in it holds the options of one model."""
    if not isinstance(value, dict):
        raise _wrong(path, "options", value, "a table such as { draws = 8 }")
    texts: list[str] = []
    for name, given in value.items():
        inner = given if isinstance(given, dict) else {"": given}
        for option, option_value in inner.items():
            full = f"{name}.{option}" if option else str(name)
            if not isinstance(option_value, bool | int | float | str):
                raise _wrong(path, f"options.{full}", option_value, "a text, a number, true or false")
            texts.append(f"{full}={str(option_value).lower() if isinstance(option_value, bool) else option_value}")
    return texts


def _wrong(path: Path, key: str, value: object, expected: str) -> UsageError:
    return UsageError(f"{key} of grid {str(path)!r} cannot be {value!r}; expected {expected}")

"""Options of a model: the fields of its frozen dataclass, set from text by name and type.

A field with metadata {"option": False} is no option; metadata {"help": "..."} says what one does.
"""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, cast, get_args, get_origin, get_type_hints

from compbench.core.errors import UsageError
from compbench.core.suggestions import did_you_mean

__all__ = ["Option", "of_today", "options", "retired", "with_options"]

Spec = TypeVar("Spec")
_BOOLS = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}


@dataclass(frozen=True, slots=True)
class Option:
    """One option of a model: its type as a reader would say it, its default, and what it does."""

    name: str
    type: str
    default: object
    help: str


def options(spec: object) -> dict[str, Option]:
    """The options of a model, by name; defaults are the values `spec` has."""
    hints = get_type_hints(type(spec))
    return {
        field.name: Option(
            field.name,
            _describe(hints[field.name]),
            getattr(spec, field.name),
            str(field.metadata.get("help", "")),
        )
        for field in dataclasses.fields(cast(Any, spec))
        if field.init and field.metadata.get("option", True)
    }


def with_options(spec: Spec, given: Mapping[str, object], *, model: str) -> Spec:
    """`spec` with options replaced; text is converted by the field's type. UsageError names `model` and the option."""
    known, hints = options(spec), get_type_hints(type(spec))
    values: dict[str, Any] = {}
    for name, value in given.items():
        field = name.replace("-", "_")
        if field not in known:
            raise _unknown_option(model, name, value, known)
        try:
            values[field] = _convert(value, hints[field])
        except ValueError:
            raise UsageError(
                f"option {field!r} of model {model!r} cannot be {value!r}; expected {known[field].type}"
            ) from None
    return dataclasses.replace(cast(Any, spec), **values) if values else spec


def retired(name: str, value: object, known: Iterable[str]) -> str:
    """How an option of former versions is spelled now; empty where it is none of them.

    >>> retired("rule", "l1", ["draws", "loss"])
    'rule is now loss: -o loss=l1'
    """
    now = _name_today(name, value)
    return f"{name} is now {now}: -o {now}={value}" if now in known else ""


def of_today(stored: Mapping[str, object], known: Iterable[str]) -> dict[str, object]:
    """The options that a run of a former version holds, under the names that they have now."""
    known = set(known)
    return {
        name if name in known or _name_today(name, value) not in known else _name_today(name, value): value
        for name, value in stored.items()
    }


def _name_today(name: str, value: object) -> str:
    if name == "rule":  # it chose among targets, and for a transformer among losses
        return "target" if value in _TARGETS else "loss"
    return _RETIRED.get(name, "")


_TARGETS = ("auto", "native", "eps", "v", "x0", "flow")
_RETIRED = {"n_draws": "draws", "limit": "max_difference"}


def _unknown_option(model: str, name: str, value: object, known: Iterable[str]) -> UsageError:
    known = list(known)
    if now := retired(name.replace("-", "_"), value, known):
        return UsageError(f"model {model!r}: {now}")
    if not known:
        return UsageError(f"model {model!r} has no option {name!r}: it has none at all")
    return UsageError(f"model {model!r} has no option {name!r}; {did_you_mean(name, known)}")


def _convert(value: object, hint: Any) -> object:
    """`value`, from text where it is text, as the type `hint`; ValueError when it does not fit."""
    if get_origin(hint) in (Union, types.UnionType):
        return _convert_union(value, get_args(hint))
    if get_origin(hint) is Literal:
        return _convert_literal(value, get_args(hint))
    if hint in _CONVERTERS:
        return _CONVERTERS[hint](value)
    return value  # a richer type than text can say: the model's own affair


def _convert_union(value: object, hints: tuple[Any, ...]) -> object:
    """The first member of the union that fits; "none" and "" mean None where None is one."""
    if type(None) in hints and (value is None or (isinstance(value, str) and value.lower() in ("", "none"))):
        return None
    for hint in hints:
        if hint is not type(None):
            try:
                return _convert(value, hint)
            except ValueError:
                continue
    raise ValueError(value)


def _convert_literal(value: object, choices: tuple[object, ...]) -> object:
    for choice in choices:
        if value == choice or (isinstance(value, str) and value == str(choice)):
            return choice
    raise ValueError(value)


def _as_bool(value: object) -> bool:
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.lower() in _BOOLS:
        return _BOOLS[value.lower()]
    raise ValueError(value)


def _as_int(value: object) -> int:
    if isinstance(value, str):
        return int(value.replace("_", ""))
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        raise ValueError(value)
    return int(value)  # pyright: ignore[reportArgumentType]


def _as_float(value: object) -> float:
    if isinstance(value, bool) or not (isinstance(value, str) or hasattr(value, "__float__")):
        raise ValueError(value)
    return float(value)  # pyright: ignore[reportArgumentType]


def _as_text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError(value)
    return value


def _as_path(value: object) -> Path:
    if not isinstance(value, str | Path) or value == "":
        raise ValueError(value)
    return Path(value)


_CONVERTERS: dict[Any, Callable[[object], object]] = {
    bool: _as_bool,
    int: _as_int,
    float: _as_float,
    str: _as_text,
    Path: _as_path,
}
_WORDS = {bool: "true or false", int: "a whole number", float: "a number", str: "text", Path: "a path"}


def _describe(hint: Any) -> str:
    """A type in a reader's words.

    >>> _describe(int | None), _describe(Literal["auto", "float32"])
    ('a whole number or none', 'auto or float32')
    """
    if get_origin(hint) in (Union, types.UnionType):
        return " or ".join("none" if member is type(None) else _describe(member) for member in get_args(hint))
    if get_origin(hint) is Literal:
        return " or ".join(str(choice) for choice in get_args(hint))
    return _WORDS.get(hint, getattr(hint, "__name__", str(hint)))

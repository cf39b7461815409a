"""Names to models: what `--model MODEL -o option=value` means. Torch-free and light.

The options of a model are the fields of its frozen dataclass, set from text by name and type. A field with metadata
{"option": False} is not an option; metadata {"help": "..."} says what one does, and {"taken": "protocols"} which
attribute of a spec has the values that it takes.
"""

from __future__ import annotations

import dataclasses
import re
import types
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeVar, Union, cast, get_args, get_origin, get_type_hints

from compbench.core.errors import UsageError
from compbench.core.models import ModelSpec
from compbench.core.printable import printable
from compbench.core.suggestions import did_you_mean
from compbench.registry import plugins
from compbench.registry.objects import SPEC, fault, spec_of
from compbench.registry.plugins import Entry

__all__ = [
    "NamedSpec",
    "Option",
    "checked_label",
    "model",
    "models",
    "of_today",
    "options",
    "parse_options",
    "retired",
    "with_options",
]

Spec = TypeVar("Spec")
_BOOLS = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}


class NamedSpec(NamedTuple):
    """A spec and the name that it was asked for under: looked up once, however many tasks it is run on."""

    label: str
    spec: ModelSpec


def models(*, is_checked: bool = False) -> list[Entry]:
    """All models on offer, and the schemes of addresses as `scheme:ADDRESS`; see `tasks`."""
    offered = plugins.entries("model", "scheme")
    named = [
        dataclasses.replace(entry, name=f"{entry.name}:ADDRESS") if entry.kind == "scheme" else entry
        for entry in offered
    ]
    return plugins.checked(named) if is_checked else named


def model(asked: Any, options: Mapping[str, object] | None = None) -> NamedSpec:
    """The model's label and its spec with the options applied.

    A name, a `scheme:ADDRESS`, a spec itself, or an object of which a spec can be made: a function, a pipeline. Options
    are text, as from a command line, or values.
    """
    if isinstance(asked, str):
        spec = _named(asked)
        asked = NamedSpec(_older_spelling(asked, spec), spec)
    elif not isinstance(asked, NamedSpec):
        spec = spec_of(asked)
        asked = NamedSpec(checked_label(spec.name or type(spec).__name__), spec)
    return NamedSpec(asked.label, with_options(asked.spec, options, model=asked.label)) if options else asked


def parse_options(
    given: Iterable[str], models: Sequence[NamedSpec], say: Callable[[str], None] = lambda message: None
) -> dict[str, dict[str, str]]:
    """`option=value` and `model.option=value` sorted by model; `say` hears which models an unscoped one went to.

    An option without a model must fit at least one of `models`; one with a model must fit it.
    """
    known = {model.label: options(model.spec) for model in models}
    sorted_options: dict[str, dict[str, str]] = {name: {} for name in known}
    scoped: list[tuple[str, str, str]] = []
    for scope, name, value in _of_one_value(_split(text, list(known)) for text in given):
        if scope is not None:
            scoped.append((scope, name, value))
            continue
        takers = [label for label in known if name in known[label]]
        if not takers:
            raise _fits_none(name, value, known)
        for taker in takers:
            sorted_options[taker][name] = value
        if len(models) > 1:
            say(f"-o {name}={value} goes to {', '.join(takers)}")
    for scope, name, value in scoped:  # the scoped ones last: they are meant more exactly
        sorted_options[scope][name] = value
    for named in models:
        model(named, sorted_options[named.label])  # a wrong name or value is told here
    return sorted_options


def _named(name: str) -> ModelSpec:
    scheme, colon, address = name.partition(":")
    if not colon:
        return _spec(_find_model(name))
    entry = plugins.find("scheme", scheme)
    if not address:
        raise UsageError(f"model {name!r} lacks its address; expected {scheme}:ADDRESS")
    make = plugins.load(entry)
    with plugins.blamed(entry, "when given its address"):
        made = make(address)
    return _checked_spec(entry, made)


def _find_model(name: str) -> Entry:
    try:
        return plugins.find("model", name)
    except UsageError as error:
        if any(entry.name == name for entry in plugins.entries("scheme")):
            raise UsageError(f"model {name!r} lacks its address; expected {name}:ADDRESS") from None
        if not Path(name).is_dir():
            if re.fullmatch(r"[\w.-]+/[\w.-]+", name) is None:
                raise
            offered = ", ".join(f"{entry.name}:{name}" for entry in plugins.entries("scheme"))
            raise UsageError(f"no model named {name!r}; for a hub repository, say how to read it: {offered}") from None
        schemes = " or ".join(f"'{entry.name}:{name}'" for entry in plugins.entries("scheme"))
        raise UsageError(f"{error} For the folder of that name say {schemes}") from None


def _spec(entry: Entry) -> ModelSpec:
    value = plugins.load(entry)
    with plugins.blamed(entry, "when made with its defaults"):
        try:
            made = value() if isinstance(value, type) else value
        except TypeError as error:
            raise UsageError(
                f"model {entry.name!r} of {entry.package} cannot be made without options ({error}); "
                "expected a frozen dataclass in which every field has a default"
            ) from error
    return _checked_spec(entry, made)


def _checked_spec(entry: Entry, spec: object) -> ModelSpec:
    if what := fault(spec):
        raise UsageError(f"model {entry.name!r} of {entry.package} ({type(spec).__name__}) {what}; {SPEC}")
    return cast(ModelSpec, spec)


def checked_label(label: str) -> str:
    """The name of a model as it may stand in tables and on disk; UsageError where it is empty or cannot be shown."""
    if not label.strip():
        raise UsageError("a model's name cannot be empty; expected a name such as 'my-model'")
    if printable(label) != label:
        raise UsageError(f"a model's name cannot be {label!r}: it holds control characters; expected plain text")
    return label


def _older_spelling(asked: str, spec: ModelSpec) -> str:
    """`sd:ADDRESS` for the model of `diffusion:ADDRESS` that is read by it: a model has one label, however named."""
    _, colon, address = asked.partition(":")
    return spec.name if colon and spec.name.endswith(f":{address}") else asked


def _split(text: str, models: Sequence[str]) -> tuple[str | None, str, str]:
    """(model or None, option, value) of `[model.]option=value`; names of models may hold dots: the longest wins."""
    scope = max((name for name in models if text.startswith(f"{name}.")), key=len, default=None)
    rest = text if scope is None else text[len(scope) + 1 :]
    name, equals, value = rest.partition("=")
    if not equals or not name:
        raise UsageError(f"option {text!r} has no value; expected option=value or model.option=value")
    if "." in name:
        other = name.rpartition(".")[0]
        raise UsageError(
            f"option {text!r} is for model {other!r}, which is not in this run; {did_you_mean(other, models)}"
        )
    return scope, name.strip().replace("-", "_"), value.strip()


def _of_one_value(given: Iterable[tuple[str | None, str, str]]) -> Iterator[tuple[str | None, str, str]]:
    """The same options; UsageError for one that is given with two values."""
    seen: dict[tuple[str | None, str], str] = {}
    for scope, name, value in given:
        if seen.setdefault((scope, name), value) != value:
            raise UsageError(
                f"option {name!r} is given as {seen[scope, name]!r} and as {value!r}; expected one of them"
            )
        yield scope, name, value


def _fits_none(name: str, value: str, known: Mapping[str, Mapping[str, Option]]) -> UsageError:
    choices = {option for of_model in known.values() for option in of_model}
    if now := retired(name, value, choices):
        return UsageError(now)
    if not choices:
        return UsageError(f"no option {name!r}: the models of this run ({', '.join(known)}) have none")
    return UsageError(f"no option {name!r} of {', '.join(known)}; {did_you_mean(name, choices)}")


@dataclass(frozen=True, slots=True)
class Option:
    """An option of a model: its type in plain words, its default, and what it does."""

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
            _describe(_taken(spec, field) or hints[field.name]),
            getattr(spec, field.name),
            str(field.metadata.get("help", "")),
        )
        for field in dataclasses.fields(cast(Any, spec))
        if field.init and field.metadata.get("option", True)
    }


def _taken(spec: object, field: dataclasses.Field[Any]) -> Any:
    """The type of the values that this spec takes of an option whose class has more; None where it takes all."""
    name = field.metadata.get("taken")
    return None if name is None else Literal[getattr(spec, name)]


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
    """The present spelling of an option from an earlier version; empty for any other.

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

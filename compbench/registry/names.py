"""Names to tasks and models: what `compbench run TASK --model MODEL -o option=value` means. Torch-free and light."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, cast

from compbench.core import disk
from compbench.core.errors import UsageError
from compbench.core.examples import Task
from compbench.core.models import ModelSpec
from compbench.core.printable import printable
from compbench.core.suggestions import did_you_mean, unknown
from compbench.registry import plugins
from compbench.registry.objects import SPEC, fault, spec_of
from compbench.registry.options import Option, options, retired, with_options
from compbench.registry.own_sets import MANIFESTS, OwnSet, own_set
from compbench.registry.plugins import Entry

__all__ = [
    "Entry",
    "NamedSpec",
    "Option",
    "checked_label",
    "did_you_mean",
    "find_task",
    "model",
    "models",
    "options",
    "parse_options",
    "task",
    "tasks",
    "unknown",
]


class NamedSpec(NamedTuple):
    """A spec and the name that it was asked for under: looked up once, however many tasks it is run on."""

    label: str
    spec: ModelSpec


def tasks(*, is_checked: bool = False) -> list[Entry]:
    """All tasks on offer; imports none of them unless `is_checked`, which fills each entry's error."""
    return _listed(plugins.entries("task"), is_checked)


def models(*, is_checked: bool = False) -> list[Entry]:
    """All models on offer, and the schemes of addresses as `scheme:ADDRESS`; see `tasks`."""
    offered = plugins.entries("model", "scheme")
    named = [
        dataclasses.replace(entry, name=f"{entry.name}:ADDRESS") if entry.kind == "scheme" else entry
        for entry in offered
    ]
    return _listed(named, is_checked)


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
    """Who offers the task, nothing read yet; UsageError for an unknown name, with the nearest ones."""
    if (own := own_set(name, data)) is not None:
        return own
    try:
        return plugins.find("task", str(name))
    except UsageError as error:
        place = data or Path(name)
        if not os.path.isdir(place) or any(entry.name == name for entry in plugins.entries("task")):
            raise
        raise UsageError(f"{error} The folder {str(place)!r} has no {MANIFESTS[0]} or .csv either") from None


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
    for text in given:
        scope, name, value = _split(text, list(known))
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


def _listed(offered: list[Entry], is_checked: bool) -> list[Entry]:
    return plugins.checked(offered) if is_checked else offered


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
            raise UsageError(
                f"no model named {name!r}; for a repository of the hub say how it is read: {offered}"
            ) from None
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


def _fits_none(name: str, value: str, known: Mapping[str, Mapping[str, Option]]) -> UsageError:
    choices = {option for of_model in known.values() for option in of_model}
    if now := retired(name, value, choices):
        return UsageError(now)
    if not choices:
        return UsageError(f"no option {name!r}: the models of this run ({', '.join(known)}) have none")
    return UsageError(f"no option {name!r} of {', '.join(known)}; {did_you_mean(name, choices)}")

"""An object in memory to a spec: a spec itself, a pipeline, a function. Who makes one is told by the object's class.

Group `compbench.model_objects`: an entry point named like the top-level package of a class is called with the object,
and gives a spec or a UsageError that says what to do; that named `function` gets whatever else can be called. Nothing
is imported to find out.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Protocol, cast, runtime_checkable

from compbench.core.errors import UsageError
from compbench.core.models import ModelSpec
from compbench.registry import plugins
from compbench.registry.plugins import Entry

__all__ = ["SPEC", "fault", "spec_of"]

# methods of former versions, which a `resolve` has taken the place of
_FORMER = {"for_task", "in_float32", "in_measurement", "label_space", "on", "preparation", "why_anew", "with_files"}
SPEC = "expected a frozen dataclass that inherits from compbench.ModelSpec"
_EXPECTED = (
    "expected a model's name, a compbench.ModelSpec, a function (images, captions) -> scores, or what "
    "compbench.from_open_clip, from_transformers or from_pipeline give"
)


@runtime_checkable
class _Half(Protocol):
    """An object meant as a spec."""

    def identity(self) -> object: ...
    def build(self, source: Any, runtime: Any) -> object: ...


def spec_of(given: object) -> ModelSpec:
    """The spec that an object is, or that can be made of it; UsageError where there is none."""
    if isinstance(given, type):
        raise UsageError(f"model cannot be the class {given.__name__!r}; expected one of its objects, or a name")
    if not (what := fault(given)):
        return cast(ModelSpec, given)
    if isinstance(given, ModelSpec | _Half):
        raise UsageError(f"model {type(given).__name__!r} {what}; {SPEC}")
    entry = _taker(given)
    if entry is None:
        raise UsageError(f"model cannot be {_shown(given)}; {_EXPECTED}")
    make = plugins.load(entry)
    with plugins.blamed(entry, "when given the object"):
        made = make(given)
    if what := fault(made):
        raise UsageError(f"{plugins.owner(entry)} gave a {type(made).__name__}, which {what}; expected a spec")
    return cast(ModelSpec, made)


def fault(spec: object) -> str:
    """The reason why an object is not a spec; empty for a spec."""
    if not isinstance(spec, ModelSpec):
        return "does not inherit from compbench.ModelSpec"
    if not dataclasses.is_dataclass(spec):
        return "is not a dataclass"
    kind = type(spec)
    if kind.resolve is ModelSpec.resolve and (former := sorted(_FORMER.intersection(dir(kind)))):
        return f"has {former[0]}, which is no longer used: its resolve(task) has to return that"
    return ""


def _taker(given: object) -> Entry | None:
    """Who makes a spec of it: by its class or the nearest of those it inherits from, else as a function."""
    offered = {entry.name: entry for entry in plugins.entries("model object")}
    packages = [kind.__module__.partition(".")[0] for kind in type(given).__mro__]
    found = next((offered[package] for package in packages if package in offered), None)
    if found is None and callable(given):
        found = offered.get("function")
    if found is not None and found.error:
        raise UsageError(found.error)
    return found


def _shown(given: object) -> str:
    text = repr(given)
    return text if len(text) <= 40 else f"a {type(given).__name__}"

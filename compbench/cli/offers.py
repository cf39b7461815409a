"""Listings of the tasks and models on offer, and of one model's options.

Nothing is imported for a list: what it says stands in tables of the packages (registry/facts.py).
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from compbench.core.printable import printable, screen_width, width, wrapped
from compbench_analysis.text.render import Grid, records, render

if TYPE_CHECKING:
    from compbench.core.examples import Task
    from compbench.core.models import ModelSpec
    from compbench.registry.facts import TaskFacts
    from compbench.registry.names import Option
    from compbench.registry.plugins import Entry

__all__ = ["models", "option_list", "tasks"]

_ORIGINS = {"here": "included", "trained": "learned here", "none": ""}
_N_CLASSES = (0, 1000, 200)  # 0: not a classification
_MOST_TASKS = 3  # that are named where a default differs
_KINDS = {
    "matching": "Matching: which caption belongs to which picture",
    "classification": "Classification: which class a picture is of",
    "retrieval": "Retrieval: the right one among thousands",
    "": "Of other packages",
}
_WHERE = (
    "at hand: already on this machine; the first run fetches the rest, or give your own copy with --data or --images."
)


def tasks(entries: Sequence[Entry], style: str) -> str:
    """The tasks by kind, a sentence below each, the splits of a suite below it."""
    from compbench.registry import facts

    known = facts.of_tasks(entries)
    if style not in ("table", "latex"):
        return _all_of_it(
            "task", entries, {name: {**asdict(task), "at_hand": task.at_hand} for name, task in known.items()}, style
        )
    blocks = [
        block
        for kind, title in _KINDS.items()
        if (block := _of_kind(title, [task for task in known.values() if task.kind == kind], style))
    ]
    return "\n\n".join([*blocks, *_below(entries, [_WHERE, "compbench show-task NAME shows its examples."])])


def _of_kind(title: str, chosen: Sequence[TaskFacts], style: str) -> str:
    wholes = [task for task in chosen if not task.part_of]
    rows: list[tuple[str, ...]] = []
    below: dict[int, str] = {}
    for whole in wholes:
        rows.append(_task_row(whole.name, whole))
        below[len(rows) - 1] = whole.about
        rows += [_task_row(f"  {part.name}", part) for part in chosen if part.part_of == whole.name]
    if not rows:
        return ""
    grid = Grid(("task", "examples", "licence", "fetches", "at hand"), tuple(rows), align="lrlrl")
    lines = render([grid], style).splitlines()
    if style == "latex":
        return "\n".join(lines)
    shown = [title, *lines[:2]]
    for number, line in enumerate(lines[2:]):
        shown.append(line)
        shown += _indented(below.get(number, ""), 6)
    return "\n".join(shown)


def _task_row(name: str, each: TaskFacts) -> tuple[str, ...]:
    licence = ", ".join(filter(None, [each.licence, "gated" if each.gated == "yes" else ""]))
    examples = f"{int(each.examples):,}" if each.examples else ""
    return name, examples, licence, each.download, each.at_hand.removeprefix("with ")


def models(entries: Sequence[Entry], style: str) -> str:
    """The models by family, then the schemes by which any other one is named."""
    from compbench.registry import facts

    named = [entry for entry in entries if entry.kind == "model"]
    known = facts.of_models(named)
    if style not in ("table", "latex"):
        rows = {name: {**asdict(model), "at_hand": model.at_hand} for name, model in known.items()}
        return _all_of_it("model", entries, rows, style)
    header = ("model", "parameters", "licence", "weights", "GPU", "at hand")
    families = dict.fromkeys(model.family for model in sorted(known.values(), key=lambda model: not model.family))
    grids = [
        Grid(
            header,
            tuple(
                (
                    model.name,
                    model.parameters,
                    ", ".join(filter(None, [model.licence, "gated" if model.gated == "yes" else ""])),
                    _ORIGINS.get(model.origin, model.origin),
                    model.memory,
                    model.at_hand,
                )
                for model in known.values()
                if model.family == family
            ),
            title=family[:1].upper() + family[1:] or "Of other packages",
            align="lrllrl",
        )
        for family in families
    ]
    schemes = tuple((f"{entry.name}:ADDRESS", entry.package) for entry in entries if entry.kind == "scheme")
    more = [Grid(("any other", "package"), schemes)] if schemes else []
    notes = [
        "GPU: the smallest usual card for the weights in the precision that they are measured in, where that is known."
    ]
    notes += ["compbench list models NAME shows its options; --task TASK shows them for that task."]
    return "\n\n".join([render([*grids, *more], style), *_below(entries, notes)])


def option_list(model: str, task: str | None, style: str) -> str:
    """The options of one model with the defaults that they have, and for which tasks those differ."""
    from compbench import registry
    from compbench.registry.names import options

    label, spec = registry.model(model)
    first_line = (type(spec).__doc__ or "").strip().partition("\n")[0]
    plain, for_task = options(_for_task(spec, None)), _by_task(spec, task)
    rows = tuple(
        (f"-o {option.name}=", _default(option, plain[option.name], for_task), option.type, _sentence(option.help))
        for option in options(spec).values()
    )
    title = f"{label}{f' on {task}' if task else ''}: {first_line}"
    grid = Grid(
        ("option", "default", "is", "what it does"), rows, title, () if rows else ("It has no options.",), "lwww"
    )
    if style != "table" or not rows:
        return render([grid], style)
    most = max(width(name) for name, *_ in rows) + 2
    lines = wrapped(printable(title), screen_width())
    for name, default, kind, about in rows:
        first, *more = wrapped(default, screen_width() - most)
        lines += ["", f"{name:{most}}{first}".rstrip(), *(" " * most + line for line in more)]
        lines += _indented(f"{about} Expected: {kind}.", 4)
    return "\n".join(lines)


def _indented(text: str, n_columns: int) -> list[str]:
    indent = " " * n_columns
    return textwrap.wrap(printable(text), screen_width(), initial_indent=indent, subsequent_indent=indent)


def _sentence(text: str) -> str:
    """With a full stop, and a capital unless it begins with the value of an option, which keeps its spelling.

    >>> _sentence("seed for the noise")
    'Seed for the noise.'
    >>> _sentence("full: every draw")
    'full: every draw.'
    """
    if not text or text.endswith("."):
        return text
    begins_with_value = text.partition(" ")[0].endswith(":")
    return f"{text if begins_with_value else text[:1].upper() + text[1:]}."


def _by_task(spec: ModelSpec, task: str | None) -> dict[str, Mapping[str, Option]]:
    """The options as they are for the task, or for each task on which some differ."""
    from compbench.registry import plugins
    from compbench.registry.names import options

    names = [task] if task else [entry.name for entry in plugins.entries("task")]
    if task:
        plugins.find("task", task)
    return {name: options(_for_task(spec, name)) for name in names}


def _for_task(spec: ModelSpec, task: str | None) -> object:
    """The spec with all that was left open to the task filled in; nothing of the task but its name is read."""
    from compbench.core.errors import UsageError

    for n_classes in _N_CLASSES:  # the published stages are for so many
        with suppress(UsageError, LookupError):  # a model may look at examples or at training pictures: there are none
            return spec.resolve(None if task is None else _named(task, n_classes)).spec
    return spec  # which cannot score such a task


def _named(task: str, n_classes: int) -> Task:
    """A task without examples."""
    from compbench.core.examples import Classes, Task

    names = tuple(map(str, range(n_classes)))
    return Task(task, (), {}, classes=Classes(names, tuple(range(n_classes))) if n_classes else None)


def _default(option: Option, plain: Option, for_task: Mapping[str, Mapping[str, Option]]) -> str:
    """'100', or '1000 on winoground, 100 elsewhere'."""
    if len(for_task) == 1:
        return _said(next(iter(for_task.values()))[option.name].default)
    tasks_of: dict[str, list[str]] = {}
    for task, its_options in for_task.items():
        if (value := _said(its_options[option.name].default)) != _said(plain.default):
            tasks_of.setdefault(value, []).append(task)
    elsewhere = _said(plain.default)
    if not tasks_of:
        return elsewhere
    parts = [f"{value} on {_some(names)}" for value, names in tasks_of.items()]
    return "; ".join([*parts, f"{elsewhere} elsewhere"])


def _some(names: Sequence[str]) -> str:
    """Winoground, which the most ask for, first; the number of those that are not named."""
    ordered = sorted(names, key=lambda name: name != "winoground")
    if len(ordered) <= _MOST_TASKS + 1:
        return ", ".join(ordered)
    return f"{', '.join(ordered[:_MOST_TASKS])} and {len(ordered) - _MOST_TASKS} more"


def _said(value: object) -> str:
    return str(value).lower() if value is None or isinstance(value, bool) else str(value)


def _all_of_it(what: str, entries: Sequence[Entry], facts: Mapping[str, Mapping[str, Any]], style: str) -> str:
    rows = [
        {
            what: f"{entry.name}:ADDRESS" if entry.kind == "scheme" else entry.name,
            **{name: value for name, value in facts.get(entry.name, {}).items() if name != "name"},
            "package": entry.package,
            "from": entry.value,
            "error": entry.error or "",
        }
        for entry in entries
    ]
    names = list(dict.fromkeys(name for row in rows for name in row))
    if style in ("csv", "json"):
        return records([{name: row.get(name, "") for name in names} for row in rows], style)
    shown = [name for name in names if name not in ("from", "error", "repo", "part_of", "needs")]
    return render([Grid(tuple(shown), tuple(tuple(str(row.get(name, "")) for name in shown) for row in rows))], style)


def _below(entries: Iterable[Entry], notes: Sequence[str]) -> list[str]:
    wrong = [f"error: {entry.error}" for entry in entries if entry.error]
    return [render([Grid((), (), notes=(*notes, *wrong))], "table")]

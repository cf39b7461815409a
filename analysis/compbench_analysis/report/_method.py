"""The method section: what a reader needs to trust a run, or to repeat it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

from compbench.core.errors import RunError
from compbench.store.run import Run
from compbench.store.told_apart import flat, in_words
from compbench_analysis.frames.signature import scored_by, signature
from compbench_analysis.report._cells import Cell, Heading, Table, named, number
from compbench_analysis.report._sections import Section
from compbench_analysis.text.cite import to_bibtex
from compbench_analysis.text.render import count, duration
from compbench_analysis.text.show import cost

__all__ = ["RunView", "bibtex", "run_views"]


@dataclass(frozen=True, slots=True)
class RunView:
    """A run in full."""

    label: str
    colour: int
    signature: str
    facts: tuple[tuple[str, str], ...]
    parts: Table


def run_views(section: Section) -> list[RunView]:
    """A view of each run, in order."""
    return [
        RunView(label, n, signature(run, section.rule), tuple(_facts(run, section).items()), _parts(run))
        for n, (run, label) in enumerate(zip(section.runs, section.labels, strict=True))
    ]


def bibtex(section: Section) -> str:
    """The references to cite."""
    return to_bibtex(section.runs)


def _facts(run: Run, section: Section) -> dict[str, str]:
    info, spent, rule = run.info, cost(run), section.rule or run.rule
    facts = {
        "examples": f"{count(section.n_done(run))} of {count(section.n_examples)} ({run.status})",
        "task": f"{run.key.task} at revision {run.key.task_revision}",
        "model": f"{run.key.model}, weights {run.key.weights or 'none'}",
        "measured as": _in_words(run.key.measurement) or "no options",
        "options": _in_words(_without_folders(info.model.options)) or "none",
    }
    if info.has_rule:
        facts["scored by"] = scored_by(run, rule)
        facts["bank"] = (
            f"{count(_n_bank(run))} draws shared by all pairs; every example on the first {run.n_common_draws()}"
        )
    if info.has_rule or spent.is_counted:
        facts["evaluations"] = count(spent.n_evaluations)
    facts |= {
        "time spent": duration(spent.seconds) + (f" on {spent.device}" if spent.device else ""),
        "created": info.created,
        "last written": info.updated,
        "run": f"{run.key.folder.as_posix()}, format {info.format}, compbench {info.compbench}",
    }
    return facts


def _in_words(settings: Mapping[str, Any]) -> str:
    return ", ".join(in_words(name, value) for name, value in flat(settings).items())


def _without_folders(options: Mapping[str, Any]) -> dict[str, Any]:
    """The options that were given; of a path its last name alone."""
    return {
        name: PurePath(value).name if isinstance(value, str) and PurePath(value).is_absolute() else value
        for name, value in options.items()
        if value is not None
    }


def _n_bank(run: Run) -> int:
    try:
        return len(run.draws().alpha)
    except RunError:  # the notes of the section say so
        return 0


def _parts(run: Run) -> Table:
    headings = (
        Heading("part", is_number=False),
        Heading("written", is_number=False),
        Heading("examples"),
        Heading("errors"),
        Heading("seconds"),
        Heading("device", is_number=False),
        Heading("versions", is_number=False),
    )
    rows = tuple(
        (
            Cell(str(part.get("part", "")), str(part.get("part", "")), kind="code"),
            named(str(part.get("time", ""))[:19].replace("T", " ")),
            number(_number(part.get("n_examples"))),
            number(_number(part.get("n_errors"))),
            number(_number(part.get("seconds")), n_decimals=1),
            named(str(part.get("device") or "")),
            Cell(_versions(part), kind="code"),
        )
        for part in run.parts()
    )
    return Table(headings, rows)


def _versions(part: Mapping[str, Any]) -> str:
    own = {"compbench": part.get("compbench"), "git": str(part.get("git") or "")[:12], "python": part.get("python")}
    return _listed({**{name: value for name, value in own.items() if value}, **(part.get("versions") or {})})


def _listed(values: Mapping[str, Any]) -> str:
    return ", ".join(
        f"{name} {_listed(value) if isinstance(value, Mapping) else value}" for name, value in values.items()
    )


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) else None

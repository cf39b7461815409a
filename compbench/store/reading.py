"""Checks that a run's stored errors allow a way of reading; any other is refused with what is stored."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict

from compbench.core import disk
from compbench.core.errors import UsageError
from compbench.core.rules import CAPTIONS, INNER, WITHOUT, Rule
from compbench.core.suggestions import unknown
from compbench.core.weights import NAMED, UNIFORM, named
from compbench.schedules.schedule import Full

if TYPE_CHECKING:
    from compbench.store.run import Run

__all__ = ["SETTINGS", "Settings", "answerable", "settings_of"]

_LEARNED = "learned:"
_WEIGHTS = f"{UNIFORM}, {', '.join(NAMED)}, {_LEARNED}SHARE, {_LEARNED}COLUMN=TAG, or a .csv file of t,weight"


class Settings(TypedDict, total=False):
    """The ways of reading that a run's errors leave open; see `compbench.Rule`."""

    draws: int | None
    target: str | None
    loss: str | None
    unconditional: bool | None
    weight: str | None  # a name, learned:SHARE, learned:COLUMN=TAG, or the path of a .csv file
    timesteps: str | None  # FIRST:LAST:STRIDE
    normalise: str | None  # captions, or none
    guidance: float | str | None  # a scale, or none


SETTINGS = tuple(Settings.__annotations__)  # as -o of the commands that read, and as keywords of Run.read


def answerable(run: Run, given: Mapping[str, object]) -> tuple[Rule | None, frozenset[str]]:
    """The run's rule with the settings `given`, and the examples that its weights were learned from.

    UsageError, which says what is stored, where the run's errors lack what the rule reads. No rule where nothing is
    given that changes how the run is read anyway.
    """
    rule = run.rule
    asked = _asked(rule, given)
    weight = str(given.get("weight") or "")
    is_other = not _is_named(weight)
    if asked == rule and not is_other:
        return (rule if given else None), run.left_out
    _check_that_errors_are_stored(run, asked)
    if weight.startswith(_LEARNED):
        from compbench.store._learned_weights import learned

        return learned(run, asked, weight.removeprefix(_LEARNED))
    if is_other:
        name, table = _read_table(disk.expanded(weight))
        asked = replace(asked, weight=name, table=table)
    bank = run.draws()
    asked.weights(bank)  # UsageError where no draw lies in the window, or the table has no weight for one
    return asked, run.left_out


def settings_of(options: Sequence[str]) -> Settings:
    """The settings that NAME=VALUE words on a command line stand for."""
    settings: dict[str, Any] = {}
    for option in options:
        name, equals, value = option.partition("=")
        if not equals:
            raise UsageError(f"-o {option} has no value; expected NAME=VALUE, such as -o draws=16")
        if name not in SETTINGS:
            raise unknown("way of reading a run", name, SETTINGS)
        settings[name] = _READ[name](value) if name in _READ else value
        _checked(name, settings[name])
    return Settings(**settings)


def _asked(rule: Rule, given: Mapping[str, object]) -> Rule:
    """The rule with what is `given`, but for weights that are learned or in a file: it is uniform there."""
    changes: dict[str, Any] = {name: _checked(name, value) for name, value in given.items()}
    if (weight := changes.get("weight")) is not None:
        is_named = _is_named(weight)
        if is_named and weight != UNIFORM:
            changes = {"target": _published(weight), "loss": "l2"} | changes
        changes |= {"weight": weight if is_named else UNIFORM, "table": ()}
    return replace(rule, **changes)


def _is_named(weight: str) -> bool:
    """Whether it is neither learned nor in a file."""
    return not weight.startswith(_LEARNED) and not weight.lower().endswith(".csv")


def _published(weight: str) -> str:
    try:
        return named(weight).target
    except UsageError as error:
        raise UsageError(f"no weighting named {weight!r}; expected {_WEIGHTS}") from error


def _check_that_errors_are_stored(run: Run, asked: Rule) -> None:
    where = run.described
    if run.keeps_scores:
        raise UsageError(
            f"{where} keeps only scores, of {_said(run.own_rule)}, and cannot be read with {_said(asked)}; run it "
            "without --keep scores"
        )
    run.check_errors()
    if not isinstance(run.schedule, Full):
        raise UsageError(
            f"{where} stopped measuring where its own rule ({_said(run.own_rule)}) had decided, so it cannot be "
            f"read with {_said(asked)}; run it with schedule=full"
        )
    _check_losses(run, where, asked)
    if not run.done(asked.draws, unconditional=asked.unconditional):
        raise UsageError(f"{where} cannot be read with {_said(asked)}: {_stored(run)}; rerun its command with more")


def _scale(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text


# a word as the value that it stands for; itself where it stands for none, which `_checked` refuses
_READ: Mapping[str, Callable[[str], object]] = {
    "draws": lambda text: int(text) if text.isdecimal() else text,
    "unconditional": lambda text: {"true": True, "false": False}.get(text.lower(), text),
    "guidance": _scale,
}


def _checked(name: str, value: object) -> object:
    if name == "draws" and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
        raise UsageError(f"draws cannot be {value!r}; expected a whole number, at least 1")
    if name == "unconditional" and not isinstance(value, bool):
        raise UsageError(f"unconditional cannot be {value!r}; expected true or false")
    if name == "guidance":
        return _checked_scale(value)
    if name == "normalise" and value not in (CAPTIONS, "none"):
        raise UsageError(f"normalise cannot be {value!r}; expected {CAPTIONS} or none")
    if name == "normalise" and value == "none":
        return ""
    return str(value) if name in ("loss", "weight", "timesteps") else value


def _checked_scale(value: object) -> float | None:
    if value == "none":
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise UsageError(f"guidance cannot be {value!r}; expected a number, such as 3, or none")
    return float(value)


def _check_losses(run: Run, where: str, asked: Rule) -> None:
    stored = run.losses()
    lacking = [name for name in asked.losses if name not in stored]
    if not lacking:
        return
    if set(lacking) <= {INNER, WITHOUT}:
        raise UsageError(
            f"{where} holds no products of the residuals with and without a caption, which guidance reads; rerun its "
            f"command with -o guidance={asked.guidance:g} to measure them: twice the passes through the network"
        )
    raise UsageError(
        f"{where} holds no errors {lacking[0]!r}; it has {', '.join(stored)}: rerun its command with "
        f"-o loss={asked.loss} to measure them"
    )


def _read_table(path: Path) -> tuple[str, tuple[tuple[float, float], ...]]:
    """The name of a table of weights, with its digest, and its rows (t, weight), ascending in t."""
    import csv
    import hashlib
    import io

    try:
        content = path.read_bytes()
        rows = list(csv.reader(io.StringIO(content.decode("utf-8-sig"))))
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"the weights in {str(path)!r} cannot be read: {error}") from error
    if not rows or [name.strip() for name in rows[0]] != ["t", "weight"]:
        raise UsageError(f"{str(path)!r} begins with {rows[0] if rows else []!r}; expected the columns t,weight")
    table: list[tuple[float, float]] = []
    for number, row in enumerate(rows[1:], start=2):
        try:
            t, weight = map(float, row)
        except ValueError as error:
            raise UsageError(f"line {number} of {str(path)!r} is {','.join(row)!r}; expected t,weight") from error
        is_fit = math.isfinite(t) and math.isfinite(weight) and weight >= 0
        if not is_fit or (table and t <= table[-1][0]):
            raise UsageError(
                f"line {number} of {str(path)!r} is {','.join(row)!r}; expected t above that of the line before it, "
                "and a finite weight, at least 0"
            )
        table.append((t, weight))
    if not any(weight > 0 for _, weight in table):
        raise UsageError(f"{str(path)!r} holds no weight above 0")
    return f"{path.name}@{hashlib.sha256(content).hexdigest()[:8]}", tuple(table)


def _stored(run: Run) -> str:
    """The number of stored draws, in words."""
    n_draws = run.n_common_draws()
    without = "also" if run.done(1, unconditional=True) else "none"
    return f"it has {n_draws} draw{'s' * (n_draws != 1)} of each example, {without} without a caption"


def _said(rule: Rule) -> str:
    return ", ".join(f"{name}={word}" for name, word in rule.words().items())

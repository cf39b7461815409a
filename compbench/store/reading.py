"""Checks that a run's stored errors allow a way of reading; any other is refused with what is stored."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict

import numpy as np

from compbench.core import disk
from compbench.core.cells import delimiter
from compbench.core.errors import DataError, UsageError
from compbench.core.plain_text import decoded
from compbench.core.rules import CAPTIONS, INNER, NO_GUIDANCE, WITHOUT, Rule, is_alone, why_alone
from compbench.core.suggestions import unknown
from compbench.core.weights import NAMED, UNIFORM, named
from compbench.schedules.schedule import Full

if TYPE_CHECKING:
    from compbench.store.run import Run

__all__ = ["SETTINGS", "Settings", "answerable", "check_counts", "settings_of", "settled"]

_LEARNED = "learned:"
_LEAST_WEIGHT, _MOST_WEIGHT = 1e-100, 1e100  # beyond, sums of weighted errors lose digits or overflow
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
    _check_that_it_compares(run, asked)
    _check_that_errors_are_stored(run, asked)
    if weight.startswith(_LEARNED):
        from compbench.store._learned_weights import learned

        return learned(run, asked, weight.removeprefix(_LEARNED))
    if is_other:
        name, table = _read_table(disk.expanded(weight))
        asked = replace(asked, weight=name, table=table)
    _check_weights(run, asked)
    return asked, run.left_out


def settled(run: Run, rule: Rule) -> Rule:
    """A rule that is not the run's own, its number of draws filled in; UsageError where no stored errors answer it.

    That it changes nothing for a run of scores is said. One that stopped measuring where its own rule had decided is
    left to whoever reads it.
    """
    if rule != run.rule and not run.info.has_rule:
        run.say_once(f"{run.key.task}/{run.key.model} stores scores: {_said(rule)} changes nothing for it")
    if rule == run.rule or not run.losses() or not isinstance(run.schedule, Full):
        return rule
    if rule.draws is None:
        rule = replace(rule, draws=max(1, run.n_common_draws()))
    _check_that_it_compares(run, rule)
    _check_that_errors_are_stored(run, rule)
    _check_weights(run, rule)
    return rule


def check_counts(**counts: object) -> None:
    """UsageError for a size of a subset that is none."""
    for name, count in counts.items():
        if count is not None and (isinstance(count, bool) or not isinstance(count, int) or count < 1):
            raise UsageError(f"{name} cannot be {count!r}; expected a whole number, at least 1")


def settings_of(options: Sequence[str]) -> Settings:
    """The settings that NAME=VALUE words on a command line stand for."""
    settings: dict[str, Any] = {}
    for option in options:
        name, equals, value = option.partition("=")
        if not equals:
            raise UsageError(f"-o {option} has no value; expected NAME=VALUE, such as -o draws=16")
        _check_name(name)
        read = _READ[name](value) if name in _READ else value
        if settings.setdefault(name, read) != read:
            raise UsageError(f"option {name!r} is given as {settings[name]!r} and as {read!r}; expected one of them")
        _checked(name, read)
    return Settings(**settings)


def _asked(rule: Rule, given: Mapping[str, object]) -> Rule:
    """The rule with what is `given`, but for weights that are learned or in a file: it is uniform there."""
    for name in given:
        _check_name(name)
    changes: dict[str, Any] = {name: _checked(name, value) for name, value in given.items()}
    if (weight := changes.get("weight")) is not None:
        is_named = _is_named(weight)
        if is_named and weight != UNIFORM:
            changes = {"target": _published(weight), "loss": "l2"} | changes
        elif rule.weight != UNIFORM and not rule.table:  # the target came with a published weight, and goes with it
            changes = {"target": "native"} | changes
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


def _check_name(name: str) -> None:
    if name not in SETTINGS:
        raise unknown("way of reading a run", name, SETTINGS)


def _check_that_it_compares(run: Run, asked: Rule) -> None:
    """UsageError for a rule under which all captions of an image, or all images of a caption, tie."""
    if asked.guidance == 0:
        raise UsageError(NO_GUIDANCE)
    matches = run.contents.matches
    alone = [example for example in run.ids() if is_alone(matches[example].shape)] if asked.normalise else []
    if alone:
        raise UsageError(f"{run.described} cannot be read with {_said(asked)}: {why_alone(alone)}")


def _check_weights(run: Run, asked: Rule) -> None:
    """UsageError where no draw lies in the window, or none that is read has a weight, or the table lacks one."""
    bank = run.draws()
    weights = asked.weights(bank)[asked.read_draws(bank)]
    if not np.isfinite(weights).all() or not (weights > 0).any():
        what = "no weight above 0" if np.isfinite(weights).all() else f"a weight of {weights[~np.isfinite(weights)][0]}"
        raise UsageError(
            f"{run.described} cannot be read with {_said(asked)}: the {len(weights)} draws that are read have {what}"
        )


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
    import hashlib

    try:
        content = path.read_bytes()
        rows = _cells(decoded(content, str(path)))
    except (OSError, DataError, csv.Error) as error:
        raise UsageError(f"the weights in {str(path)!r} cannot be read: {error}") from error
    first = rows[0][1] if rows else []
    if [name.strip().lower() for name in first] != ["t", "weight"]:
        raise UsageError(f"{str(path)!r} begins with {first!r}; expected the columns t,weight")
    table: list[tuple[float, float]] = []
    for number, row in rows[1:]:
        try:
            t, weight = map(float, row)
        except ValueError as error:
            raise UsageError(f"line {number} of {str(path)!r} is {','.join(row)!r}; expected t,weight") from error
        is_fit = math.isfinite(t) and (weight == 0 or _LEAST_WEIGHT <= weight <= _MOST_WEIGHT)
        if not is_fit or (table and t <= table[-1][0]):
            raise UsageError(
                f"line {number} of {str(path)!r} is {','.join(row)!r}; expected t above that of the line before it, "
                f"and a weight of 0, or from {_LEAST_WEIGHT:g} to {_MOST_WEIGHT:g}"
            )
        table.append((t, weight))
    if not any(weight > 0 for _, weight in table):
        raise UsageError(f"{str(path)!r} holds no weight above 0")
    return f"{path.name}@{hashlib.sha256(content).hexdigest()[:8]}", tuple(table)


def _cells(text: str) -> list[tuple[int, list[str]]]:
    """The lines in which something stands, by number; decimal commas where the cells are apart by ";"."""
    separator = delimiter(text, ",")
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    rows = [(reader.line_num, row) for row in reader if any(cell.strip() for cell in row)]
    return rows if separator == "," else [(number, [cell.replace(",", ".") for cell in row]) for number, row in rows]


def _stored(run: Run) -> str:
    """The number of stored draws, in words."""
    n_draws = run.n_common_draws()
    without = "also" if run.done(1, unconditional=True) else "none"
    return f"it has {n_draws} draw{'s' * (n_draws != 1)} of each example, {without} without a caption"


def _said(rule: Rule) -> str:
    return ", ".join(f"{name}={word}" for name, word in rule.words().items())

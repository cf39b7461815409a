"""Which ways of reading a run its stored errors can answer; another way is refused with what is stored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, TypedDict

from compbench.core.errors import UsageError
from compbench.core.rules import Rule
from compbench.core.suggestions import unknown
from compbench.schedules.schedule import Full

if TYPE_CHECKING:
    from compbench.store.run import Run

__all__ = ["SETTINGS", "Settings", "answerable", "reading_words", "settings_of"]

SETTINGS = ("draws", "target", "loss", "unconditional")  # as -o of the commands that read, and as keywords of Run.read


def answerable(run: Run, given: Mapping[str, object]) -> Rule | None:
    """The run's rule with the settings `given`; UsageError, which says what is stored, where its errors lack that.

    None where nothing is given that changes how the run is read anyway.
    """
    rule = run.rule
    asked = replace(rule, **{name: _checked(name, value) for name, value in given.items()})
    if asked == rule:
        return rule if given else None
    where = f"run {str(run.path)!r} of {run.key.model!r}"
    if run.keeps_scores:
        raise UsageError(
            f"{where} keeps scores alone, of {_said(run.own_rule)}, and cannot be read with {_said(asked)}; run it "
            "without --keep scores"
        )
    run.check_errors()
    if not isinstance(run.schedule, Full):
        raise UsageError(
            f"{where} stopped measuring where its own rule ({_said(run.own_rule)}) had decided and cannot be read with "
            f"{_said(asked)}; run it with schedule=full"
        )
    _check_losses(run, where, asked)
    if not run.done(asked.draws, unconditional=asked.unconditional):
        raise UsageError(f"{where} cannot be read with {_said(asked)}: {_stored(run)}; rerun its command with more")
    return asked


class Settings(TypedDict, total=False):
    """The ways of reading that a run's errors leave open."""

    draws: int
    target: str
    loss: str
    unconditional: bool


def settings_of(options: Sequence[str]) -> Settings:
    """The settings that NAME=VALUE words on a command line stand for."""
    settings = Settings()
    for option in options:
        name, equals, value = option.partition("=")
        if not equals:
            raise UsageError(f"-o {option} has no value; expected NAME=VALUE, such as -o draws=16")
        if name == "draws":
            settings["draws"] = _count(value)
        elif name == "unconditional":
            settings["unconditional"] = _claim(value)
        elif name in ("target", "loss"):
            settings[name] = value
        else:
            raise unknown("way of reading a run", name, SETTINGS)
    return settings


def _count(text: str) -> int:
    if not text.isdecimal():
        raise UsageError(f"draws cannot be {text!r}; expected a whole number, at least 1")
    return int(text)


def _claim(text: str) -> bool:
    if text.lower() not in ("true", "false"):
        raise UsageError(f"unconditional cannot be {text!r}; expected true or false")
    return text.lower() == "true"


def _checked(name: str, value: object) -> object:
    if name == "draws" and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
        raise UsageError(f"draws cannot be {value!r}; expected a whole number, at least 1")
    if name == "unconditional" and not isinstance(value, bool):
        raise UsageError(f"unconditional cannot be {value!r}; expected true or false")
    return str(value) if name == "loss" else value


def _check_losses(run: Run, where: str, asked: Rule) -> None:
    stored = run.losses()
    if lacking := [name for name in asked.losses if name not in stored]:
        raise UsageError(
            f"{where} holds no errors {lacking[0]!r}; it has {', '.join(stored)}: rerun its command with "
            f"-o loss={asked.loss} to measure them"
        )


def _stored(run: Run) -> str:
    """The number of stored draws, in words."""
    n_draws = run.n_common_draws()
    without = "also" if run.done(1, unconditional=True) else "none"
    return f"it has {n_draws} draw{'s' * (n_draws != 1)} of each example, {without} without a caption"


def reading_words(rule: Rule) -> list[str]:
    """A rule as the -o words that ask for it."""
    words = [] if rule.draws is None else [f"draws={rule.draws}"]
    words += [f"target={rule.target}", f"loss={rule.loss}"]
    return [*words, *(["unconditional=true"] if rule.unconditional else [])]


def _said(rule: Rule) -> str:
    return ", ".join(reading_words(rule))

"""The end of a message about a name that does not exist: the names that come close to it."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from compbench.core.errors import UsageError

_LISTED = 12  # names in a message, at most

__all__ = ["did_you_mean", "unknown"]


def did_you_mean(name: str, choices: Iterable[str]) -> str:
    """The close ones of `choices`, or all of them, as the end of a message.

    >>> did_you_mean("sd20", ["sd2", "sd1.5", "chance"])
    "did you mean 'sd2'?"
    >>> did_you_mean("seven", ["sd2", "chance"])
    'expected one of chance, sd2'
    """
    choices = sorted(set(choices))
    if close := _close(name, choices):
        return f"did you mean {' or '.join(repr(choice) for choice in close)}?"
    return f"expected one of {', '.join(choices)}" if choices else "there is none"


def unknown(kind: str, name: str, choices: Iterable[str]) -> UsageError:
    """The error for a name that does not exist.

    >>> unknown("task", "shaps", ["shapes", "winoground"])
    UsageError("no task named 'shaps'; did you mean 'shapes'?")
    """
    choices = sorted(set(choices))
    if len(choices) > _LISTED and kind in ("task", "model") and not _close(name, choices):
        return UsageError(
            f"no {kind} named {name!r}; `compbench list {kind}s` shows the {len(choices)} there are. One that a "
            "notebook or script registers is known in that process alone; an entry point makes it known everywhere"
        )
    return UsageError(f"no {kind} named {name!r}; {did_you_mean(name, choices)}")


def _close(name: str, choices: Iterable[str]) -> list[str]:
    by_lower = {choice.lower(): choice for choice in choices}
    return [by_lower[match] for match in difflib.get_close_matches(name.lower(), by_lower, n=3)]

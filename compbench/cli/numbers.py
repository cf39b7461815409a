"""Numbers that an option takes, with a limit that help leaves to words."""

from __future__ import annotations

from typing import Any

import click

__all__ = ["AtLeast"]


class AtLeast(click.ParamType):
    """A number that is not below `minimum`; Click's own ranges print `[x>=1]` in the help.

    >>> AtLeast(1).convert("3", None, None)
    3
    """

    name = "n"

    def __init__(self, minimum: int, kind: click.ParamType = click.INT) -> None:
        self._minimum, self._kind = minimum, kind

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        number = self._kind.convert(value, param, ctx)
        if not number >= self._minimum:  # nor is a number that is none
            self.fail(f"must be at least {self._minimum}, got {value}", param, ctx)
        return number

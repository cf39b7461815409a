"""Descriptions of tasks that need none of their data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

__all__ = ["HasSheet", "TaskSheet"]


@dataclass(frozen=True, slots=True)
class TaskSheet:
    about: str  # a sentence
    protocols: Mapping[str, tuple[tuple[str, ...], str]]  # the task's name under a protocol -> its metrics, and how
    facts: Mapping[str, str]  # where its captions and pictures come from, and what may be done with them


@runtime_checkable
class HasSheet(Protocol):
    def sheet(self) -> TaskSheet: ...

"""Facts on tasks and models, known without importing them: a package's `tasks.csv`, `models.csv`, the hub's cache.

Both files stand in the package that an entry point names, so that a plugin may bring its own. What is not known is left
empty.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from compbench.registry.plugins import Entry

__all__ = ["ModelFacts", "TaskFacts", "hub_cache", "is_cached", "of_models", "of_tasks"]


@dataclass(frozen=True, slots=True)
class TaskFacts:
    """The facts on one task, all as text."""

    name: str
    kind: str = ""  # matching, classification, retrieval
    examples: str = ""
    licence: str = ""
    gated: str = ""  # yes or no
    download: str = ""  # "537 MB"
    repo: str = ""  # of the hub's data sets
    needs: str = ""  # data or pictures, which nobody may fetch for the user
    part_of: str = ""  # the suite that it is a split of
    about: str = ""  # a sentence

    @property
    def at_hand(self) -> str:
        """Whether it can be run as it is: yes, no where it is fetched first, or what the user has to give."""
        if self.needs:
            return "with --images" if self.needs == "pictures" else "with --data"
        return "yes" if not self.repo or is_cached(self.repo, "dataset") else "no"


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """The facts on one model, all as text."""

    name: str
    family: str = ""
    parameters: str = ""  # "0.86 B"
    licence: str = ""
    gated: str = ""  # yes or no
    # "8 GB": the smallest of 4, 8, 12, 16, 24, 40 and 80 that holds 5/4 of the weights that are on the card at once:
    # 4 bytes per parameter; for a diffusion model its network or its text encoders (a T5 has 4.76 B) at 2 bytes, and
    # at least 8 GB, for its autoencoder sees whole pictures
    memory: str = ""
    repo: str = ""  # of the hub's models; "" where the weights come from elsewhere
    origin: str = ""  # hub, torchvision, here (in the package), trained (on the task's own), none (it has no weights)

    @property
    def at_hand(self) -> str:
        """Whether its weights are here; empty where that is not known."""
        if self.origin in ("here", "trained", "none"):
            return "yes"
        return ("yes" if is_cached(self.repo, "model") else "no") if self.repo else ""


Facts = TypeVar("Facts", TaskFacts, ModelFacts)


def of_tasks(entries: Iterable[Entry]) -> dict[str, TaskFacts]:
    """The facts by name; an entry without facts has only its name."""
    return _read(entries, "tasks.csv", TaskFacts)


def of_models(entries: Iterable[Entry]) -> dict[str, ModelFacts]:
    """The facts by name; an entry without facts has only its name."""
    return _read(entries, "models.csv", ModelFacts)


def is_cached(repo: str, repo_type: str) -> bool:
    """Whether the hub's cache holds a snapshot, perhaps not a whole one: asking that would import its library."""
    snapshots = hub_cache() / f"{repo_type}s--{repo.replace('/', '--')}" / "snapshots"
    try:
        return any(snapshots.iterdir())
    except OSError:
        return False


def hub_cache() -> Path:
    """The folder that huggingface_hub caches in, by the variables that it reads."""
    if given := os.environ.get("HF_HUB_CACHE"):
        return Path(given).expanduser()
    cache = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache")
    return Path(os.environ.get("HF_HOME") or cache / "huggingface").expanduser() / "hub"


def _read(entries: Iterable[Entry], file: str, kind: type[Facts]) -> dict[str, Facts]:
    entries = list(entries)
    rows: dict[str, Mapping[str, str]] = {}
    for package in dict.fromkeys(entry.value.partition(":")[0].partition(".")[0] for entry in entries):
        rows |= {row["name"]: row for row in _rows(package, file)}
    known = {field.name for field in fields(kind)}
    return {
        entry.name: kind(**{"name": entry.name, **{k: v for k, v in rows.get(entry.name, {}).items() if k in known}})
        for entry in entries
    }


def _rows(package: str, file: str) -> list[dict[str, str]]:
    try:
        found = find_spec(package)
        folder = Path(next(iter(found.submodule_search_locations or ()))) if found is not None else None
        text = "" if folder is None else (folder / file).read_text(encoding="utf-8")
    except (ImportError, OSError, StopIteration, ValueError):
        return []
    return list(csv.DictReader(text.splitlines()))

"""Names of runs: a folder, task/model, task/model/digest, a task (all its models), a digest's first letters."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from compbench.core import disk
from compbench.core.errors import RunError, UsageError
from compbench.core.suggestions import did_you_mean
from compbench.store import run_file
from compbench.store.key import RunKey
from compbench.store.told_apart import told_apart

if TYPE_CHECKING:
    from compbench.store.run import Run
    from compbench.store.store import Store

__all__ = ["SIGNS", "find", "is_run", "settings"]

SIGNS = (run_file.NAME, "parts.jsonl")  # of a run in a folder, one of which may be lost
_LETTERS = 6  # of a digest, where runs are named beside each other


def find(store: Store, reference: str | Path) -> list[Run]:
    """The runs that `reference` stands for, one of each model: its latest whole run, and what the others are is said.

    A folder is that of a run, of a model or of a task, as tab completion gives it.
    """
    folder, name = disk.expanded(reference), str(reference).rstrip("/")
    if is_run(folder):
        return [store.run_in(folder)]
    below = _runs_below(folder) if name else []
    runs, unreadable = store.scanned(below or None)
    models: dict[tuple[str, str], list[Run]] = {}
    for run in runs if below else _called(name, runs):
        models.setdefault((run.key.task, run.key.model), []).append(run)
    if models:
        return _measured(store, [_latest_whole(store, members) for members in models.values()])
    if matching := _of_digest(name, runs):
        return [matching]
    for path, error in unreadable.items():
        if below or (name and _is_called(path, name)):
            raise error
    raise _no_such_run(name, runs, store.root)


def is_run(folder: Path) -> bool:
    """Whether anything of a run is in the folder, be it damaged."""
    return any(disk.is_file(folder / name) for name in SIGNS)


def settings(runs: Sequence[Run]) -> list[str]:
    """The settings in which each of the runs differs from the others, in words; "" where none does."""
    keys = [run.key for run in runs]
    told = [{**key.measurement, "task": key.task_revision, "weights": key.weights or "none"} for key in keys]
    return [", ".join(words) for words in told_apart(told)]


def _runs_below(folder: Path) -> list[Path]:
    """The folders of runs in that of a model, or in those of a task's models."""
    try:
        found = {path.parent for depth in ("*", "*/*") for sign in SIGNS for path in folder.glob(f"{depth}/{sign}")}
    except (OSError, ValueError):  # a name that no folder can have
        return []
    return sorted(found)


def _called(name: str, runs: Sequence[Run]) -> list[Run]:
    """The runs of a task and a model of this name, else those of a task."""
    of_model = [run for run in runs if name in _names(run.key)]
    return of_model or [run for run in runs if name in (run.key.task, disk.slug(run.key.task))]


def _of_digest(name: str, runs: Sequence[Run]) -> Run | None:
    """The run whose digest begins with these letters, alone or behind task/model."""
    matching = [run for run in runs if name and any(address.startswith(name) for address in _addresses(run.key, name))]
    if len(matching) > 1:
        choices = ", ".join(f"{run.key.digest} ({run.key.task}/{run.key.model})" for run in matching)
        raise UsageError(f"{len(matching)} runs begin with {name!r}: {choices}; give more letters")
    return matching[0] if matching else None


def _addresses(key: RunKey, name: str) -> list[str]:
    """The digest, and with task/model before it where the name begins with that."""
    return [key.digest, *(f"{folder}/{key.digest}" for folder in _names(key) if name.startswith(f"{folder}/"))]


def _latest_whole(store: Store, runs: Sequence[Run]) -> Run:
    """The latest whole run of a model, else the latest that measured something; which of several is said."""
    if len(runs) == 1:
        return runs[0]
    whole = [run for run in runs if _is_whole(run)]
    taken = max(whole or [run for run in runs if run.parts()] or runs, key=lambda run: run.info.updated)
    described = dict(zip((run.path for run in runs), _described(runs, whole), strict=True))
    others = "; ".join(described[run.path] for run in runs if run.path != taken.path)
    name = f"{taken.key.task}/{taken.key.model}"
    which, are = "latest whole" if whole else "latest", "the others are" if len(runs) > 2 else "the other is"
    store.say_once(
        f"{name}: using the {which} run, {described[taken.path]}; {are} {others}. Name one as "
        f"{name}/{taken.key.digest[:_LETTERS]}"
    )
    return taken


def _measured(store: Store, runs: Sequence[Run]) -> list[Run]:
    """The runs that measured something, where one did; the others are said."""
    measured = [run for run in runs if run.parts()]
    if not measured or len(measured) == len(runs):
        return list(runs)
    names = ", ".join(f"{run.key.task}/{run.key.model} ({run.status})" for run in runs if run not in measured)
    store.say_once(f"left out, since nothing is measured of them: {names}")
    return measured


def _described(runs: Sequence[Run], whole: Sequence[Run]) -> list[str]:
    """The digest's first letters and, in parentheses, what tells the run from the others."""
    words = settings(runs)
    states = ["" if run in whole else str(run.status) for run in runs]
    within = [", ".join(filter(None, pair)) for pair in zip(words, states, strict=True)]
    return [run.key.digest[:_LETTERS] + (f" ({text})" if text else "") for run, text in zip(runs, within, strict=True)]


def _is_whole(run: Run) -> bool:
    status = run.status
    return status == "done" or (status != "partial" and not run.is_partial)


def _names(key: RunKey) -> set[str]:
    return {f"{key.task}/{key.model}", f"{disk.slug(key.task)}/{disk.slug(key.model)}"}


def _is_called(folder: Path, name: str) -> bool:
    """Whether a run that cannot be read lies where one of this name, or of a digest with these first letters, would."""
    task, model, digest = folder.parts[-3:]
    cuts = (n for n, letter in enumerate(name) if letter == "/")
    is_its_name = any((disk.slug(name[:n]), disk.slug(name[n + 1 :])) == (task, model) for n in cuts)
    return is_its_name or digest.startswith(name) or f"{task}/{model}/{digest}".startswith(f"{name}/")


def _no_such_run(name: str, runs: Sequence[Run], root: Path) -> RunError | UsageError:
    if not runs:
        return UsageError(f"no run {name!r}: there are none in {str(root)!r}; name their folder with --runs DIR")
    known = {f"{run.key.task}/{run.key.model}" for run in runs} | {run.key.task for run in runs if "/" not in name}
    return UsageError(f"no run {name!r} in {str(root)!r}; {did_you_mean(name, known)}")

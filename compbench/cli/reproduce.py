"""The paper's tables again: which cells to run, on how many images, and what stood in the way of the others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compbench.core import disk
from compbench.core.errors import DataError, MissingPackage, RunError, UsageError
from compbench.core.packages import named
from compbench.runs.grid import Cell, Failure, cells, measure
from compbench.runs.grid import planned as plans_of
from compbench.runs.grid_file import GridFile
from compbench.store.told_apart import in_words

if TYPE_CHECKING:
    from compbench.runs.grid import Outcome
    from compbench.runs.plan import Plan
    from compbench.runs.reporter import Reporter

__all__ = ["BUDGETS", "Asked", "Budget", "DataFolders", "asked_for", "data_folders", "planned", "reproduce"]


@dataclass(frozen=True, slots=True)
class Budget:
    """The images and options of a table's row, unless the user says otherwise."""

    limit: int | None = None  # images of each data set; None: all of them
    options: tuple[tuple[str, int], ...] = ()


# each row fits a night on one H200, at 1 to 2 ms for an evaluation of Stable Diffusion's U-Net; a table is the sum of
# its rows. sd2: 163,000 evaluations an image over Table 1's data sets. DiT: 250,000 for an image of ImageNet, at 0.3
# and 1.3 ms. synthetic-sd: 1,473 classes, 50 pictures each, 25 guided steps a picture: 3.7 million evaluations.
# sd-features: as many training pictures, 0.16 MB of features each. What costs milliseconds sees all images.
BUDGETS: Mapping[tuple[str, str], Budget] = {
    ("table1", "sd2"): Budget(100),
    ("table1", "sd-features"): Budget(1000, (("train_per_class", 50),)),
    ("table1", "synthetic-sd"): Budget(None, (("n_per_class", 50),)),
    ("table3", "dit-256"): Budget(20),
    ("table3", "dit-512"): Budget(20),
}


@dataclass(frozen=True, slots=True)
class Asked:
    """A table of the paper, cell by cell."""

    table: str
    cells: list[Cell]


@dataclass(frozen=True, slots=True)
class DataFolders:
    """The local copies of data: a folder with one folder for each task, and folders of single tasks before it."""

    root: Path | None = None
    of_task: Mapping[str, Path] = field(default_factory=dict[str, Path])

    def of(self, task: str) -> Path | None:
        """The local copy of a task's data, where one is named or lies under the root."""
        if task in self.of_task:
            return self.of_task[task]
        return self.root / task if self.root is not None and (self.root / task).exists() else None


def asked_for(
    table: str,
    models: Sequence[str],
    tasks: Sequence[str],
    options: Sequence[str],
    settings: Mapping[str, Any],
    reporter: Reporter,
    folders: DataFolders | None = None,
) -> Asked:
    """The cells of `table`, of all its models and tasks or of those named; UsageError for one that it does not have.

    Without a limit of the user's each row has a budget of its own, which is said. `settings` are those of `run`.
    """
    from compbench_analysis.frames import paper

    known = paper.cells(table)
    chosen = {
        what: _chosen(what, names, list(dict.fromkeys(cell[what] for cell in known)), table)
        for what, names in (("model", models), ("task", tasks))
    }
    is_limited = settings.get("limit") is not None or settings.get("images_per_class") is not None
    budgets = {model: BUDGETS.get((table, model), Budget()) for model in chosen["model"]}
    preset = tuple(f"{model}.{name}={value}" for model, budget in budgets.items() for name, value in budget.options)
    folders, preset_file = folders or DataFolders(), GridFile(options=preset)
    made = cells(chosen["task"], chosen["model"], options, settings, reporter.say, preset_file, folders.of)
    if not is_limited:
        for model, budget in budgets.items():
            reporter.say(f"{table}, {model}: {_words(budget)}")
    return Asked(table, [_with_its_own(cell, folders, None if is_limited else budgets[cell.model]) for cell in made])


def planned(asked: Asked, reporter: Reporter) -> tuple[list[Plan], list[Failure]]:
    """The plan of each cell; a cell that cannot be planned fails on its own."""
    plans: list[Plan] = []
    failures: list[Failure] = []
    for cell in asked.cells:
        try:
            with named():
                plans += plans_of([cell], reporter)[0]
        except (DataError, MissingPackage, RunError, UsageError) as error:
            failures.append(Failure(cell, str(error)))
    return plans, failures


def reproduce(asked: Asked, reporter: Reporter) -> tuple[Outcome, dict[tuple[str, str], str]]:
    """Run what can be run, and why the other cells (task, model) are empty."""
    outcome = measure(asked.cells, reporter)
    return outcome, {(failure.cell.task, failure.cell.model): failure.error for failure in outcome.failures}


def data_folders(given: Sequence[str]) -> tuple[Path | None, dict[str, Path]]:
    """The folder of all tasks and the folders of single ones, of `--data DIR` and `--data TASK=DIR`."""
    root: Path | None = None
    folders: dict[str, Path] = {}
    for text in given:
        task, equals, folder = text.partition("=")
        if equals and not Path(text).exists():
            folders[task] = disk.expanded(folder)
        elif root is not None:
            raise UsageError(f"--data names two folders of all tasks, {str(root)!r} and {text!r}; expected one")
        else:
            root = disk.expanded(text)
    for folder in (*([] if root is None else [root]), *folders.values()):
        if not folder.exists():
            raise UsageError(f"no folder {str(folder)!r}; expected --data DIR or --data TASK=DIR")
    return root, folders


def _with_its_own(cell: Cell, folders: DataFolders, budget: Budget | None) -> Cell:
    """The cell with the limit of its row where the user gave none."""
    request = cell.request if budget is None else replace(cell.request, limit=budget.limit)
    return replace(cell, request=request, imagenet=folders.of("imagenet"))


def _words(budget: Budget) -> str:
    images = "all images" if budget.limit is None else f"{budget.limit:,} images of each data set"
    options = "".join(f", {in_words(name, value)}" for name, value in budget.options)
    return f"{images}{options}; --limit N and -o change that"


def _chosen(what: str, names: Sequence[str], known: Sequence[str], table: str) -> list[str]:
    named = list(dict.fromkeys(name for listed in names for name in listed.split(",")))
    if strange := [name for name in named if name not in known]:
        raise UsageError(f"{table} has no {what} {strange[0]!r}; expected some of {', '.join(known)}")
    return named or list(known)

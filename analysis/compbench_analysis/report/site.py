"""A folder of pages that any static host can serve: a leaderboard of models by tasks, and a page for each task."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd

from compbench.core import disk
from compbench.core.errors import UsageError
from compbench.store import as_cells, provenance
from compbench.store.run import Run
from compbench_analysis.frames import all_pairs, published, tables
from compbench_analysis.frames.leaders import headline
from compbench_analysis.frames.results import results
from compbench_analysis.report._cells import Cell, Heading, Table, named
from compbench_analysis.report._ranking import overall_pairs
from compbench_analysis.report._scores import metrics_of, of
from compbench_analysis.report._sections import Section, sections
from compbench_analysis.report.page import Look, render, rendered
from compbench_analysis.text.format import metric_heading, percent
from compbench_analysis.text.render import count

__all__ = ["write_site"]

Row = Mapping[str, Any]
_INDEX, _NUMBERS = "index.html", "results.csv"


@dataclass(frozen=True, slots=True)
class _Board:
    """The leaderboard's entry for one task."""

    section: Section
    page: str  # the file's name
    metric: str
    rows: Mapping[str, Row]  # of each model, over all examples
    letters: Mapping[str, str]
    why_not: str  # models were not held against each other

    @property
    def best(self) -> float:
        return max((row["value"] for row in self.rows.values()), default=float("nan"))

    @property
    def n(self) -> int:
        """Examples that most models are measured on."""
        return max((row["n"] for row in self.rows.values()), default=0)

    def leads(self, model: str) -> bool:
        """Whether a model cannot be told from the best."""
        if not self.letters:
            return False
        leader = max(self.letters, key=lambda name: self.rows[name]["value"])
        return bool(set(self.letters.get(model, "")) & set(self.letters[leader]))


def write_site(runs: Iterable[Run], folder: Path | str, look: Look | None = None) -> list[Path]:
    """Write the site of `runs` into `folder` and return its files, the leaderboard first.

    Files that stand there under other names stay. UsageError where there is nothing to show.
    """
    look = look or Look()
    made, unreadable = sections(list(runs), look.rule)
    if not made:
        raise UsageError(f"no run can be shown: {'; '.join(unreadable) or 'none was given'}")
    root = disk.expanded(folder)
    boards = [_board(section, look) for section in made]
    with disk.writing(root, "--output DIR"):
        root.mkdir(parents=True, exist_ok=True)
        pages = [(board.page, render(board.section.runs, look, home=_INDEX)) for board in boards]
        numbers = as_cells(results([run for section in made for run in section.runs], look.rule)).to_csv(index=False)
        files = [(_INDEX, _index(boards, unreadable)), *pages, (_NUMBERS, numbers)]
        for name, text in files:
            disk.output(root / name, text.encode("utf-8", errors="replace"))
    return [root / name for name, _ in files]


def _index(boards: Sequence[_Board], unreadable: Sequence[str]) -> str:
    return rendered(
        "site.html.j2",
        title="Leaderboard",
        n_models=max(len(board.section.runs) for board in boards),
        board=_leaderboard(boards),
        published=_published(boards),
        notes=list(_notes(boards)),
        unreadable=unreadable,
        numbers=_NUMBERS,
        n_runs=sum(len(board.section.runs) for board in boards),
        n_tasks=len(boards),
        version=provenance.version(),
        made=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
    )


def _board(section: Section, look: Look) -> _Board:
    frame = tables.tidy(section.runs, None, look.rule)
    rows = [row for row in tables.plain_rows(frame) if row["tag"] == tables.OVERALL and row["value"] is not None]
    metric = headline(metrics_of(rows)) if rows else ""
    own = {str(row["model"]): row for row in of(rows, metric=metric)}
    letters: dict[str, str] = {}
    why_not = ""
    if len(section.runs) > 1:
        try:
            pairs = all_pairs.all_pairs(section.runs, None, look.rule, n_resamples=look.n_resamples)
            found: pd.DataFrame = overall_pairs(pairs, metric)
            ranked = sorted(own, key=lambda name: -own[name]["value"])
            letters = all_pairs.lettered(found, ranked) if len(found) else {}
        except UsageError as error:
            why_not = section.without_paths(str(error))
    return _Board(section, f"{disk.slug(section.key)}.html", metric, own, letters, why_not)


def _leaderboard(boards: Sequence[_Board]) -> Table:
    models = list(dict.fromkeys(model for board in boards for model in board.rows))
    models.sort(key=lambda model: (-sum(model in board.rows for board in boards), _mean_rank(model, boards)))
    headings = (
        Heading("model", is_number=False),
        *(
            Heading(
                board.section.name, f"{metric_heading(board.metric)}, %, n {count(board.n)}", title=board.section.key
            )
            for board in boards
        ),
    )
    body = tuple((named(model), *(_cell(model, board) for board in boards)) for model in models)
    chance = (Cell(tables.CHANCE, kind="name chance"), *map(_chance, boards))
    return Table(headings, body, "Leaderboard", apart=(chance,))


def _mean_rank(model: str, boards: Sequence[_Board]) -> float:
    places = [
        sorted(-row["value"] for row in board.rows.values()).index(-board.rows[model]["value"])
        for board in boards
        if model in board.rows
    ]
    return sum(places) / len(places)


def _cell(model: str, board: _Board) -> Cell:
    row = board.rows.get(model)
    if row is None:
        return Cell("–", float("nan"), title="not measured")
    details = [f"{percent(row['low'])} – {percent(row['high'])}", board.letters.get(model, "")]
    details += [f"n {count(row['n'])}"] if row["n"] != board.n else []
    return Cell(
        percent(row["value"]),
        float(row["value"]),
        ", ".join(filter(None, details)),
        href=board.page,
        kind="best" if board.leads(model) else "",
    )


def _chance(board: _Board) -> Cell:
    value = next((row["chance"] for row in board.rows.values() if row["chance"] is not None), None)
    return Cell(percent(value), kind="chance")


def _published(boards: Sequence[_Board]) -> Table | None:
    """A table of published scores on these tasks; None where none are known."""
    found: dict[str, dict[str, Row]] = {}
    said: list[str] = []
    for board in boards:
        try:
            rows = [row for row in published.rows(board.section.name) if row["tag"] == tables.OVERALL]
        except UsageError:
            continue
        own = [row for row in rows if row["metric"] == board.metric]
        said += [f"{board.section.name}: {line}" for line in published.sources(own)]
        for row in own:
            found.setdefault(row["model"], {})[board.section.key] = row
    if not found:
        return None
    known = [board for board in boards if any(board.section.key in own for own in found.values())]
    headings = (Heading("model", is_number=False), *(Heading(board.section.name, "%") for board in known))
    body = tuple(
        (named(model), *(_published_cell(own.get(board.section.key)) for board in known))
        for model, own in found.items()
    )
    return Table(headings, body, "Published elsewhere", (published.NOTE, *said))


def _published_cell(row: Row | None) -> Cell:
    if row is None or row["value"] is None:
        return Cell("–", float("nan"))
    interval = "" if row["low"] is None else f"{percent(row['low'])} – {percent(row['high'])}"
    return Cell(percent(row["value"]), float(row["value"]), interval)


def _notes(boards: Sequence[_Board]) -> list[str]:
    untested = [board for board in boards if board.why_not]
    return [
        "Percent right over all examples with a 95 % interval. Models of a task that share a letter cannot be told "
        "apart (exact paired tests, Holm-corrected p above 0.05); those that share one with the best are bold.",
        *(f"{board.section.key}: no winner is named: {board.why_not}." for board in untested),
        *(f"{board.section.key}: {note}" for board in boards for note in board.section.notes()),
    ]

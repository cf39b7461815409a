"""A verdict and one small table of a task's runs, with what has to be known to read it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from compbench.core.printable import screen_width
from compbench.schedules.schedule import Full
from compbench_analysis.frames import published, tables
from compbench_analysis.frames.leaders import SURE, Standings, standings
from compbench_analysis.frames.seeds import SeedGroup
from compbench_analysis.text import _compact, _notes
from compbench_analysis.text._latex_scores import latex_scores
from compbench_analysis.text._look import Look, members_of, published_rows
from compbench_analysis.text.format import metric_words
from compbench_analysis.text.render import Grid, count
from compbench_analysis.text.verdict import verdict

if TYPE_CHECKING:
    from compbench.store.run import Run

__all__ = ["brief", "brief_latex"]

_UNBOUNDED = 10_000  # columns of a page: nothing has to give way there


def brief(runs: Sequence[Run], look: Look, style: str, n_columns: int | None) -> list[Grid]:
    """The verdict, the table and its notes."""
    its = _read(runs, look, "" if style == "markdown" else _compact.BEST)
    width = (n_columns or screen_width()) if style == "table" else _UNBOUNDED
    grid, interval = _compact.score_grid(its.scores, _title(runs[0]), width)
    notes = (
        *_notes.partials(its.members, look),
        *_notes.scored(its.members, look),
        *_notes.unmatched(runs[0], look.by),
        *_notes.overlooked(its.members),
        *_marks(its, interval),
        *_repeats(its.members),
        *_ties(its.rows),
        *_raced(its.members),
    )
    said = _verdict(runs[0], its)
    return [
        Grid((), (), title=said[0], notes=tuple(said[1:])),
        grid,
        Grid((), (), notes=notes),
        *([Grid((), (), title=published.NOTE, notes=tuple(published.sources(its.published)))] if its.published else []),
    ]


def brief_latex(runs: Sequence[Run], look: Look) -> str:
    """The table for a paper, with the verdict and the notes as comments."""
    its = _read(runs, look, "")
    comments = [
        *_verdict(runs[0], its),
        *_notes.partials(its.members, look),
        *_notes.scored(its.members, look),
        *_notes.unmatched(runs[0], look.by),
        *_notes.overlooked(its.members),
        *_marks(its, None),
        *_repeats(its.members),
        *_ties(its.rows),
        *_raced(its.members),
        *([published.NOTE, *published.sources(its.published)] if its.published else []),
    ]
    return latex_scores(its.scores, _title(runs[0]), comments)


@dataclass(frozen=True)
class _Read:
    members: list[SeedGroup]
    rows: list[dict[str, Any]]  # of the runs alone
    found: Standings
    published: list[dict[str, Any]]
    scores: _compact.Scores  # of both


def _read(runs: Sequence[Run], look: Look, mark: str) -> _Read:
    members = members_of(runs, look)
    rows = tables.plain(tables.rows_over_seeds(members, look.by, look.rule))
    found, more = standings(members, look.by, look.rule), published_rows(runs, look)
    return _Read(members, rows, found, more, _compact.Scores.of([*rows, *more], found, mark))


def _verdict(run: Run, its: _Read) -> list[str]:
    return verdict(its.rows, its.found, run.info.n_task_examples)


def _title(run: Run) -> str:
    n_all = run.info.n_task_examples
    return f"{run.key.task}, {count(n_all)} examples"


def _marks(its: _Read, interval: _compact.Interval | None) -> Iterator[str]:
    """The legend of the signs in the table."""
    methods = list(dict.fromkeys(str(row["method"]) for row in its.rows))
    kind = {1: f" ({methods[0]})".replace("(wilson)", "(Wilson)")}.get(len(methods), "") if methods else ""
    if interval == "brackets":
        yield f"In brackets: the 95 % interval{kind}."
    else:
        yield f"±: the wider half of the 95 % interval{kind}."
    yield from _notes.methods(methods)
    if its.scores.best:
        is_plain = set(methods) == {"wilson"}
        test = (
            "exact McNemar test" if is_plain else "exact McNemar test, or sign flips where examples are not independent"
        )
        n_models = len({row["model"] for row in its.found.rows})
        corrected = ", Holm over the models" if n_models > 2 else ""
        mark = its.scores.mark or "In bold:"
        yield f"{mark} the best, or not distinguishable from it at {SURE:g} ({test}{corrected})."
    if any(row["is_small"] and row["n"] for row in its.rows):
        yield (
            f"{tables.SMALL} too small to rank models: fewer than {tables.FEW} examples, or an interval wider "
            f"than ±{100 * tables.WIDE:.0f} points."
        )


def _repeats(members: Sequence[SeedGroup]) -> Iterator[str]:
    if any(len(member.runs) > 1 for member in members):
        yield "Several seeds: the mean and the standard deviation (sd) over them; --each shows them separately."


def _ties(rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """The number of examples that are wrong only because of a tie, where there are any."""
    overall = [row for row in rows if row["tag"] == tables.OVERALL and row["ties"]]
    for model in dict.fromkeys(str(row["model"]) for row in overall):
        counts = ", ".join(
            f"{row['ties']:,.3g} ({metric_words(row['metric'])})" for row in overall if row["model"] == model
        )
        yield f"Ties count as wrong. {model} has {counts}."


def _raced(members: Sequence[SeedGroup]) -> Iterator[str]:
    saving = [member.label for member in members if not isinstance(member.runs[0].schedule, Full)]
    if saving:
        yield f"{', '.join(saving)}: a schedule left out draws; --full says how many, and at what risk."

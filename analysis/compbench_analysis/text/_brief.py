"""A verdict and one small table of a task's runs, with what has to be known to read it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from compbench.core.printable import screen_width
from compbench.schedules.schedule import Full
from compbench_analysis.frames import published, tables
from compbench_analysis.frames.leaders import SURE, Standings, standings
from compbench_analysis.frames.seeds import SeedGroup
from compbench_analysis.text import _compact, _notes
from compbench_analysis.text._latex_scores import latex_scores
from compbench_analysis.text._look import Look, members_of, published_rows
from compbench_analysis.text._score_tables import few, named
from compbench_analysis.text.format import metric_words
from compbench_analysis.text.render import Grid, count, render
from compbench_analysis.text.verdict import verdict

if TYPE_CHECKING:
    from compbench.store.run import Run

__all__ = ["brief"]

_UNBOUNDED = 10_000  # columns of a page: nothing has to give way there


def brief(runs: Sequence[Run], look: Look, style: str, n_columns: int | None) -> str:
    """The verdict, the table and its notes; of LaTeX the table alone, with the rest as comments."""
    members, more = members_of(runs, look), published_rows(runs, look)
    own = [row for member in members for row in tables.rows(member, look.by, look.rule)]
    rows = tables.plain(own)
    found = standings(members, look.by, look.rule)
    scores = _compact.Scores.of(named([*rows, *more]), found, _compact.BEST if style == "table" else "")
    width = (n_columns or screen_width()) if style == "table" else _UNBOUNDED
    grid, interval = _compact.score_grid(scores, _title(runs[0]), width)
    said = verdict(rows, found, runs[0].info.n_task_examples)
    notes = (
        *_notes.partials(members, look),
        *_notes.scored({member.label: member.runs[0] for member in members}, look.rule),
        *_notes.unmatched(runs[0], look.by),
        *_notes.overlooked(members),
        *_notes.answers(members),
        *_marks(rows, scores, found, None if style == "latex" else interval),
        *_repeats(members),
        *_ties(rows),
        *_raced(members),
    )
    beside = (published.NOTE, published.sources(more)) if more else ("", [])
    if style == "latex":
        return latex_scores(scores, _title(runs[0]), [*said, *notes, *filter(None, [beside[0]]), *beside[1]])
    shown = [
        Grid((), (), title=said[0], notes=tuple(said[1:])),
        grid,
        Grid((), (), notes=notes),
        Grid((), (), title=beside[0], notes=tuple(beside[1])),
    ]
    return render(shown, style, n_columns)


def _title(run: Run) -> str:
    n_all = run.info.n_task_examples
    return f"{run.key.task}, {count(n_all)} examples"


def _marks(
    rows: Sequence[Mapping[str, Any]], scores: _compact.Scores, found: Standings, interval: _compact.Interval | None
) -> Iterator[str]:
    """The legend of the signs in the table."""
    methods = list(dict.fromkeys(str(row["method"]) for row in rows))
    kind = {1: f" ({methods[0]})".replace("(wilson)", "(Wilson)")}.get(len(methods), "") if methods else ""
    if interval == "brackets":
        yield f"In brackets: the 95 % interval{kind}."
    else:
        yield f"±: the wider half of the 95 % interval{kind}."
    yield from _notes.methods(methods)
    if scores.best:
        is_plain = set(methods) == {"wilson"}
        test = (
            "exact McNemar test" if is_plain else "exact McNemar test, or sign flips where examples are not independent"
        )
        n_models = len({row["model"] for row in found.rows})
        corrected = ", Holm over the models" if n_models > 2 else ""
        mark = scores.mark or "In bold:"
        yield f"{mark} the best, or not distinguishable from it at {SURE:g} ({test}{corrected})."
    yield from few(rows)[:1]


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
    saving = [member.label for member in members if any(_leaves_out(run) for run in member.runs)]
    if saving:
        yield f"{', '.join(saving)}: a schedule left out draws; --full says how many, and at what risk."


def _leaves_out(run: Run) -> bool:
    """Whether its schedule left out a draw of an example that is read."""
    if isinstance(run.schedule, Full):
        return False
    return not all(verdict.is_full for verdict in run.verdicts(comparisons=False).values())

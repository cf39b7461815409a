"""Everything that runs of one task have to say: a block for each metric, cost, ties, savings and signatures."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from compbench.schedules.schedule import Full
from compbench_analysis.frames import published, tables
from compbench_analysis.frames.seeds import SeedGroup
from compbench_analysis.frames.signature import labels, signature
from compbench_analysis.frames.stored_errors import has_own_noise
from compbench_analysis.text import _notes, _racing, _score_tables
from compbench_analysis.text._cost import cost_of
from compbench_analysis.text._look import Look, members_of, published_rows, with_draws
from compbench_analysis.text.format import metric_heading
from compbench_analysis.text.render import Grid, count, duration

if TYPE_CHECKING:
    from compbench.store.run import Run

__all__ = ["full"]

Row = Mapping[str, Any]


def full(runs: Sequence[Run], look: Look) -> list[Grid]:
    """A block for each metric, what the runs cost, their ties and their signatures."""
    members = members_of(runs, look)
    own = [row for member in members for row in tables.rows(member, look.by, look.rule)]
    rows, reasons = with_draws(tables.plain(own), members, look)
    more = published_rows(runs, look)
    methods = list(dict.fromkeys(str(row["method"]) for row in rows))
    notes = [
        *_notes.partials(members, look),
        *_notes.unmatched(runs[0], look.by),
        *_notes.overlooked(members),
        *_notes.answers(members),
        *_notes.methods(methods),
        *_notes.repeats(members),
        *reasons,
    ]
    n_all = count(runs[0].info.n_task_examples)
    kind = {0: "Wilson ", 1: f"{(methods or [''])[0]} ".replace("wilson", "Wilson")}.get(len(methods), "")
    title = f"{runs[0].key.task}, {n_all} examples: percent right [{kind}95 % interval]; n in parentheses"
    signatures = tuple(signature(run, look.rule) for run in runs)
    savings = [words for run, label in zip(runs, labels(runs), strict=True) if (words := _racing.saved(run, label))]
    return [
        Grid((), (), title=title, notes=tuple(notes)),
        *_score_tables.grids([*rows, *more]),
        Grid((), (), notes=tuple([*_draws(members, rows), *_score_tables.few([*rows, *more])])),
        *([Grid((), (), title=published.NOTE, notes=tuple(published.sources(more)))] if more else []),
        _costs(members, rows),
        *([Grid((), (), notes=tuple(savings))] if savings else []),
        Grid((), (), title="Signature for a paper" if len(runs) == 1 else "Signatures for a paper", notes=signatures),
    ]


def _draws(members: Sequence[SeedGroup], rows: Sequence[Row]) -> Iterator[str]:
    """The note on ±draws: its meaning, and whether more examples make it smaller."""
    shown = {row["run"] for row in rows if row["draws_se"] is not None}
    own = {member.label: has_own_noise(member.runs[0]) for member in members if member.digest in shown}
    if own:
        shared = "; all examples share the draws, so more examples do not make it smaller"
        yield (
            f"{_score_tables.DRAWS}: one standard deviation over other draws (timesteps and noise), from the stored "
            f"errors{'' if all(own.values()) else shared}."
        )
    if some := [label for label, is_own in own.items() if is_own]:
        yield (
            f"  {', '.join(some)}: each image has its own noise, so more examples make it smaller, and the "
            "interval over examples holds it already."
        )
    staged = [
        member.label for member in members if member.label in own and not isinstance(member.runs[0].schedule, Full)
    ]
    if staged:
        yield (
            f"  {', '.join(staged)}: the published stages are replayed on resampled errors; a class that "
            "was dropped early is assumed to keep its distance."
        )


def _costs(members: Sequence[SeedGroup], rows: Sequence[Row]) -> Grid:
    """Network evaluations and time of each model, and the ties of each metric where there are any."""
    overall = [row for row in rows if row["tag"] == tables.OVERALL]
    ties = {(row["run"], row["metric"]): row["ties"] for row in overall}
    tied = list(dict.fromkeys(row["metric"] for row in overall if row["ties"]))
    lines: list[tuple[str, ...]] = []
    notes: list[str] = []
    for member in members:
        spent = cost_of(member.runs)
        n_evaluations = count(spent.n_evaluations) if spent.is_counted else "–"
        if spent.is_counted and not spent.n_evaluations:
            notes.append(f"{member.label}: 0 evaluations, since earlier runs made the pictures or features it needs.")
        n_ties = (f"{ties.get((member.digest, metric)) or 0:,.3g}" for metric in tied)
        lines.append((member.label, n_evaluations, duration(spent.seconds), spent.device, *n_ties))
    of_ties = (f"ties, {metric_heading(metric)}" for metric in tied)
    header = ("model", "network evaluations", "time spent", "device", *of_ties)
    if tied:
        notes.append("A tie counts as wrong: two equal scores decide nothing.")
    return Grid(header, tuple(lines), notes=tuple(notes), align="lrrl" + "r" * len(tied))

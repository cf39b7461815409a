"""Everything that a run of the benchmark has to say, as text: scores, cost, ties, what is partial, signatures."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import pandas as pd

from compbench_analysis import published, tables
from compbench_analysis.render import Grid, count, duration, records, render
from compbench_analysis.signature import labels, partial, signature
from compbench_analysis.summary import summary

if TYPE_CHECKING:
    from compbench.rules import Rule
    from compbench.store import Run

__all__ = ["Cost", "cost", "to_text"]


@dataclass(frozen=True, slots=True)
class Cost:
    """What a run has cost so far."""

    n_evaluations: int  # of the network, one for each stored error; 0 for a model that gives scores directly
    seconds: float
    device: str


def to_text(
    runs: Sequence[Run],
    style: str = "table",
    by: str | Sequence[str] | None = None,
    rule: Rule | None = None,
    *,
    with_published: bool = False,
) -> str:
    """The runs in one of render.FORMATS: one table for each task, its runs in the order given, and a summary of all.

    csv and json are `tables.tidy` with the signature, the cost and the folder of its run on each row; with_published
    adds what others have published of the task, each row with its source and protocol.
    """
    parts = [(part, _published(part[0], by) if with_published else []) for part in _by_task(runs)]
    if style in ("csv", "json"):
        return records((row for part, more in parts for row in [*_rows(part, by, rule), *more]), style)
    shown = [render(_grids(part, by, rule, more), style) for part, more in parts]
    if len(parts) > 1:
        shown.append(render([summary(pd.concat([tables.tidy(part, by, rule) for part, _ in parts]))], style))
    return "\n\n\n".join(shown)


def cost(run: Run) -> Cost:
    """The sum over the run's parts, whoever measured them."""
    parts = run.parts()
    devices = dict.fromkeys(str(each["device"]) for each in parts if each.get("device"))
    return Cost(
        n_evaluations=sum(int(str(each.get("n_errors") or 0)) for each in parts),
        seconds=sum(float(str(each.get("seconds") or 0)) for each in parts),
        device=", ".join(devices),
    )


def _by_task(runs: Sequence[Run]) -> list[list[Run]]:
    """Runs that can stand in one table: of the same task at the same revision."""
    runs = list({run.path: run for run in runs}.values())
    order = list(dict.fromkeys((run.key.task, run.key.task_revision) for run in runs))
    return [[run for run in runs if (run.key.task, run.key.task_revision) == each] for each in order]


def _rows(runs: Sequence[Run], by: str | Sequence[str] | None, rule: Rule | None) -> Iterator[dict[str, Any]]:
    more = {
        run.key.digest: {**asdict(cost(run)), "signature": signature(run, rule), "folder": str(run.path)}
        for run in runs
    }
    for row in tables.plain_rows(tables.tidy(runs, by, rule)):
        yield {**row, **more[row["run"]]}


def _published(run: Run, by: str | Sequence[str] | None) -> list[dict[str, Any]]:
    return published.rows(run.key.task, [by] if isinstance(by, str) else by)


def _grids(
    runs: Sequence[Run], by: str | Sequence[str] | None, rule: Rule | None, more: list[dict[str, Any]]
) -> list[Grid]:
    frame = tables.tidy(runs, by, rule)
    beside = pd.DataFrame([*frame.to_dict("records"), *more])
    n_all = count(runs[0].info["n_task_examples"])
    title = f"{runs[0].key.task}, {n_all} examples: percent right [Wilson 95 % interval]; n in parentheses"
    signatures = tuple(signature(run, rule) for run in runs)
    return [
        Grid((), (), title=title, notes=tuple(_partials(runs, rule))),
        *tables.grids(beside if more else frame),
        *([Grid((), (), title=published.NOTE, notes=tuple(published.sources(more)))] if more else []),
        _costs(runs, frame),
        Grid((), (), title="Signature for a paper" if len(runs) == 1 else "Signatures for a paper", notes=signatures),
    ]


def _partials(runs: Sequence[Run], rule: Rule | None) -> Iterator[str]:
    """What is not whole, once for models of which the same can be said."""
    labels_of: dict[str, list[str]] = {}
    for run, label in zip(runs, labels(runs), strict=True):
        if what := partial(run, rule):
            labels_of.setdefault(what, []).append(label)
    for what, names in labels_of.items():
        yield what if len(names) == len(runs) else f"{', '.join(names)}: {what}"
    if len(labels_of) > 1 or 0 < sum(map(len, labels_of.values())) < len(runs):
        yield "The models did not see the same examples: n stands in a table of its own."


def _costs(runs: Sequence[Run], frame: pd.DataFrame) -> Grid:
    """Network evaluations and time of each model, and the ties of each metric where there are any."""
    overall = [row for row in tables.plain_rows(frame) if row["tag"] == tables.OVERALL]
    ties = {(row["run"], row["metric"]): int(row["ties"]) for row in overall}
    tied = list(dict.fromkeys(row["metric"] for row in overall if row["ties"]))
    rows: list[tuple[str, ...]] = []
    for run, label in zip(runs, labels(runs), strict=True):
        spent = cost(run)
        n_evaluations = count(spent.n_evaluations) if spent.n_evaluations else "–"
        n_ties = (count(ties.get((run.key.digest, metric), 0)) for metric in tied)
        rows.append((label, n_evaluations, duration(spent.seconds), spent.device, *n_ties))
    header = ("model", "network evaluations", "time spent", "device", *(f"ties, {metric}" for metric in tied))
    notes = ("A tie is wrong: no model is right about two equal scores.",) if tied else ()
    return Grid(header, tuple(rows), notes=notes, align="lrrl" + "r" * len(tied))
